//! Which of the registry's images a job's builds may start from (design, decision 9).

use slipway_registry_client::{ImageRef, RegistryHost};

use crate::names::Namespace;

/// One rule of a source policy. Rules are applied in order, and the last one that matches decides; what none matches is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRule {
    /// Whether it allows or denies.
    pub effect: SourceEffect,
    /// A regular expression over source identifiers (`BuildKit`'s match type REGEX; the wildcards of its default type know no
    /// case, and `FROM LOCALHOST:7701/…` would pass).
    pub pattern: String,
}

/// What a [`SourceRule`] does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceEffect {
    /// The build uses another source in its place, which is then checked by all rules in turn. `$1` is what the pattern's
    /// group matched.
    Convert(String),
    /// The build may use it.
    Allow,
    /// The build ends with an error.
    Deny,
}

/// `docker-image://`, and `docker-image+blob://` of newer versions, which reads single blobs.
const SCHEME: &str = r"^docker-image(\+[a-z]+)?://";
/// Names and numbers that reach this machine: whatever ends in `localhost`, 127.0.0.0/8 and 0.0.0.0 in all the spellings that
/// resolvers take (`127.1`, `2130706433`, `0x7f.1`), and IPv6 literals, whose spellings are too many to tell apart.
const LOOPBACK_NAMES: &str =
    r"([^/:]*\.)?localhost\.?|ip6-(localhost|loopback)|127(\.[0-9]+)*|0[0-9a-fx.]*|[0-9]+|\[[^/\]]*\]";

/// The host and port of an `http` or `https` URL, where every parser reads the same: with a user, or `?` for the path's `/`, what
/// is seen here need not be where an engine goes.
pub fn authority(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    rest.split('/').next().filter(|authority| !authority.is_empty() && authority.bytes().all(plain))
}

/// Whether a URL's host is a name or number that reaches this machine, in any spelling, as far as its text tells.
pub fn reaches_this_machine(url: &str) -> bool {
    let Some(authority) = authority(url) else { return true };
    let host = format!("(?i)^({LOOPBACK_NAMES})(:[0-9]*)?$");
    // What can't be matched is not trusted.
    regex::Regex::new(&host).map_or(true, |host| host.is_match(authority))
}

/// The rules for a job of this namespace: nothing of these hosts (all names of one registry, the one that images carry
/// first) but the namespaces given.
pub(super) fn rules(hosts: &[RegistryHost], namespaces: &[&Namespace]) -> Vec<SourceRule> {
    // `ADD http://127.0.0.1/…` is fetched by the engine itself, from the engine's own network.
    let engine_host = format!("(?i)^(https?|git)://([^/@]*@)?({LOOPBACK_NAMES})(:[0-9]*)?(/|$)");
    let deny = hosts.iter().flat_map(|host| {
        let exact = format!("(?i){SCHEME}{}{}/", escape(host.name()), port_pattern(host));
        let aliases = host.is_loopback().then(|| format!("(?i){SCHEME}({LOOPBACK_NAMES}){}/", port_pattern(host)));
        std::iter::once(exact).chain(aliases)
    });
    let allow = hosts.first().into_iter().flat_map(|host| {
        namespaces
            .iter()
            .map(move |namespace| format!("{SCHEME}{}/{}/", escape(host.as_str()), escape(namespace.as_str())))
    });
    std::iter::once(engine_host)
        .chain(deny)
        .map(|pattern| SourceRule { effect: SourceEffect::Deny, pattern })
        .chain(allow.map(|pattern| SourceRule { effect: SourceEffect::Allow, pattern }))
        .collect()
}

/// `okteto.dev/x` and `okteto.global/x` in a Dockerfile are images of our registry: the engine is told, and the Dockerfile
/// stays as it is.
pub(super) fn aliases(host: &RegistryHost, namespace: &Namespace, global: &Namespace) -> Vec<SourceRule> {
    [("okteto.dev", namespace), ("okteto.global", global)]
        .map(|(alias, namespace)| SourceRule {
            effect: SourceEffect::Convert(format!("docker-image://{host}/{namespace}/$1")),
            pattern: format!("^docker-image://{}/(.*)$", escape(alias)),
        })
        .into()
}

