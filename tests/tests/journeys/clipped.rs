//! An engine that nobody told to keep the output of steps whole.

use slipway_journeys::service::Options;
use slipway_journeys::wait::{SOON, until};
use slipway_journeys::{Buildkitd, Service, image};

#[test]
fn an_engine_that_cuts_output_is_named_once() {
    // It knows no mirror: its base image comes from the service's own registry.
    let shared = Service::shared();
    let base = shared.team().project();
    base.image("FROM debian:trixie-slim\n");
    let from = base.build_app();

    let dir = tempfile::tempdir().unwrap();
    let socket = format!("unix://{}", dir.path().join("socket").display());
    let _engine = Buildkitd::start(dir.path(), &socket, &[]);
    until("buildkitd listens", SOON, || dir.path().join("socket").exists().then_some(()));
    let service = Service::with(Options::default().set("SLIPWAYD_ENGINE__ADDRESS", socket));
    let app = service.team().project();
    let creds = |token: &str| format!("anyone:{token}");
    let (ours, theirs) = (creds(&app.team.token), creds(&base.team.token));
    let to = format!("docker://{}/{}/base:1", app.team.registry, app.team.namespace);
    let plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    let copy = ["copy", "-q", "--src-creds", &theirs, "--dest-creds", &ours, &format!("docker://{from}"), &to];
    let copied = image::skopeo(&[&copy[..1], &plain, &copy[1..]].concat());
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));

    app.image("FROM okteto.dev/base:1\nRUN seq 1 400000\nRUN seq 2 400001\n");
    let run = app.events(&["build"]).ok();
    let warnings = run.all("warning");
    let told = |word: &str| warnings.iter().filter(|event| event["message"].as_str().unwrap().contains(word)).count();
    assert_eq!(told("BUILDKIT_STEP_LOG_MAX_SPEED"), 1, "{}", run.story());
}
