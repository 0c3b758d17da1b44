//! Options of builds, seen by tools that are not ours.

use serde_json::Value;
use slipway_journeys::{Service, Team, files, image, unique};

/// The manifest or index under a reference.
fn manifest(team: &Team, reference: &str) -> Value {
    let creds = format!("me:{}", team.token);
    let answer =
        image::skopeo(&["inspect", "--raw", "--tls-verify=false", "--creds", &creds, &format!("docker://{reference}")]);
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    serde_json::from_slice(&answer.stdout).unwrap()
}

#[test]
fn several_platforms_are_one_image() {
    let service = Service::shared();
    let app = service.team().project();
    app.image("FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /of\n")
        .file("amd64", unique("x"))
        .file("arm64", unique("y"));
    let run = app.events(&["build", "--platform", "linux/amd64,linux/arm64"]).ok();
    let reference = run.last("build.done")["image"].as_str().unwrap();
    let index = manifest(&app.team, reference);
    let repository = reference.split('@').next().unwrap();
    let manifests = index["manifests"].as_array().unwrap();
    let mut found: Vec<&str> =
        manifests.iter().map(|entry| entry["platform"]["architecture"].as_str().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, ["amd64", "arm64"], "{index}");
    for entry in manifests {
        let architecture = entry["platform"]["architecture"].as_str().unwrap();
        let one = image::pull(&app.team, &format!("{repository}@{}", entry["digest"].as_str().unwrap()));
        assert_eq!(one.config["architecture"], architecture);
        assert_eq!(files::bytes(&one.files, "of"), std::fs::read(app.path().join(architecture)).unwrap());
    }
    // One of them is another image, and each is found again.
    let one = app.events(&["build", "--platform", "linux/arm64"]).ok();
    assert_eq!(one.all("build.started").len(), 1);
    for platforms in ["linux/arm64", "linux/amd64,linux/arm64"] {
        let run = app.events(&["build", "--platform", platforms]).ok();
        assert_eq!(run.all("build.skipped").len(), 1, "{platforms}: {}", run.story());
    }
}

#[test]
fn a_platform_that_the_engine_cannot_run_is_explained() {
    let service = Service::shared();
    let app = service.team().project();
    // The base image's own program, for this machine, stands for one of another platform: it is no program at all.
    app.image("FROM debian:trixie-slim\nCOPY --chmod=755 program /program\nRUN [\"/program\"]\n")
        .file("program", "no program");
    let run = app.events(&["build"]).expect(1);
    let error = &run.last("job.done")["error"];
    assert!(error["hint"].as_str().unwrap_or_default().contains("emulator"), "{error}");
}

#[test]
fn the_target_of_the_command_line_counts_and_a_wrong_one_is_named() {
    let service = Service::shared();
    let app = service.team().project();
    app.image("FROM scratch AS first\nCOPY x /first\nFROM scratch\nCOPY x /last\n").file("x", unique("x"));
    let files_of = |args: &[&str]| {
        let run = app.events(args).ok();
        let image = image::pull(&app.team, run.last("build.done")["image"].as_str().unwrap());
        files::paths(&image.files).concat()
    };
    assert_eq!(files_of(&["build"]), "last");
    assert_eq!(files_of(&["build", "--target", "first"]), "first");
    let run = app.events(&["build", "--target", "frist"]).expect(1);
    assert!(run.last("job.done")["error"]["message"].as_str().unwrap().contains("frist"), "{}", run.story());
}
