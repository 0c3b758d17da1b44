use proptest::prelude::*;

use super::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn problem(text: &str) -> ReferenceProblem {
    text.parse::<ImageRef>().expect_err(text).problem
}

#[test]
fn references_are_normalised() {
    let pinned = format!("localhost:5000/x:1@sha256:{HEX}");
    for (text, normal) in [
        ("debian", "docker.io/library/debian"),
        ("debian:trixie-slim", "docker.io/library/debian:trixie-slim"),
        ("team/app", "docker.io/team/app"),
        ("team/app/part:1", "docker.io/team/app/part:1"),
        ("docker.io/debian", "docker.io/library/debian"),
        ("index.docker.io/debian:1", "docker.io/library/debian:1"),
        ("localhost/x", "localhost/x"),
        ("LOCALHOST:5000/x", "localhost:5000/x"),
        ("localhost:5000/x", "localhost:5000/x"),
        ("127.0.0.1:7701/dev/app-api:okteto", "127.0.0.1:7701/dev/app-api:okteto"),
        ("[::1]:7701/dev/app", "[::1]:7701/dev/app"),
        ("ghcr.io/a/b/c_d/e__f/g---h/i.j:V1.2_3-x", "ghcr.io/a/b/c_d/e__f/g---h/i.j:V1.2_3-x"),
        (pinned.as_str(), pinned.as_str()),
    ] {
        assert_eq!(text.parse::<ImageRef>().expect(text).to_string(), normal);
    }
}

#[test]
fn the_error_names_the_problem() {
    use ReferenceProblem as P;
    for (text, expected) in [
        ("", P::Empty),
        ("https://ghcr.io/a", P::Scheme("https".into())),
        ("a b", P::Blank),
        ("a\nb", P::Blank),
        ("-bad.example/x", P::Host("-bad.example".into())),
        ("a..b/x", P::Host("a..b".into())),
        ("[::g]:1/x", P::Host("[::g]:1".into())),
        ("../x", P::Host("..".into())),
        ("host:0/x", P::Port("0".into())),
        ("host:0080/x", P::Port("0080".into())),
        ("host:65536/x", P::Port("65536".into())),
        ("host:+80/x", P::Port("+80".into())),
        ("host:x/y", P::Port("x".into())),
        ("ghcr.io/", P::NoRepository),
        ("ghcr.io/:tag", P::NoRepository),
        ("ghcr.io/A", P::RepositoryCase),
        ("Debian", P::RepositoryCase),
        ("ghcr.io/a/../b", P::Component("..".into())),
        ("ghcr.io/a//b", P::Component(String::new())),
        ("ghcr.io/a/", P::Component(String::new())),
        ("/a", P::Component(String::new())),
        ("ghcr.io/a___b", P::Component("a___b".into())),
        ("ghcr.io/a._b", P::Component("a._b".into())),
        ("ghcr.io/a-", P::Component("a-".into())),
        ("ghcr.io/a:b:c", P::Component("a:b".into())),
        ("ghcr.io/é", P::Component("é".into())),
        ("a:", P::Tag(String::new())),
        ("a:-x", P::Tag("-x".into())),
        ("a:x+y", P::Tag("x+y".into())),
        ("a@sha512:00", P::DigestAlgorithm("sha512".into())),
        ("a@", P::DigestForm),
        ("a@sha256:00", P::DigestForm),
    ] {
        assert_eq!(problem(text), expected, "{text:?}");
    }
    assert_eq!(problem(&format!("ghcr.io/{}", "a".repeat(256))), P::RepositoryLength(256));
    assert_eq!(problem(&format!("a:{}", "t".repeat(129))), P::Tag("t".repeat(129)));
}

#[test]
fn hosts_know_what_they_are() {
    for (text, loopback, port) in [
        ("localhost", true, None),
        ("localhost:5000", true, Some(5000)),
        ("127.0.0.1:1", true, Some(1)),
        ("127.9.9.9", true, None),
        ("[::1]:7701", true, Some(7701)),
        ("[::1]", true, None),
        ("[::ffff:127.0.0.1]:7", true, Some(7)),
        ("localhost.example:5000", false, Some(5000)),
        ("10.0.0.1:5000", false, Some(5000)),
        ("ghcr.io", false, None),
    ] {
        let host: RegistryHost = text.parse().expect(text);
        assert_eq!((host.is_loopback(), host.port()), (loopback, port), "{text}");
    }
    assert_eq!(RegistryHost::docker_hub().api_host(), "registry-1.docker.io");
}

#[test]
fn serde_uses_the_text_form() {
    let image: ImageRef = serde_json::from_str("\"debian:12\"").expect("parse");
    assert_eq!(serde_json::to_string(&image).expect("serialize"), "\"docker.io/library/debian:12\"");
    assert!(serde_json::from_str::<ImageRef>("\"A B\"").is_err());
}

#[test]
fn manifest_reference_prefers_the_digest() {
    let image: ImageRef = "ghcr.io/a".parse().expect("parse");
    assert_eq!(image.manifest_reference(), "latest");
    let tagged = image.with_tag("1".parse().expect("tag"));
    assert_eq!(tagged.manifest_reference(), "1");
    let pinned = tagged.with_digest(Digest::of(b""));
    assert_eq!(pinned.manifest_reference(), format!("sha256:{HEX}"));
    assert_eq!(pinned.to_string(), format!("ghcr.io/a:1@sha256:{HEX}"));
}

prop_compose! {
    fn valid_reference()(
        host in prop::option::of("(localhost|([a-z0-9]{1,5}(-[a-z0-9]{1,4})?\\.){1,2}[a-z]{2,4}|127\\.0\\.0\\.1|\\[::1\\])(:[1-9][0-9]{0,3})?"),
        path in "[a-z0-9]{1,6}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,6}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}){0,3}",
        tag in prop::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"),
        digest in prop::option::of("[0-9a-f]{64}"),
    ) -> String {
        // Without a host, a dotted first component of several would be read as one.
        let mut text = host.map_or_else(|| path.replace('.', "-"), |host| format!("{host}/{path}"));
        if let Some(tag) = tag { text.push(':'); text.push_str(&tag); }
        if let Some(digest) = digest { text.push_str("@sha256:"); text.push_str(&digest); }
        text
    }
}

proptest! {
    #[test]
    fn displayed_references_parse_to_themselves(text in valid_reference()) {
        let image: ImageRef = text.parse().expect("generated references are valid");
        prop_assert_eq!(image.to_string().parse::<ImageRef>(), Ok(image));
    }

    #[test]
    fn whatever_parses_is_stable_and_clean(text in "\\PC{0,40}") {
        if let Ok(image) = text.parse::<ImageRef>() {
            let shown = image.to_string();
            prop_assert_eq!(shown.parse::<ImageRef>(), Ok(image.clone()));
            prop_assert!(!shown.contains("..") || image.tag().is_some_and(|tag| tag.as_str().contains("..")));
            prop_assert!(!shown.contains(char::is_whitespace));
        }
    }

    #[test]
    fn likely_texts_never_panic(text in "[a-zA-Z0-9._:/@\\[\\]-]{0,40}") {
        if let Ok(image) = text.parse::<ImageRef>() {
            prop_assert_eq!(image.to_string().parse::<ImageRef>(), Ok(image));
        }
    }
}
