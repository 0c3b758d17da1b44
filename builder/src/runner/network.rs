//! Where commands may connect to: `[runner.network]`.
//!
//! Open, they have the engine's network. Restricted, their container has none but its own loopback: what they reach goes through
//! the agent and the job's process, which holds the list of hosts. The service and its registry are always among them.

mod host;
mod proxy;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Deserializer};

pub use self::host::Host;
pub(super) use self::proxy::Connection;
pub use self::proxy::Proxy;
use slipway_registry_client::is_public;

use crate::names::Namespace;

/// Where the proxy listens inside, if nothing else does.
const FIRST_PORT: u16 = 3128;
/// Read by all of OpenSSH's programs where their own file includes it, as distributions' do.
pub(super) const SSH_CONFIG: &str = "/etc/ssh/ssh_config.d/50-slipway.conf";

/// `[runner.network]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Default `open`.
    pub mode: Mode,
    /// What restricted commands reach besides the service and its registry.
    pub allow: Hosts,
    /// What is otherwise in some namespaces.
    pub namespaces: BTreeMap<Namespace, Other>,
}

/// `[runner.network.namespaces.NAME]`: what is not set is as in `[runner.network]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Other {
    /// Instead of `mode`.
    pub mode: Option<Mode>,
    /// Instead of `allow`.
    pub allow: Option<Hosts>,
}

/// How much of the network commands have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// All that the engine gives.
    #[default]
    Open,
    /// A list of hosts.
    Restricted,
}

/// A list of [`Host`]s; a text with commas is one, too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts(pub Vec<Host>);

impl<'de> Deserialize<'de> for Hosts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts: Vec<String> = crate::config::list(deserializer)?;
        let hosts = texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom));
        Ok(Self(hosts.collect::<Result<_, D::Error>>()?))
    }
}

impl Config {
    /// The rules of a namespace, where `own` are the service and its registry: hosts and ports.
    pub fn of(&self, namespace: &Namespace, own: impl IntoIterator<Item = (String, u16)>) -> Rules {
        let other = self.namespaces.get(namespace);
        match other.and_then(|other| other.mode).unwrap_or(self.mode) {
            Mode::Open => Rules::Open,
            Mode::Restricted => {
                let (hosts, key) = match other.and_then(|other| other.allow.as_ref()) {
                    Some(hosts) => (hosts, format!("runner.network.namespaces.{namespace}.allow")),
                    None => (&self.allow, "runner.network.allow".to_owned()),
                };
                let own = own.into_iter().map(|(host, port)| (spelled(&host), port)).collect();
                Rules::Restricted(Allowed { hosts: hosts.0.clone(), own, key })
            }
        }
    }

    /// Hosts that are allowed where nothing is forbidden, and a service that could not be reached.
    pub(crate) fn problems(&self, public_url: &str) -> Vec<String> {
        let modes = self.namespaces.values().map(|other| other.mode.unwrap_or(self.mode));
        let all_open = modes.chain([self.mode]).all(|mode| mode == Mode::Open);
        let far = (!all_open && !is_reached(public_url)).then(|| {
            format!(
                "runner.network: restricted commands reach the service by https, or on its own machine's 127.0.0.1 or localhost, and \
                 public_url is {public_url}"
            )
        });
        let idle = !self.allow.0.is_empty() && all_open;
        let base =
            idle.then(|| "runner.network.allow: nothing is restricted; `mode = \"restricted\"` does it".to_owned());
        let others = self.namespaces.iter().filter_map(|(name, other)| {
            let idle = other.allow.is_some() && other.mode.unwrap_or(self.mode) == Mode::Open;
            idle.then(|| {
                format!(
                    "runner.network.namespaces.{name}.allow: its network is open; `mode = \"restricted\"` changes that"
                )
            })
        });
        far.into_iter().chain(base).chain(others).collect()
    }
}

/// Whether `slipway` in a container without a network reaches the service: through the proxy, which is for TLS, or by a forwarded port.
fn is_reached(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default();
    uri.scheme_str() == Some("https")
        || host == "localhost"
        || host::address_of(host).is_some_and(|address| address.is_loopback())
}