/// A build starts from just these base images, given by name and digest: also where an engine would find another one under
/// the name by now, on another mirror, or in its own store when no registry answers it.
pub(super) fn pins(bases: &[ImageRef]) -> Vec<SourceRule> {
    let pin = |base: &ImageRef| {
        let tag = base.tag().filter(|_| base.digest().is_some())?;
        let name = base.with_tag(tag.clone()).to_string();
        let pattern = format!("^docker-image://{}$", escape(&name));
        Some(SourceRule { effect: SourceEffect::Convert(format!("docker-image://{base}")), pattern })
    };
    bases.iter().filter_map(pin).collect()
}

/// The port in every spelling that means the same: leading zeros, and left out where it is a default.
fn port_pattern(host: &RegistryHost) -> String {
    match host.port() {
        None | Some(80 | 443) => "(:0*(80|443))?".to_owned(),
        Some(port) => format!(":0*{port}"),
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if !character.is_ascii_alphanumeric() && !matches!(character, '-' | '_' | ':' | '/') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    fn allowed(hosts: &[&str], source: &str) -> bool {
        let hosts: Vec<RegistryHost> = hosts.iter().map(|host| host.parse().expect("host")).collect();
        let (own, global) = ("dev".parse().expect("namespace"), "okteto".parse().expect("namespace"));
        let mut allowed = true;
        for rule in rules(&hosts, &[&own, &global]) {
            if Regex::new(&rule.pattern).expect("pattern").is_match(source) {
                allowed = rule.effect == SourceEffect::Allow;
            }
        }
        allowed
    }

    #[test]
    fn urls_of_this_machine_are_known_in_every_spelling() {
        for here in [
            "http://127.0.0.1:9000",
            "https://LocalHost/x",
            "http://a.localhost.",
            "http://2130706433:1/",
            "http://[::1]:9",
            "http://user@127.0.0.1:9000/",
            "http://127.0.0.1?x",
            "http://127.0.0.1#x",
            "http://s3.example.com\\@127.0.0.1",
            "http://%6cocalhost",
            "x",
        ] {
            assert!(reaches_this_machine(here), "{here}");
        }
        for there in ["https://s3.example.com", "http://10.0.0.7:9000/b", "https://localhost.example.com"] {
            assert!(!reaches_this_machine(there), "{there}");
        }
        assert_eq!(authority("http://127.0.0.1:9000/x/y"), Some("127.0.0.1:9000"));
    }

    #[test]
    fn only_the_own_and_the_global_namespace_of_our_registry() {
        let ours = ["127.0.0.1:7701"];
        for good in [
            "docker-image://127.0.0.1:7701/dev/app:okteto",
            "docker-image://127.0.0.1:7701/dev/a/b@sha256:00",
            "docker-image://127.0.0.1:7701/okteto/runner:1",
            "docker-image://docker.io/library/debian:trixie-slim",
            "docker-image://localhost:5000/library/debian:trixie-slim",
            "docker-image://10.0.0.5:5000/team-b/app:1",
            "docker-image://10.0.0.5:7701/team-b/app:1",
            "docker-image://docker.io/team/127.0.0.1:7701",
            "local://context",
            "https://10.0.0.1/x",
            "git://example.com/a.git",
        ] {
            assert!(allowed(&ours, good), "{good}");
        }
        for bad in [
            "docker-image://127.0.0.1:7701/team-b/app:okteto",
            "docker-image://127.0.0.1:7701/devious/app:1",
            "docker-image://127.0.0.1:7701/dev:1",
            "docker-image://127.0.0.1:7701/solo",
            "docker-image+blob://127.0.0.1:7701/team-b/app@sha256:00",
            "docker-image://127.0.0.1:07701/team-b/app:1",
            "docker-image://localhost:7701/team-b/app:1",
            "docker-image://LocalHost:7701/team-b/app:1",
            "docker-image://x.localhost:7701/team-b/app:1",
            "docker-image://127.0.0.2:7701/team-b/app:1",
            "docker-image://127.1:7701/team-b/app:1",
            "docker-image://0.0.0.0:7701/team-b/app:1",
            "docker-image://2130706433:7701/team-b/app:1",
            "docker-image://0x7f.1:7701/team-b/app:1",
            "docker-image://[::1]:7701/team-b/app:1",
            "docker-image://[::ffff:127.0.0.1]:7701/team-b/app:1",
            // What the engine would fetch from its own machine.
            "http://127.0.0.1:7700/x",
            "https://user@localhost/x",
            "http://[::1]:80/x",
            "git://localhost/a.git",
            // Under an alias even the own namespace: credentials are for the one name.
            "docker-image://localhost:7701/dev/app:1",
        ] {
            assert!(!allowed(&ours, bad), "{bad}");
        }
    }

    #[test]
    fn an_external_registry_under_each_spelling() {
        let ours = ["ghcr.io"];
        assert!(allowed(&ours, "docker-image://ghcr.io/dev/app:1"));
        assert!(allowed(&ours, "docker-image://ghcrxio/team-b/app:1"));
        for bad in ["ghcr.io/team-b/app:1", "GHCR.io/team-b/app", "ghcr.io:443/team-b/app", "ghcr.io:443/dev/app"] {
            assert!(!allowed(&ours, &format!("docker-image://{bad}")), "{bad}");
        }
        let behind_proxy = ["registry.example.com", "127.0.0.1:7701"];
        assert!(allowed(&behind_proxy, "docker-image://registry.example.com/dev/app:1"));
        assert!(!allowed(&behind_proxy, "docker-image://localhost:7701/dev/app:1"));
    }

    #[test]
    fn base_images_are_those_that_were_found() {
        let digest = "sha256:".to_owned() + &"1".repeat(64);
        let bases = ["debian:12", "debian", "127.0.0.1:7701/dev/a.b:1"].map(|name| {
            let image: ImageRef = format!("{name}@{digest}").parse().expect("reference");
            image
        });
        let rules = pins(&bases);
        let converted = |source: &str| {
            rules.iter().find_map(|rule| {
                let pattern = Regex::new(&rule.pattern).expect("pattern");
                let SourceEffect::Convert(to) = &rule.effect else { return None };
                pattern.is_match(source).then(|| pattern.replace_all(source, to.as_str()).into_owned())
            })
        };
        for name in ["docker.io/library/debian:12", "127.0.0.1:7701/dev/a.b:1"] {
            let source = format!("docker-image://{name}");
            assert_eq!(converted(&source), Some(format!("{source}@{digest}")));
            assert_eq!(converted(&format!("{source}@{digest}")), None, "once");
            assert_eq!(converted(&format!("{source}1")), None);
        }
        assert_eq!(converted("docker-image://127.0.0.1:7701/dev/a-b:1"), None);
    }

    #[test]
    fn aliases_become_images_of_our_registry() {
        let host = "127.0.0.1:7701".parse().expect("host");
        let names = ("dev".parse().expect("namespace"), "okteto".parse().expect("namespace"));
        let converted = |source: &str| {
            aliases(&host, &names.0, &names.1).into_iter().find_map(|rule| {
                let pattern = Regex::new(&rule.pattern).expect("pattern");
                let SourceEffect::Convert(to) = rule.effect else { return None };
                pattern.is_match(source).then(|| pattern.replace_all(source, to.as_str()).into_owned())
            })
        };
        let image = |rest: &str| Some(format!("docker-image://127.0.0.1:7701/{rest}"));
        assert_eq!(converted("docker-image://okteto.dev/a/b:1"), image("dev/a/b:1"));
        assert_eq!(converted("docker-image://okteto.global/runner:latest"), image("okteto/runner:latest"));
        assert_eq!(converted("docker-image://oktetoxdev/a"), None);
        assert_eq!(converted("docker-image://docker.io/okteto.dev/a"), None);
    }
}
