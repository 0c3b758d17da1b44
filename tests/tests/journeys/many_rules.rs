//! Ignore files and Dockerfiles larger than what fits gRPC's default headers, in which BuildKit passes them on.

use std::fmt::Write as _;

use slipway_journeys::{Service, files, image};

#[test]
fn two_thousand_ignore_lines_and_five_hundred_sources_are_no_trouble() {
    let service = Service::shared();
    let team = service.team();
    let app = team.project();
    let (mut rules, mut dockerfile) = (String::from("secret\n"), String::from("FROM scratch\n"));
    for index in 0..2000 {
        writeln!(rules, "generated/some/longer/path/to/make/it/large/{index}/*.tmp").unwrap();
    }
    for index in 0..500 {
        app.file(&format!("sources/with/a/long/name/{index}"), "x");
        if index % 50 == 0 {
            dockerfile.push_str("COPY ");
        }
        write!(dockerfile, "sources/with/a/long/name/{index} ").unwrap();
        if index % 50 == 49 {
            dockerfile.push_str("/srv/\n");
        }
    }
    app.image(&dockerfile).file(".dockerignore", rules).file("secret", "no");
    let pulled = image::pull(&team, &app.build_app());
    assert_eq!(files::paths(&pulled.files).iter().filter(|path| path.starts_with("srv/")).count(), 500);
}

#[test]
fn a_failed_step_of_a_long_dockerfile_is_a_failed_step() {
    let service = Service::shared();
    let app = service.team().project();
    let mut dockerfile = String::from("FROM debian:trixie-slim\n");
    for index in 0..3000 {
        writeln!(dockerfile, "# line {index}: a comment that makes the error's details long").unwrap();
    }
    dockerfile.push_str("RUN exit 93\n");
    app.image(&dockerfile);
    let run = app.slipway(["build"]).expect(1);
    assert!(run.stderr.contains("Dockerfile:3002") && run.stderr.contains("exit code: 93"), "{}", run.story());
    // Not in the service's log, which tells of other journeys too.
    assert!(!run.out().contains("trying again") && !run.stderr.contains("trying again"), "{}", run.story());
}