/// One spelling of a name.
fn spelled(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// The rules of one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rules {
    /// There are none.
    Open,
    /// What is not allowed is refused.
    Restricted(Allowed),
}

/// What restricted commands may connect to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    hosts: Vec<Host>,
    /// The service and its registry.
    own: Vec<(String, u16)>,
    /// Where the hosts are from.
    key: String,
}

/// Why a connection may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// To the service or its registry, or to an address that an admin has written down: wherever that is.
    Wherever,
    /// To a name that an admin has written down.
    ByName,
    /// To one of many names, which may lead to addresses that somebody else says.
    ByPattern,
}

impl Allowed {
    /// Whether a host, as a client names it, may be connected to at a port.
    fn reason(&self, host: &str, port: u16) -> Option<Reason> {
        let host = spelled(host);
        if self.own.iter().any(|(own, of)| *own == host && *of == port) {
            return Some(Reason::Wherever);
        }
        self.hosts.iter().filter(|rule| rule.matches(&host, port)).map(Host::reason).min_by_key(|reason| *reason as u8)
    }

    /// Whether a name that is allowed for this reason may have led to an address.
    fn reaches(&self, reason: Reason, address: SocketAddr) -> bool {
        let (ip, port) = (address.ip(), address.port());
        let is_listed = || self.hosts.iter().any(|rule| rule.matches(&ip.to_string(), port));
        let is_elsewhere = || host::is_elsewhere(ip) && !host::is_own(address);
        match reason {
            Reason::Wherever => true,
            Reason::ByName => is_elsewhere() || is_listed(),
            Reason::ByPattern => (is_public(ip) && is_elsewhere()) || is_listed(),
        }
    }
}

/// A port of the container's loopback for the proxy, besides those that lead elsewhere.
pub(super) fn proxy_port(forwards: &BTreeMap<u16, SocketAddr>) -> u16 {
    (FIRST_PORT..=u16::MAX).find(|port| !forwards.contains_key(port)).unwrap_or(FIRST_PORT)
}

/// The variables that tools find the proxy by. Go, curl and Python's take both cases, curl takes `http_proxy` in lower case alone.
/// `here` are names of the container itself.
pub(super) fn variables(port: u16, here: &[String]) -> BTreeMap<String, String> {
    let proxy = format!("http://127.0.0.1:{port}");
    let here = ["localhost", "127.0.0.1", "::1"].into_iter().chain(here.iter().map(String::as_str));
    let here = here.collect::<Vec<_>>().join(",");
    let pairs = [("HTTP_PROXY", proxy.as_str()), ("HTTPS_PROXY", proxy.as_str()), ("NO_PROXY", here.as_str())];
    let both =
        |(name, value): (&str, &str)| [name.to_owned(), name.to_ascii_lowercase()].map(|name| (name, value.to_owned()));
    pairs.into_iter().flat_map(both).collect()
}

