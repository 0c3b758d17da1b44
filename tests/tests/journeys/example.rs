//! What `make demo` deploys, and that the runner image's own manifest fits the service.

use slipway_journeys::{Service, command, target_dir};

#[test]
fn the_example_deploys() {
    let service = Service::shared();
    let team = service.team();
    let mut deploy = team.command(["deploy", "--build", "--output", "json"]);
    deploy.current_dir(target_dir().parent().unwrap().join("examples/hello"));
    let run = command::start(deploy, None).finish().ok();
    assert_eq!(run.all("build.done").len(), 2, "{}", run.story());
    assert_eq!(run.said().matches(": 200").count(), 2, "both images are there, seen from inside: {}", run.said());
}

#[test]
fn the_runner_image_is_the_one_that_slipwayd_asks_for() {
    let manifest = target_dir().parent().unwrap().join("runner-image/okteto.yaml");
    let manifest = std::fs::read_to_string(manifest).unwrap();
    let image = format!("image: okteto.global/runner:{}", env!("CARGO_PKG_VERSION"));
    assert!(manifest.contains(&image), "{image} is not in {manifest}");
}
