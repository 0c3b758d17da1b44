//! Several engines: which one builds, and what happens when one is lost, full, or to be left alone.

use std::collections::HashSet;

use rustix::process::Signal;
use serde_json::Value;
use slipway_journeys::command::Running;
use slipway_journeys::s3::S3;
use slipway_journeys::service::Options;
use slipway_journeys::wait::{SOON, until};
use slipway_journeys::{Buildkitd, Project, Run, Service, files, image, on_docker, process, unique};
use tempfile::TempDir;

/// Two engines, and a service that uses them.
struct Pool {
    service: Service,
    engines: Vec<(Buildkitd, String)>,
    _dirs: Vec<TempDir>,
}

impl Pool {
    fn start(each_engine: &'static str) -> Self {
        let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
        let engines: Vec<_> = dirs.iter().map(|dir| Buildkitd::with_mirrors(dir.path())).collect();
        let addresses = engines.iter().map(|(_, address)| address.clone()).collect();
        let service = Service::with(Options { engines: addresses, each_engine, ..Options::default() });
        Self { service, engines, _dirs: dirs }
    }

    fn engine(&mut self, address: &str) -> &mut Buildkitd {
        &mut self.engines.iter_mut().find(|(_, known)| known == address).unwrap().0
    }

    /// What an admin sees of an engine.
    fn seen(&self, address: &str) -> Value {
        let run = self.service.admin().slipway(["engine", "list", "--output", "json"]).ok();
        run.events.iter().find(|seen| seen["address"] == address).unwrap().clone()
    }
}

fn engine(event: &Value) -> String {
    event["engine"].as_str().unwrap().to_owned()
}

/// Where each build ran, in order.
fn built_on(run: &Run) -> Vec<String> {
    run.all("build.started").into_iter().map(engine).collect()
}

/// An image that holds `mark`, after a step that takes so long where `x` is not empty.
fn slow(app: &Project, mark: &str, seconds: u32) {
    app.image(&format!(
        "FROM debian:trixie-slim AS made\nCOPY x /\nRUN echo {mark} >/mark; if [ -s /x ]; then sleep {seconds}; fi\n\
         FROM scratch\nCOPY --from=made /mark /\n"
    ));
}

/// Waits until the slow step runs; on which engine.
fn step_runs(building: &Running) -> String {
    building.event("the slow step", |event| {
        event["type"] == "step.started" && event["name"].as_str().is_some_and(|name| name.contains("sleep"))
    });
    engine(&building.event("the build's start", |event| event["type"] == "build.started"))
}

fn mark(app: &Project, run: &Run) -> String {
    let image = image::pull(&app.team, run.last("build.done")["image"].as_str().unwrap());
    files::text(&image.files, "mark").trim().to_owned()
}

#[test]
fn a_build_whose_engine_is_killed_succeeds_on_the_other() {
    let mut pool = Pool::start("");
    let app = pool.service.team().project();
    let text = unique("m");
    slow(&app, &text, 5);
    app.file("x", "1");
    let building = app.start(["build", "--output", "json"]);
    let first = step_runs(&building);
    pool.engine(&first).kill();
    let run = building.finish().ok();
    let engines = built_on(&run);
    assert_eq!((engines.len(), &engines[0]), (2, &first), "{}", run.story());
    assert_ne!(engines[1], first);
    assert_eq!(mark(&app, &run), text);
    // It is seen, and builds go elsewhere at once.
    until("it is known to be down", SOON, || (pool.seen(&first)["state"] == "down").then_some(()));
    assert_eq!(pool.seen(&engines[1])["state"], "up");
    app.file("x", "");
    let run = app.events(&["build"]).ok();
    assert_eq!(built_on(&run), [engines[1].clone()]);
    assert!(run.all("warning").is_empty(), "{}", run.story());
}

#[test]
fn a_build_whose_engine_hangs_goes_on_elsewhere() {
    let mut pool = Pool::start("");
    let app = pool.service.team().project();
    slow(&app, &unique("m"), 5);
    app.file("x", "1");
    let building = app.start(["build", "--output", "json"]);
    let first = step_runs(&building);
    let pid = pool.engine(&first).pid();
    process::signal(pid, Signal::STOP);
    let run = building.finish();
    process::signal(pid, Signal::CONT);
    let engines = built_on(&run.ok());
    assert_eq!((engines.len(), &engines[0]), (2, &first));
    assert_ne!(engines[1], first);
}

#[test]
fn repositories_keep_their_engine_and_an_engine_is_drained() {
    let pool = Pool::start("");
    let team = pool.service.team();
    let apps: Vec<_> = (0..6).map(|_| team.project()).collect();
    let build = |app: &Project, x: &str| {
        app.image("FROM scratch\nCOPY x /x\n").file("x", x);
        let run = app.events(&["build"]).ok();
        assert_eq!(run.last("job.started")["engine"], run.last("build.started")["engine"]);
        built_on(&run).remove(0)
    };
    let first: Vec<_> = apps.iter().map(|app| build(app, "1")).collect();
    let again: Vec<_> = apps.iter().map(|app| build(app, "2")).collect();
    assert_eq!(first, again);

    let admin = pool.service.admin();
    let drained = first[0].as_str();
    admin.slipway(["engine", "drain", drained]).ok();
    assert_eq!(pool.seen(drained)["state"], "draining");
    assert!(apps.iter().all(|app| build(app, "3") != drained));
    // A deploy's commands don't go there, either.
    let app = &apps[0];
    app.manifest("deploy:\n  remote: true\n  commands: [echo over there]\n");
    assert_ne!(engine(app.events(&["deploy"]).ok().last("job.started")), drained);
    admin.slipway(["engine", "resume", drained]).ok();
    assert_eq!(build(app, "4"), drained);

    team.slipway(["engine", "list"]).expect(3);
    let unknown = admin.slipway(["engine", "drain", "unix:///nowhere"]).expect(3);
    assert!(unknown.stderr.contains("no engine unix:///nowhere"), "{}", unknown.stderr);
}