/// How `ssh` gets through it, by the agent (`ssh_config(5)`, `ProxyCommand`).
pub(super) fn ssh_config(agent: &str, port: u16, here: &[String]) -> String {
    let here = here.iter().fold(String::new(), |all, name| all + " " + name);
    format!(
        "Host localhost 127.0.0.1 ::1{here}\n  ProxyCommand none\nHost *\n  ProxyCommand {agent} {} 127.0.0.1:{port} %h %p\n",
        slipway_runner_agent::connect::VERB
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Config, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_namespace_has_its_own_rules_or_everybodys() {
        let config = config(
            "mode = \"restricted\"\nallow = \"github.com, *.example.com:443\"\n[namespaces.ops]\nmode = \"open\"\n\
             [namespaces.web]\nallow = [\"10.0.0.5:6443\"]\n",
        )
        .unwrap();
        assert_eq!(config.problems("https://slipway.example"), [""; 0]);
        let of = |name: &str| config.of(&name.parse().unwrap(), [("Slipway.example".to_owned(), 443)]);
        assert_eq!(of("ops"), Rules::Open);
        let (Rules::Restricted(dev), Rules::Restricted(web)) = (of("dev"), of("web")) else { panic!("restricted") };
        for (host, port, dev_may, web_may) in [
            ("slipway.example", 443, Some(Reason::Wherever), Some(Reason::Wherever)),
            ("SLIPWAY.example.", 443, Some(Reason::Wherever), Some(Reason::Wherever)),
            ("slipway.example", 80, None, None),
            ("github.com", 22, Some(Reason::ByName), None),
            ("a.example.com", 443, Some(Reason::ByPattern), None),
            ("a.example.com", 80, None, None),
            ("10.0.0.5", 6443, None, Some(Reason::Wherever)),
            ("10.0.0.6", 6443, None, None),
        ] {
            assert_eq!((dev.reason(host, port), web.reason(host, port)), (dev_may, web_may), "{host}:{port}");
        }
    }

    #[test]
    fn rules_that_do_nothing_are_problems() {
        let problems = |text: &str, url: &str| config(text).unwrap().problems(url);
        for (text, expected) in [
            ("allow = [\"a.example\"]", "runner.network.allow: nothing is restricted"),
            ("[namespaces.web]\nallow = [\"a.example\"]", "runner.network.namespaces.web.allow: its network is open"),
        ] {
            assert!(problems(text, "http://127.0.0.1:7700")[0].starts_with(expected), "{text}");
        }
        let one = "allow = [\"a.example\"]\n[namespaces.web]\nmode = \"restricted\"";
        for (url, count) in [
            ("http://127.0.0.1:7700", 0),
            ("http://localhost:7700", 0),
            ("http://[::1]:7700", 0),
            ("https://slipway.example", 0),
            ("http://slipway.example", 1),
            ("http://10.0.0.1:7700", 1),
        ] {
            assert_eq!((problems(one, url).len(), problems("", url).len()), (count, 0), "{url}");
        }
        assert!(config("allow = [\"https://a.example/\"]").unwrap_err().contains("https://a.example/"));
        assert!(config("mode = \"closed\"").unwrap_err().contains("closed"));
    }

    #[test]
    fn where_a_name_may_lead_depends_on_who_chose_it() {
        let config = config("mode = \"restricted\"\nallow = \"a.example, *.b.example, 10.0.0.5:80\"").unwrap();
        let Rules::Restricted(allowed) = config.of(&"dev".parse().unwrap(), []) else { panic!("restricted") };
        let leads = |reason, address: &str| allowed.reaches(reason, address.parse().unwrap());
        for address in [
            "127.0.0.1:80",
            "[::1]:80",
            "169.254.169.254:80",
            "0.0.0.0:80",
            "[::ffff:127.0.0.1]:80",
            "[fe80::1]:80",
            "[fd00:ec2::254]:80",
            "100.100.100.200:80",
            "168.63.129.16:80",
            "[64:ff9b::a9fe:a9fe]:80",
        ] {
            assert!(leads(Reason::Wherever, address), "{address}");
            assert!(!leads(Reason::ByName, address) && !leads(Reason::ByPattern, address), "{address}");
        }
        for (address, by_pattern) in
            [("10.0.0.1:80", false), ("[fd00::1]:80", false), ("1.1.1.1:80", true), ("[2600::1]:80", true)]
        {
            assert!(leads(Reason::ByName, address), "{address}");
            assert_eq!(leads(Reason::ByPattern, address), by_pattern, "{address}");
        }
        // One that is on the list itself.
        assert!(leads(Reason::ByPattern, "10.0.0.5:80") && !leads(Reason::ByPattern, "10.0.0.5:81"));
    }

    #[test]
    fn the_proxy_has_a_port_of_its_own() {
        let taken = |ports: &[u16]| ports.iter().map(|port| (*port, ([127, 0, 0, 1], *port).into())).collect();
        assert_eq!(proxy_port(&taken(&[])), 3128);
        assert_eq!(proxy_port(&taken(&[3128, 3129, 7700])), 3130);
        let variables = variables(3128, &["db".to_owned()]);
        assert_eq!(variables.len(), 6);
        assert_eq!(variables["https_proxy"], "http://127.0.0.1:3128");
        assert_eq!(variables["NO_PROXY"], "localhost,127.0.0.1,::1,db");
    }
}
