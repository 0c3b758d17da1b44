//! The manifests that come with Slipway: what `make demo` deploys, and the runner image.

use slipway_journeys::{Service, command, files, image, program, setup_tool, target_dir};

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

#[test]
fn slipway_builds_the_runner_image_from_its_own_manifest() {
    // A service of its own: the others' runner image stays as it is.
    let service = Service::start();
    let admin = service.admin();
    let folder = admin.named_project("runner-image");
    for name in ["Dockerfile", "okteto.yaml", ".dockerignore", "dpkg.cfg", "packages.sh", "packages.txt"] {
        let file = target_dir().parent().unwrap().join("runner-image").join(name);
        folder.file(name, std::fs::read(file).unwrap());
    }
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    folder.file(&format!("slipway/{architecture}/slipway"), std::fs::read(program("slipway")).unwrap());
    let tools = ["helm", "cue"].map(|name| setup_tool(name).map(|path| (name, path)));
    let from = if tools.iter().all(Option::is_some) { "RUNNER_TOOLS=context" } else { "RUNNER_TOOLS=download" };
    for (name, path) in tools.into_iter().flatten() {
        folder.file(&format!("tools/{architecture}/{name}"), std::fs::read(path).unwrap());
    }
    // Whatever Debian has today: what is pinned is for who looks after the list.
    let run = folder.events(&["build", "--var", from, "--var", "RUNNER_PACKAGES=newest"]).ok();
    let built = run.last("build.done")["image"].as_str().unwrap().to_owned();
    assert!(built.starts_with(&format!("{}/okteto/runner@sha256:", service.registry())), "{built}");
    let pulled = image::pull(&admin, &built);
    for path in ["usr/local/bin/helm", "usr/local/bin/cue", "usr/local/bin/slipway", "usr/share/slipway/versions.txt"] {
        assert!(!files::bytes(&pulled.files, path).is_empty(), "{path}");
    }
}