#[test]
fn a_full_engine_is_passed_over_and_builds_wait_when_all_are_full() {
    let pool = Pool::start("max_builds = 1\n");
    let team = pool.service.team();
    let apps: Vec<_> = (0..3).map(|_| team.project()).collect();
    for app in &apps {
        slow(app, &unique("m"), 120);
        app.file("x", "1");
    }
    let running: Vec<_> = apps[..2].iter().map(|app| app.start(["build", "--output", "json"])).collect();
    let engines: HashSet<_> = running.iter().map(step_runs).collect();
    assert_eq!(engines.len(), 2, "one each");
    assert!(engines.iter().all(|engine| pool.seen(engine)["building"] == 1));
    apps[2].file("x", "");
    let third = apps[2].start(["build", "--output", "json"]);
    third.event("it waits", |event| {
        event["message"] == "`app` waits for an engine: those that could take it are full, or take no more builds"
    });
    running[0].signal(Signal::INT);
    assert_eq!(built_on(&third.finish().ok()).len(), 1);
    running[1].signal(Signal::INT);
    for running in running {
        running.finish().expect(130);
    }
}

#[test]
fn who_waits_for_a_build_from_the_same_inputs_takes_nobodys_room() {
    let pool = Pool::start("max_builds = 1\n");
    let team = pool.service.team();
    let [app, other] = [team.project(), team.project()];
    slow(&app, &unique("m"), 120);
    app.file("x", "1");
    let builds = app.start(["build", "--output", "json"]);
    let engine = step_runs(&builds);
    let waits = app.start(["build", "--output", "json"]);
    waits.event("it waits", |event| {
        event["message"] == "`app` is being built from the same inputs already: waiting for that"
    });
    slow(&other, &unique("m"), 0);
    other.file("x", "");
    let run = other.events(&["build"]).ok();
    assert_ne!(built_on(&run), [engine]);
    assert!(run.all("warning").is_empty(), "{}", run.story());
    for running in [waits, builds] {
        running.signal(Signal::INT);
        running.finish().expect(130);
    }
}

#[test]
fn a_build_goes_to_the_engine_that_knows_its_cache() {
    // It takes both.
    if !on_docker() {
        return;
    }
    let (dir, s3) = (tempfile::tempdir().unwrap(), S3::start());
    let (_engine, buildkitd) = Buildkitd::with_mirrors(dir.path());
    let options = Options { engines: vec![slipway_journeys::engine(), buildkitd.clone()], ..Options::default() };
    let options = options.set("SLIPWAYD_JOBS__CACHE_HOSTS", s3.address.to_string());
    let service = Service::with(options.set("SLIPWAYD_JOBS__EXTERNAL_CACHES", "any"));
    let team = service.team();
    let build = |app: &Project, more: &[&str]| {
        app.image("FROM scratch\nCOPY x /x\n").file("x", unique("x"));
        let run = app.events_with(&[&["build"], more].concat(), &s3.env()).ok();
        assert!(run.all("warning").is_empty(), "{}", run.story());
        built_on(&run).remove(0)
    };
    // One that would be built by the Docker Engine.
    let app = (0..30).map(|_| team.project()).find(|app| build(app, &[]).starts_with("docker://")).unwrap();
    assert_eq!(build(&app, &["--cache-to", &s3.cache()]), buildkitd);
    assert!(s3.objects() > 0);
    assert_eq!(build(&app, &["--cache-from", &s3.cache()]), buildkitd);
    // Both know these.
    assert_ne!(build(&app, &["--cache-to", "type=inline"]), buildkitd);
    assert_ne!(build(&app, &["--cache-to", "type=local,dest=cache"]), buildkitd);
    assert_ne!(build(&app, &["--export", "type=oci,dest=x.tar", "--sbom=false", "--provenance=true"]), buildkitd);

    // Where no engine is left that knows it, the build does not begin; what would only be faster does.
    service.admin().slipway(["engine", "drain", &buildkitd]).ok();
    let run = app.events_with(&["build", "--no-cache", "--cache-to", &s3.cache()], &s3.env()).expect(1);
    let error = &run.last("job.done")["error"];
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("service `app`: engine docker://") && message.contains("(Docker Engine "), "{error}");
    assert!(message.ends_with("knows no caches of type `s3`"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("have an admin add a buildkitd"), "{error}");
    assert!(run.all("build.started").is_empty(), "{}", run.story());
    let run = app.events_with(&["build", "--no-cache", "--cache-from", &s3.cache()], &s3.env()).ok();
    assert_eq!(built_on(&run).len(), 1);
    let warning = run.last("warning")["message"].as_str().unwrap();
    assert!(warning.starts_with("`app`: `cache_from` is left out: engine docker://"), "{warning}");
}
