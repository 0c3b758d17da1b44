use super::*;
use crate::buildkit::error::SolveFailure;
use crate::buildkit::feature::tests::Fake;
use crate::pipeline::input::tests::plain_build;

/// The hint of a build whose solve failed so, and whose step said that last.
fn hint(message: &str, tail: &str) -> String {
    let failure = SolveFailure { message: message.to_owned(), ..SolveFailure::default() };
    let source = buildkit::Error::Solve(Box::new(failure));
    let failure = Failure::Build { service: "app".parse().unwrap(), source, tail: tail.into(), hint: None };
    let (state, failure) = failure.end();
    let failure = failure.unwrap();
    assert_eq!((state, failure.code.as_str()), (JobState::Failed, "build_failed"));
    failure.hint.unwrap_or_default()
}

const SYNTAX: &str = "failed to solve: failed to resolve source metadata for docker.io/docker/dockerfile:9: not found";
const EXIT: &str = "failed to solve: process \"/bin/sh -c make\" did not complete successfully: exit code: 2";
const HEAD: &str =
    "unexpected status from HEAD request to http://127.0.0.1:5000/v2/a/b/blobs/sha256:f743: 401 Unauthorized";
const SCOPE: &str = "push access denied, repository does not exist or may require authorization: server message: \
                     insufficient_scope: authorization failed";
const DOCKERFILE: &str = "Dockerfile:2\n   1 |     FROM scratch\n   2 | >>> COPY no-space-left-on-device /x\n";

/// As BuildKit writes them, and the beginning of what we say about each.
#[test]
fn what_is_known_of_a_message_is_told() {
    let (push, disk, login) = ("the service pushes with its own", "the engine's disk is full", "its registry gives it");
    let pull = "failed to solve: debian:0: failed to resolve source metadata for docker.io/library/debian:0";
    let token = |scope: &str, kind: &str| {
        format!(
            "failed to solve: failed to fetch {kind} token: unexpected status from GET request to \
             https://auth.example.com/token?scope=repository%3Aa%2Fb%3A{scope}&service=s: 403 Forbidden"
        )
    };
    for (message, expected) in [
        (format!("{pull}: docker.io/library/debian:0: not found"), "is the image's name right"),
        (format!("{pull}: pull access denied, repository does not exist or may require authorization: authorization failed"), login),
        (SYNTAX.to_owned(), "`# syntax=` names an image"),
        ("failed to solve: no match for platform in manifest: not found".to_owned(), "the base image is not there for"),
        ("failed to solve: secret npm: not found".to_owned(), "give it a value: `slipway build --secret id=npm"),
        ("failed to solve: unknown cache exporter: \"s3\"".to_owned(), "this engine knows no caches of that type"),
        ("failed to solve: source \"docker-image://x/y\" not allowed by policy: denied by policy".to_owned(), "a build may use"),
        (format!("{DOCKERFILE}failed to solve: failed to calculate checksum of ref x::y: \"/x\": not found"), "is the file in"),
        // A push that is refused.
        (format!("failed to solve: failed to push 127.0.0.1:5000/a/b:1: {HEAD}"), push),
        (format!("failed to solve: failed to push 127.0.0.1:5000/a/b:1: {SCOPE}"), push),
        ("failed to solve: failed to push 127.0.0.1:5000/a/b:1: denied".to_owned(), push),
        ("failed to solve: failed to push r.example.com/a/b:1: unauthorized: authentication required".to_owned(), push),
        (format!("failed to solve: error writing layer blob: {SCOPE}"), push),
        (format!("failed to solve: error writing manifest blob: {}", HEAD.replace("401 Unauthorized", "403 Forbidden\ndenied")), push),
        (token("pull%2Cpush", "anonymous"), push),
        (token("pull%2Cpush", "oauth"), push),
        (token("pull", "anonymous"), login),
        // Other ends of a push, and names that only look like one.
        ("failed to solve: failed to push 127.0.0.1:5000/a/denied:1: unknown: unknown error".to_owned(), ""),
        ("failed to solve: failed to push 127.0.0.1:5000/a/b:1: unexpected status: 413 Request Entity Too Large".to_owned(), ""),
        // A disk that is full.
        ("failed to solve: failed to copy: write /var/lib/buildkit/runc-overlayfs/content/ingest/1/data: no space left on device".to_owned(), disk),
        ("failed to solve: failed to prepare x as y: mkdir /var/lib/buildkit/snapshots/new-1: no space left on device".to_owned(), disk),
        ("failed to solve: error from sender: No space left on device (os error 28)".to_owned(), ""),
        (format!("{DOCKERFILE}failed to solve: something else"), ""),
    ] {
        let found = hint(&message, "");
        let is_it = if expected.is_empty() { found.is_empty() } else { found.starts_with(expected) };
        assert!(is_it, "{message}\n{found}");
    }
}

#[test]
fn what_a_step_said_last_counts() {
    let shm = "a step has there is memory";
    for (tail, expected) in [
        ("cc: fatal error: error writing to /tmp/x.s: No space left on device\nmake: *** [x] Error 1", "disk is full"),
        ("write /go/pkg/x: no space left on device", "disk is full"),
        (
            "error: failed to write `/x/.cargo-ok`\n\nCaused by:\n  No space left on device (os error 28)",
            "disk is full",
        ),
        ("cp: error writing '/dev/shm/x': No space left on device", shm),
        ("exec /bin/sh: exec format error\n", "installs them"),
        ("make: *** [x] Error 1", ""),
    ] {
        let found = hint(EXIT, tail);
        assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{tail}\n{found}");
    }
}

#[tokio::test]
async fn what_an_engine_lacks_is_named_with_its_version() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let engine = Fake::start(&socket, 12, &[]).connect().await;
    let end = |feature| {
        let (state, failure) = Failure::lacks(&plain_build("app"), &engine, feature).end();
        assert_eq!(state, JobState::Failed);
        let failure = failure.unwrap();
        (failure.code, failure.message, failure.hint.unwrap())
    };
    let (code, message, hint) = end(Feature::Cache("s3"));
    assert_eq!(code, "build_failed");
    let said = format!("service `app`: engine unix://{} (BuildKit v0.12.0) knows no ", socket.display());
    assert_eq!(message, format!("{said}caches of type `s3`"));
    assert!(hint.contains("knows no caches of that type"), "{hint}");
    assert_eq!(end(Feature::SeveralExporters).1, format!("{said}exports in several forms at once"));
}
