//! Several builds of a job at a time.

use std::collections::BTreeSet;

use slipway_journeys::service::Options;
use slipway_journeys::{Project, Run, Service, files, image, unique};

/// Where in the events something is told of a service.
fn place(run: &Run, kind: &str, service: &str) -> usize {
    let is = |event: &serde_json::Value| event["type"] == kind && event["service"] == service;
    run.events.iter().position(is).unwrap_or_else(|| panic!("no {kind} of {service}\n{}", run.story()))
}

fn dockerfile(app: &Project, service: &str, text: &str) {
    app.file(&format!("{service}/Dockerfile"), text);
}

/// A file that nobody has, as a step makes it, slowly.
fn slow(mark: &str) -> String {
    format!(
        "FROM debian:trixie-slim AS made\nRUN sleep 5; echo {mark} >/mark\nFROM scratch\nCOPY --from=made /mark /mark\n"
    )
}

#[test]
fn builds_overlap_unless_one_uses_the_other() {
    let service = Service::shared();
    let app = service.team().project();
    app.manifest(
        "build:\n  base: base\n  left: left\n  right: right\n  by-variable: by-variable\n  by-name:\n    context: by-name\n  declared:\n    context: declared\n    depends_on: left\n",
    );
    let mark = unique("m");
    for name in ["base", "left", "right"] {
        dockerfile(&app, name, &slow(&format!("{name}-{mark}")));
    }
    dockerfile(
        &app,
        "by-variable",
        "ARG OKTETO_BUILD_BASE_IMAGE\nFROM $OKTETO_BUILD_BASE_IMAGE\nCOPY Dockerfile /own\n",
    );
    dockerfile(&app, "by-name", &format!("FROM okteto.dev/{}-base:okteto\nCOPY Dockerfile /own\n", app.name));
    dockerfile(&app, "declared", "FROM scratch\nCOPY Dockerfile /own\n");
    let run = app.events(&["build"]).ok();
    let last_start =
        ["base", "left", "right"].map(|name| place(&run, "build.started", name)).into_iter().max().unwrap();
    let first_end = ["base", "left", "right"].map(|name| place(&run, "build.done", name)).into_iter().min().unwrap();
    assert!(last_start < first_end, "they overlap: {}", run.story());
    for (user, used) in [("by-variable", "base"), ("by-name", "base"), ("declared", "left")] {
        assert!(place(&run, "build.done", used) < place(&run, "build.started", user), "{user}: {}", run.story());
    }
    for user in ["by-variable", "by-name"] {
        let done = &run.events[place(&run, "build.done", user)];
        let image = image::pull(&app.team, done["image"].as_str().unwrap());
        assert_eq!(files::text(&image.files, "mark").trim(), format!("base-{mark}"), "this job's base image");
    }
}

#[test]
fn one_at_a_time_is_one_at_a_time() {
    let service = Service::with(Options::default().set("SLIPWAYD_JOBS__MAX_BUILDS", "1"));
    let app = service.team().project();
    app.manifest("build:\n  left: left\n  right: right\n  third: third\n");
    let mark = unique("m");
    for name in ["left", "right", "third"] {
        dockerfile(&app, name, &slow(&format!("{name}-{mark}")).replace("sleep 5", "sleep 2"));
    }
    let run = app.events(&["build"]).ok();
    let kinds = run.events.iter().filter_map(|event| event["type"].as_str());
    let kinds: Vec<_> = kinds.filter(|kind| ["build.started", "build.done"].contains(kind)).collect();
    assert_eq!(kinds, ["build.started", "build.done"].repeat(3), "{}", run.story());
    for kind in ["build.started", "build.done"] {
        let services: BTreeSet<_> = run.all(kind).iter().map(|event| event["service"].as_str().unwrap()).collect();
        assert_eq!(services, BTreeSet::from(["left", "right", "third"]));
    }
}

#[test]
fn a_build_that_fails_takes_with_it_only_what_waits_for_it() {
    let service = Service::shared();
    let app = service.team().project();
    app.manifest(
        "build:\n  bad: bad\n  good: good\n  user:\n    context: user\n    depends_on: bad\n  users-user:\n    context: user\n    depends_on: user\n",
    );
    let mark = unique("m");
    dockerfile(&app, "bad", "FROM debian:trixie-slim\nRUN exit 7\n");
    dockerfile(&app, "good", &slow(&mark));
    dockerfile(&app, "user", "FROM scratch\nCOPY Dockerfile /own\n");
    let run = app.events(&["build"]).expect(1);
    let error = &run.last("job.done")["error"];
    assert!(error["message"].as_str().unwrap().contains("`bad`"), "{error}");
    assert_eq!(run.all("build.started").len(), 2, "{}", run.story());
    let told: Vec<_> = run.all("warning").iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect();
    assert!(told.iter().any(|message| message.contains("build of service `bad` failed")), "at once: {told:?}");
    let told: Vec<_> = told.into_iter().filter(|message| message.contains("is not built")).collect();
    assert_eq!(told, ["`user` is not built: it needs `bad`", "`users-user` is not built: it needs `bad`"]);
    // What the others made stands, and is found again.
    let image = image::pull(&app.team, run.last("build.done")["image"].as_str().unwrap());
    assert_eq!(files::text(&image.files, "mark").trim(), mark);
    assert_eq!(app.events(&["build", "good"]).ok().all("build.skipped").len(), 1);
}

#[test]
fn jobs_that_build_the_same_at_once_share_one_run() {
    let service = Service::shared();
    let app = service.team().project();
    let mark = unique("m");
    app.image(&format!(
        "FROM debian:trixie-slim AS made\nRUN echo begun-{mark}; sleep 15; date +%s%N >/when\nFROM scratch\nCOPY --from=made /when /when\n"
    ));
    let first = app.start_events(&["build", "--no-cache"]);
    first.says(&format!("begun-{mark}"));
    // Not one that wants it anew.
    let second = app.checkout().events(&["build"]).ok();
    let first = first.finish().ok();
    assert_eq!(first.all("build.started").len() + second.all("build.started").len(), 1, "{}", second.story());
    assert_eq!(second.last("build.skipped")["image"], first.last("build.done")["image"]);
    let waited = |event: &&serde_json::Value| event["message"].as_str().unwrap().contains("waiting");
    assert_eq!(second.all("warning").into_iter().filter(waited).count(), 1, "{}", second.story());
}
