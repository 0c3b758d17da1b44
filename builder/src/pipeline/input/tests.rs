use slipway_manifest::BuildOptions;
use slipway_manifest::expand::Template;
use slipway_manifest::options::OptionKey;
use slipway_manifest::plan::JobKind;

use super::*;

/// A build that asks for nothing special.
pub(crate) fn plain_build(service: &str) -> BuildPlan {
    BuildPlan {
        service: ServiceName::new(service).unwrap(),
        context: ".".to_owned(),
        dockerfile: "Dockerfile".to_owned(),
        target: None,
        args: Vec::new(),
        build_args: Vec::new(),
        image: None,
        depends_on: Vec::new(),
        platforms: Vec::new(),
        options: BuildOptions::default(),
        no_cache: false,
        no_skip: false,
        only_if_missing: false,
    }
}

fn build() -> BuildPlan {
    BuildPlan { args: vec![("A".to_owned(), Template::literal("1"))], ..plain_build("api") }
}

fn roots() -> BuildRoots {
    BuildRoots::new(Digest::of(b"context"), Vec::new(), Digest::of(b"dockerfile"))
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Everything that goes into a digest.
struct Given {
    namespace: &'static str,
    build: BuildPlan,
    roots: BuildRoots,
    args: Vec<(String, String)>,
    dependencies: Vec<(String, String)>,
    bases: Vec<(String, String)>,
    platform: &'static str,
    secrets: Vec<(String, String)>,
    named: Vec<(String, String)>,
}

fn given() -> Given {
    Given {
        namespace: "dev",
        build: build(),
        roots: roots(),
        args: pairs(&[("A", "1")]),
        dependencies: pairs(&[("base", "sha256:11")]),
        bases: pairs(&[("debian:12", "sha256:22")]),
        platform: "linux/amd64",
        secrets: Vec::new(),
        named: Vec::new(),
    }
}

fn set(given: &mut Given, key: OptionKey, text: &str) {
    given.build.options.set(key, text).unwrap();
}

fn digest(change: impl FnOnce(&mut Given)) -> String {
    let mut given = given();
    change(&mut given);
    let plan = Plan::empty(JobKind::Build, "app");
    let (namespace, before) = (given.namespace.parse().unwrap(), Before::default());
    let (namespace, plan, build, roots, before) = (&namespace, &plan, &given.build, &given.roots, &before);
    let inputs =
        Inputs { namespace, plan, build, roots, dockerfile: "", platform: None, before, secrets: &given.secrets };
    inputs.hash(&given.args, &given.dependencies, &given.bases, &given.named, Some(given.platform)).hex()
}

#[test]
fn the_digest_is_the_same_on_every_machine() {
    assert_eq!(digest(|_| {}), "44ef82962d5100d34be01feefb2ffaaaa1083a1103aae3a2ce953c15829f4783");
}

#[test]
fn each_input_changes_the_digest() {
    let changed = [
        digest(|_| {}),
        digest(|given| given.namespace = "other"),
        digest(|given| given.roots.context = Digest::of(b"")),
        digest(|given| given.roots.dockerfile = Digest::of(b"")),
        digest(|given| given.build.dockerfile = "Other".to_owned()),
        digest(|given| given.build.target = Some(String::new())),
        digest(|given| given.build.target = Some("a".to_owned())),
        digest(|given| given.args = pairs(&[])),
        digest(|given| given.args = pairs(&[("A", "2")])),
        digest(|given| given.args = pairs(&[("A1", "")])),
        digest(|given| given.args = pairs(&[("A", "1"), ("B", "")])),
        digest(|given| given.build.platforms = vec!["linux/amd64".to_owned()]),
        digest(|given| given.build.platforms = vec!["linux/arm64".to_owned()]),
        digest(|given| given.build.platforms = vec!["linux/amd64".to_owned(), "linux/arm64".to_owned()]),
        digest(|given| given.platform = "linux/arm64"),
        digest(|given| set(given, OptionKey::Label, "a=b")),
        digest(|given| set(given, OptionKey::Label, "a=c")),
        digest(|given| set(given, OptionKey::Annotation, "a=b")),
        digest(|given| set(given, OptionKey::Annotation, "index:a=b")),
        digest(|given| set(given, OptionKey::ExtraHost, "a=1.2.3.4")),
        digest(|given| set(given, OptionKey::Network, "none")),
        digest(|given| set(given, OptionKey::ShmSize, "1m")),
        digest(|given| set(given, OptionKey::Ulimit, "nofile=1")),
        digest(|given| set(given, OptionKey::Ulimit, "nofile=1:2")),
        digest(|given| set(given, OptionKey::Provenance, "mode=min")),
        digest(|given| set(given, OptionKey::Provenance, "mode=max")),
        digest(|given| set(given, OptionKey::Sbom, "true")),
        digest(|given| set(given, OptionKey::Sbom, "generator=x")),
        digest(|given| set(given, OptionKey::Export, "type=image,compression=zstd")),
        digest(|given| set(given, OptionKey::Export, "type=image,compression=gzip")),
        digest(|given| set(given, OptionKey::Export, "type=image,compression=gzip,compression-level=1")),
        digest(|given| set(given, OptionKey::Export, "type=image,compression=gzip,force-compression=true")),
        digest(|given| set(given, OptionKey::Export, "type=image,oci-mediatypes=false")),
        digest(|given| set(given, OptionKey::Export, "type=image,rewrite-timestamp=true")),
        digest(|given| set(given, OptionKey::CacheTo, "type=inline")),
        digest(|given| given.dependencies = pairs(&[])),
        digest(|given| given.dependencies = pairs(&[("base", "sha256:12")])),
        digest(|given| given.bases = pairs(&[])),
        digest(|given| given.bases = pairs(&[("debian:12", "sha256:23")])),
        digest(|given| given.bases = pairs(&[("debian:13", "sha256:22")])),
        digest(|given| given.secrets = pairs(&[("npm", "any")])),
        digest(|given| given.secrets = pairs(&[("npm", "=11")])),
        digest(|given| given.secrets = pairs(&[("npm", "=12")])),
        digest(|given| given.secrets = pairs(&[("key", "=11")])),
        digest(|given| given.named = pairs(&[("lib", "11")])),
        digest(|given| given.named = pairs(&[("lib", "12")])),
        digest(|given| given.named = pairs(&[("lib2", "11")])),
        // What moves from one field into the next is not the same.
        digest(|given| (given.dependencies, given.bases) = (given.bases.clone(), given.dependencies.clone())),
    ];
    let different: BTreeSet<_> = changed.iter().collect();
    assert_eq!(different.len(), changed.len());
}

#[test]
fn names_and_what_is_skipped_play_no_part() {
    let changed = [
        digest(|given| given.build.service = ServiceName::new("other").unwrap()),
        digest(|given| given.build.image = Some(Template::literal("okteto.dev/x:1"))),
        digest(|given| given.build.context = "elsewhere".to_owned()),
        digest(|given| given.build.no_cache = true),
        digest(|given| given.build.no_skip = true),
        digest(|given| given.build.only_if_missing = true),
        digest(|given| set(given, OptionKey::Pull, "true")),
        digest(|given| set(given, OptionKey::NoCacheFilter, "a")),
        digest(|given| set(given, OptionKey::Secret, "id=npm,env=X")),
        digest(|given| set(given, OptionKey::Context, "lib=../lib")),
        digest(|given| set(given, OptionKey::Export, "type=image,oci-mediatypes=true")),
        digest(|given| set(given, OptionKey::CacheTo, "type=registry,ref=okteto.dev/cache:a,mode=max")),
        digest(|given| set(given, OptionKey::CacheFrom, "okteto.dev/cache:a")),
        digest(|given| given.roots.narrowed_to = vec!["a".to_owned()]),
    ];
    assert!(changed.iter().all(|changed| *changed == digest(|_| {})));
}

mod registries {
    use std::sync::Arc;

    use super::*;
    use crate::registry::bases::tests::Server;
    use crate::registry::mirrors::Mirrors;
    use crate::registry::{Config, Registry};

    async fn ask(text: &str, change: impl FnOnce(&mut BuildPlan, &mut Before)) -> Result<String, NoDigest> {
        ask_both(text, change).await.0
    }

    /// The digest, and why more of the context may be used. Nothing is asked: the registry is on a port that nobody has.
    async fn ask_both(
        text: &str,
        change: impl FnOnce(&mut BuildPlan, &mut Before),
    ) -> (Result<String, NoDigest>, Option<String>) {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { listen: "127.0.0.1:9".parse().unwrap(), ..Config::default() };
        let registry = Arc::new(Registry::open(&config, dir.path()).unwrap());
        let bases = BaseImages::new(registry, Mirrors::default()).unwrap();
        let (mut build, mut before) = (build(), Before::default());
        change(&mut build, &mut before);
        let plan = Plan { builds: vec![build.clone()], ..Plan::empty(JobKind::Build, "app") };
        let (namespace, roots) = ("dev".parse().unwrap(), roots());
        let (namespace, plan, build, roots, before) = (&namespace, &plan, &build, &roots, &before);
        let platform = Some("linux/amd64");
        let inputs = Inputs { namespace, plan, build, roots, dockerfile: text, platform, before, secrets: &[] };
        (inputs.digest(&bases).await.map(|found| found.digest.hex()), inputs.may_use_more(&bases).await)
    }

    /// Inputs of a build of this Dockerfile on an engine for this platform, and what looks at base images.
    fn with_inputs<T>(text: &str, platform: Option<&str>, look: impl AsyncFnOnce(Inputs<'_>, &BaseImages) -> T) -> T {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { listen: "127.0.0.1:9".parse().unwrap(), ..Config::default() };
        let registry = Arc::new(Registry::open(&config, dir.path()).unwrap());
        let bases = BaseImages::new(registry, Mirrors::default()).unwrap();
        let build = build();
        let plan = Plan { builds: vec![build.clone()], ..Plan::empty(JobKind::Build, "app") };
        let (namespace, roots, before) = ("dev".parse().unwrap(), roots(), Before::default());
        let (namespace, plan, build, roots, before) = (&namespace, &plan, &build, &roots, &before);
        let inputs = Inputs { namespace, plan, build, roots, dockerfile: text, platform, before, secrets: &[] };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(look(inputs, &bases))
    }

    #[test]
    fn without_a_platform_it_is_the_engines_own() {
        let digest = |platform: Option<&'static str>| {
            with_inputs("FROM scratch\n", platform, async |inputs, bases| {
                inputs.digest(bases).await.map(|found| found.digest.hex())
            })
        };
        let (amd64, arm64) = (digest(Some("linux/amd64")).unwrap(), digest(Some("linux/arm64")).unwrap());
        assert_ne!(amd64, arm64);
        assert!(matches!(digest(None), Err(NoDigest::NoPlatform)));
    }

    #[test]
    fn the_engines_own_platform_counts_where_a_dockerfile_asks_for_it() {
        let digest = |text: &'static str, platform: Option<&'static str>| {
            with_inputs(text, platform, async |inputs, bases| {
                let build = BuildPlan { platforms: vec!["linux/s390x".to_owned()], ..inputs.build.clone() };
                Inputs { build: &build, ..inputs }.digest(bases).await.map(|found| found.digest.hex())
            })
        };
        let plain = "FROM scratch\nARG TARGETARCH\n";
        assert_eq!(digest(plain, Some("linux/amd64")).unwrap(), digest(plain, None).unwrap());
        for text in [
            "FROM scratch\nARG BUILDARCH\n",
            "FROM scratch\nARG BUILDOS\n",
            "FROM scratch\nARG BUILDVARIANT\n",
            "FROM scratch\nARG BUILDPLATFORM\n",
            "FROM scratch\nARG BUILD\\\nARCH\n",
        ] {
            assert_ne!(
                digest(text, Some("linux/amd64")).unwrap(),
                digest(text, Some("linux/arm64")).unwrap(),
                "{text}"
            );
            assert!(matches!(digest(text, None), Err(NoDigest::NoPlatform)), "{text}");
        }
    }

    #[test]
    fn triggers_are_those_of_the_platform_that_from_names() {
        let text = "FROM --platform=linux/arm64 a\nFROM b\nFROM --platform=$P c\n";
        with_inputs(text, Some("linux/amd64"), async |inputs, _| {
            let platforms = inputs.analyse().await.unwrap().platforms;
            let of = |image: &str| {
                let all = platforms_of(&platforms, Some(image))
                    .map(|all| all.into_iter().map(|one| one.architecture).collect::<Vec<_>>());
                all.map_err(|error| error.to_string())
            };
            assert_eq!(of("a"), Ok(vec!["arm64".to_owned()]));
            assert_eq!(of("b"), Ok(vec!["amd64".to_owned()]));
            assert!(of("c").is_err());
        });
    }

    #[test]
    fn a_dockerfile_is_not_looked_into_by_who_serves_others() {
        use futures::FutureExt as _;
        let text = format!("FROM scratch\n{}", "COPY a b c d e f /\n".repeat(900));
        with_inputs(&text, Some("linux/amd64"), async |inputs, bases| {
            assert!(inputs.digest(bases).now_or_never().is_none(), "it was done at once");
            assert!(inputs.digest(bases).await.is_ok());
        });
    }

    #[tokio::test]
    async fn every_image_that_a_dockerfile_names_counts_as_it_is_in_its_registry() {
        let server = Server::start().await;
        let config = Config { listen: server.host.parse().unwrap(), ..Config::default() };
        let dir = tempfile::tempdir().unwrap();
        let registry = Arc::new(Registry::open(&config, dir.path()).unwrap());
        let host = &server.host;
        let mirrors = BTreeMap::from([("docker.io".to_owned(), vec![format!("http://{host}")])]);
        let bases = BaseImages::new(registry, Mirrors::parse(&mirrors).unwrap()).unwrap();
        let text = format!(
            "# syntax=docker/dockerfile:1\nFROM scratch\nCOPY --from={host}/dev/tool:1 /a /a\n\
             RUN --mount=from={host}/dev/mount,target=/m true\nCOPY --from=okteto.dev/own:2 /b /b\n"
        );
        let build = build();
        let plan = Plan { builds: vec![build.clone()], ..Plan::empty(JobKind::Build, "app") };
        let (namespace, roots, before) = ("dev".parse().unwrap(), roots(), Before::default());
        let (namespace, plan, build, roots) = (&namespace, &plan, &build, &roots);
        let platform = Some("linux/amd64");
        let inputs =
            Inputs { namespace, plan, build, roots, dockerfile: &text, platform, before: &before, secrets: &[] };
        let mut found = inputs.digest(&bases).await.unwrap().bases;
        found.sort_by_key(ToString::to_string);
        // That server makes an image's digest of where it is.
        let pinned = |host: &str, image: &str| {
            let digest = Digest::of(format!("/v2/{}", image.replacen(':', "/manifests/", 1)).as_bytes());
            format!("{host}/{image}@sha256:{}", digest.hex())
        };
        let mut all = ["dev/mount:latest", "dev/own:2", "dev/tool:1"].map(|image| pinned(host, image)).to_vec();
        all.push(pinned("docker.io", "docker/dockerfile:1"));
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), all);
        // What makes the bill of materials is one of them, and so is BuildKit's own, if none is named.
        for (sbom, generator) in [
            ("generator=okteto.dev/scanner:3", pinned(host, "dev/scanner:3")),
            ("true", pinned("docker.io", "docker/buildkit-syft-scanner:stable-1")),
        ] {
            let mut build = build.clone();
            build.options.set(OptionKey::Sbom, sbom).unwrap();
            let found = Inputs { build: &build, ..inputs }.digest(&bases).await.unwrap().bases;
            assert_eq!(found.len(), all.len() + 1);
            assert!(found.iter().any(|image| image.to_string() == generator), "{sbom}: {found:?}");
        }

        // Images of the same job under one name: the later one has it.
        let mut before = Before::default();
        let name: ImageRef = format!("{host}/dev/own:2").parse().unwrap();
        for (made, digit) in [("z", "1"), ("a", "2")] {
            let image = name.with_digest(format!("sha256:{}", digit.repeat(64)).parse().unwrap());
            before.add(&service(made), &image, vec![name.clone()]).unwrap();
        }
        server.asked();
        // That server has nothing with such a digest.
        Inputs { before: &before, ..inputs }.digest(&bases).await.unwrap_err();
        let asked = server.asked().concat();
        assert!(asked.contains(&"2".repeat(64)) && !asked.contains(&"1".repeat(64)), "{asked}");
    }

    fn service(name: &str) -> ServiceName {
        ServiceName::new(name).unwrap()
    }

    fn image(digit: &str) -> ImageRef {
        format!("127.0.0.1:9/dev/x@sha256:{}", digit.repeat(64)).parse().unwrap()
    }

    #[tokio::test]
    async fn arguments_that_every_build_is_given_count_where_they_are_declared() {
        let made = |digit: &'static str| {
            move |_: &mut BuildPlan, before: &mut Before| {
                before.add(&service("x"), &image(digit), Vec::new()).unwrap();
            }
        };
        let undeclared = "FROM scratch\nCOPY a /\n";
        assert_eq!(ask(undeclared, made("1")).await.unwrap(), ask(undeclared, made("2")).await.unwrap());
        let declared = "FROM scratch\nARG OKTETO_BUILD_X_SHA\nCOPY a /\n";
        assert_ne!(ask(declared, made("1")).await.unwrap(), ask(declared, made("2")).await.unwrap());
        let depends = |digit: &'static str| {
            move |build: &mut BuildPlan, before: &mut Before| {
                build.depends_on = vec![service("x")];
                before.add(&service("x"), &image(digit), Vec::new()).unwrap();
            }
        };
        assert_ne!(ask(undeclared, depends("1")).await.unwrap(), ask(undeclared, depends("2")).await.unwrap());
        let given = |value: &'static str| {
            move |build: &mut BuildPlan, _: &mut Before| build.build_args = pairs(&[("UNDECLARED", value)])
        };
        assert_ne!(ask(undeclared, given("1")).await.unwrap(), ask(undeclared, given("2")).await.unwrap());
    }

    #[test]
    fn what_a_dependency_depends_on_counts_too() {
        let depending =
            |service: &str, on: &str| BuildPlan { depends_on: vec![self::service(on)], ..plain_build(service) };
        let plan = Plan {
            builds: vec![plain_build("base"), depending("walls", "base"), depending("roof", "walls")],
            ..Plan::empty(JobKind::Build, "app")
        };
        let digest = |images: &[(&str, &str)]| {
            let mut before = Before::default();
            for (made, digit) in images {
                before.add(&service(made), &image(digit), Vec::new()).unwrap();
            }
            let (plan, before) = (&plan, &before);
            with_inputs("FROM scratch\n", Some("linux/amd64"), async |inputs, bases| {
                let found = Inputs { plan, build: &plan.builds[2], before, ..inputs }.digest(bases).await;
                found.map(|found| found.digest.hex())
            })
        };
        let whole = digest(&[("base", "1"), ("walls", "2")]).unwrap();
        assert_eq!(digest(&[("walls", "2"), ("base", "1")]).unwrap(), whole);
        assert_ne!(
            digest(&[("base", "3"), ("walls", "2")]).unwrap(),
            whole,
            "what it depends on only by way of another"
        );
        assert_ne!(digest(&[("base", "1"), ("walls", "3")]).unwrap(), whole);
        assert!(matches!(digest(&[("walls", "2")]), Err(NoDigest::Pending(open)) if open.as_str() == "base"));
    }

    #[tokio::test]
    async fn what_is_not_built_yet_leaves_it_open() {
        let pending = |_: &mut BuildPlan, before: &mut Before| {
            before.add_pending(&service("x"), vec!["127.0.0.1:9/dev/app-x:okteto".parse().unwrap()], None);
        };
        assert!(ask("FROM scratch\n", pending).await.is_ok());
        for text in [
            "FROM scratch\nARG OKTETO_BUILD_X_IMAGE\n",
            "ARG OKTETO_BUILD_X_IMAGE\nFROM ${OKTETO_BUILD_X_IMAGE}\n",
            "FROM okteto.dev/app-x:okteto\n",
            "FROM scratch\nCOPY --from=127.0.0.1:9/dev/app-x:okteto / /\n",
        ] {
            assert!(ask(text, pending).await.is_err(), "{text}");
        }
        let depends = |build: &mut BuildPlan, before: &mut Before| {
            build.depends_on = vec![service("x")];
            before.add_pending(&service("x"), Vec::new(), None);
        };
        assert!(matches!(ask("FROM scratch\n", depends).await, Err(NoDigest::Pending(_))));
        let template = |build: &mut BuildPlan, before: &mut Before| {
            build.args = vec![("A".to_owned(), Template::from_source("${OKTETO_BUILD_X_SHA}"))];
            before.add_pending(&service("x"), Vec::new(), None);
        };
        assert!(matches!(ask("FROM scratch\n", template).await, Err(NoDigest::Pending(_))));
    }

    #[tokio::test]
    async fn an_image_of_the_same_job_widens_what_starts_from_it_where_it_may_have_triggers() {
        let more = async |base: Option<&str>| {
            let pending = |_: &mut BuildPlan, before: &mut Before| {
                before.add_pending(&service("x"), vec!["127.0.0.1:9/dev/app-x:okteto".parse().unwrap()], base);
            };
            ask_both("FROM okteto.dev/app-x:okteto\n", pending).await.1.is_some()
        };
        assert!(!more(Some("FROM debian\nCOPY a /\n")).await);
        assert!(more(Some("FROM debian\nonbuild COPY a /\n")).await);
        assert!(more(None).await);
        assert!(ask_both("FROM okteto.dev/other\n", |_, _| {}).await.1.is_some());
        assert!(ask_both("FROM scratch\nCOPY --from=okteto.dev/other / /\n", |_, _| {}).await.1.is_none());
    }

    #[tokio::test]
    async fn what_cant_be_looked_at_leaves_it_open() {
        let refused = ["FROM localhost:1/x\n", "FROM okteto.dev/other\n", "FROM 127.0.0.1:9/team/x\n", "FROM A:1\n"];
        for text in refused {
            assert!(matches!(ask(text, |_, _| {}).await, Err(NoDigest::Base(_))), "{text}");
        }
        let unknown = ask("# syntax=own\nFROM scratch\n", |_, _| {}).await;
        assert!(matches!(unknown, Err(NoDigest::Unknown { .. })));
        assert!(matches!(
            ask("FROM scratch\nADD https://a.example/x /\n", |_, _| {}).await,
            Err(NoDigest::Unknown { .. })
        ));
    }
}
