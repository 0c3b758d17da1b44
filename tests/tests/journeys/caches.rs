//! Caches outside of the engine: written to the namespace's repositories, taken where an admin allows it.

use std::fs;

use serde_json::Value;
use slipway_journeys::service::Options;
use slipway_journeys::{Buildkitd, Project, Run, Service, image, unique};
use tempfile::TempDir;

/// An image with a step that takes something to make.
fn app(service: &Service) -> Project {
    let app = service.team().project();
    app.image(&format!(
        "FROM debian:trixie-slim AS made\nRUN echo {} >/mark\nFROM scratch\nCOPY --from=made /mark /\n",
        unique("m")
    ));
    app
}

/// Whether the step ran in this build.
fn ran(run: &Run) -> bool {
    let steps = run.all("step.done");
    let step = steps.iter().find(|step| step["name"].as_str().unwrap().contains("RUN echo"));
    step.is_some_and(|step| step["cached"] == false)
}

/// An engine of one's own that can forget everything, and a service on it.
struct Fresh {
    service: Service,
    engine: Option<Buildkitd>,
    dir: TempDir,
}

impl Fresh {
    fn start(external: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (engine, address) = Buildkitd::with_mirrors(dir.path());
        let options = Options::default().set("SLIPWAYD_JOBS__EXTERNAL_CACHES", external);
        let service = Service::with(Options { engines: vec![address], ..options });
        Self { service, engine: Some(engine), dir }
    }

    fn forget(&mut self) {
        self.engine = None;
        fs::remove_dir_all(self.dir.path().join("root")).unwrap();
        let _ = fs::remove_file(self.dir.path().join("socket"));
        self.engine = Some(Buildkitd::with_mirrors(self.dir.path()).0);
    }
}

#[test]
fn a_fresh_engine_takes_what_another_one_left_where_that_is_allowed() {
    let mut fresh = Fresh::start("any");
    let app = app(&fresh.service);
    // What the registry has already, a cache asked for by hand is made of all the same.
    assert!(ran(&app.events(&["build"]).ok()));
    let to = ["build", "--cache-to", "type=registry,ref=okteto.dev/cache:a,mode=max"];
    assert_eq!(app.events(&to).ok().all("build.done").len(), 1);
    fresh.forget();
    // It is built, whatever the registry has.
    let from = ["build", "--push=false", "--cache-from", "okteto.dev/cache:a"];
    let run = app.events(&from).ok();
    assert!(!ran(&run), "{}", run.story());
    assert!(run.all("warning").is_empty(), "{}", run.story());
    fresh.forget();
    // From the manifest, in Okteto's words.
    app.manifest("build:\n  app:\n    context: .\n    cache_from: okteto.dev/cache:a\n");
    assert!(!ran(&app.events(&["build", "--push=false"]).ok()));
    fresh.forget();
    app.manifest("build:\n  app: .\n");
    assert!(ran(&app.events(&["build", "--push=false"]).ok()), "and without it runs");
}

#[test]
fn nothing_is_taken_unless_an_admin_allows_it() {
    let mut fresh = Fresh::start("write");
    let app = app(&fresh.service);
    app.events(&["build", "--cache-to", "okteto.dev/cache:a"]).ok();
    fresh.forget();
    let run = app.events(&["build", "--push=false", "--cache-from", "okteto.dev/cache:a"]).ok();
    assert!(ran(&run));
    let warning = run.last("warning")["message"].as_str().unwrap();
    assert!(warning.contains("jobs.external_caches"), "{warning}");
}

#[test]
fn caches_are_written_to_ones_own_repositories_only() {
    let service = Service::shared();
    let app = app(&service);
    let run = app
        .events(&["build", "--cache-to", "type=registry,ref=okteto.dev/cache:a,mode=max", "--cache-to", "type=inline"])
        .ok();
    let cache = image::raw(&app.team, &format!("{}/{}/cache:a", app.team.registry, app.team.namespace));
    let cache: Value = serde_json::from_slice(&cache).unwrap();
    assert!(cache.to_string().contains("buildkit.cacheconfig"), "{cache}");
    let built = image::pull(&app.team, run.last("build.done")["image"].as_str().unwrap());
    assert!(built.config.get("moby.buildkit.cache.v0").is_some(), "{}", built.config);

    let other = service.team();
    for theirs in [format!("{}/{}/cache:a", app.team.registry, other.namespace), "okteto.global/cache:a".to_owned()] {
        let run = app.events(&["build", "--no-cache", "--cache-to", &theirs]).expect(1);
        assert_eq!(run.last("job.done")["error"]["code"], "push_refused", "{}", run.story());
    }
}
