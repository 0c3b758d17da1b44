//! Caches outside of the engine: written to the namespace's repositories, taken where an admin allows it.

use std::fs;
use std::process::Command;

use serde_json::Value;
use slipway_journeys::azure::Azure;
use slipway_journeys::s3::S3;
use slipway_journeys::service::Options;
use slipway_journeys::{Buildkitd, Project, Run, Service, command, image, unique};
use tempfile::TempDir;

use crate::variables::holds;

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
        Self::with(external, &[])
    }

    fn with(external: &str, settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (engine, address) = Buildkitd::with_mirrors(dir.path());
        let mut options = Options::default().set("SLIPWAYD_JOBS__EXTERNAL_CACHES", external);
        for (name, value) in settings {
            options = options.set(name, *value);
        }
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
fn a_fresh_engine_takes_what_is_in_the_image_itself() {
    let mut fresh = Fresh::start("any");
    let app = app(&fresh.service);
    assert!(ran(&app.events(&["build", "--cache-to", "type=inline"]).ok()));
    fresh.forget();
    let from = format!("okteto.dev/{}-app:okteto", app.name);
    let run = app.events(&["build", "--push=false", "--cache-from", &from]).ok();
    assert!(!ran(&run), "{}", run.story());
    assert!(run.all("warning").is_empty(), "{}", run.story());
    // An image that holds none is no cache.
    app.events(&["build", "--no-cache"]).ok();
    fresh.forget();
    assert!(ran(&app.events(&["build", "--push=false", "--cache-from", &from]).ok()));
}

#[test]
fn a_bucket_is_a_cache_for_who_has_its_keys() {
    let s3 = S3::start();
    let wrong = [("AWS_ACCESS_KEY_ID", s3.access_key.as_str()), ("AWS_SECRET_ACCESS_KEY", "wrong")];
    let place = Place {
        address: s3.address.to_string(),
        cache: s3.cache(),
        env: &s3.env(),
        wrong: &wrong,
        objects: &|| s3.objects(),
    };
    is_a_cache_for_who_has_its_keys(&place);
}

#[test]
fn a_container_of_azures_is_a_cache_for_who_has_its_key() {
    let azure = Azure::start();
    let place = Place {
        address: azure.address.to_string(),
        cache: azure.cache(),
        env: &azure.env(),
        wrong: &[("AZURE_STORAGE_KEY", "d3Jvbmc=")],
        objects: &|| azure.objects(),
    };
    is_a_cache_for_who_has_its_keys(&place);
}

#[test]
fn a_workflow_has_a_cache_and_who_is_in_none_builds_without() {
    let azure = Azure::start();
    let address = azure.address.to_string();
    let mut fresh = Fresh::with("any", &[("SLIPWAYD_JOBS__CACHE_HOSTS", &address)]);
    let app = app(&fresh.service);
    let workflow = azure.workflow();
    let env: Vec<(&str, &str)> = workflow.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let cached = ["build", "--cache-to", "type=gha,scope=app,mode=max"];
    let run = app.events_with(&cached, &env).ok();
    assert!(ran(&run) && azure.objects() > 2, "{}", run.story());
    fresh.forget();
    let from = ["build", "--push=false", "--cache-from", "type=gha,scope=app"];
    let run = app.events_with(&from, &env).ok();
    assert!(!ran(&run), "{}", run.story());
    let token = &workflow[0].1;
    assert!(
        !holds(&fresh.service.data_dir(), token) && !run.out().contains(token) && !fresh.service.log().contains(token)
    );
    fresh.forget();
    let other = ["build", "--push=false", "--cache-from", "type=gha,scope=other"];
    assert!(ran(&app.events_with(&other, &env).ok()));
    fresh.forget();
    let run = app.events(&from).ok();
    assert!(
        ran(&run) && run.stderr.contains("is left out: variable `ACTIONS_RUNTIME_TOKEN` is not set"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_folder_of_ones_own_is_a_cache() {
    let mut fresh = Fresh::start("any");
    let app = app(&fresh.service);
    // Of several chunks, and more than one of them.
    app.image(&format!(
        "FROM debian:trixie-slim AS made\nRUN echo {} && head -c 5000000 /dev/urandom >/random\nFROM scratch\n\
         COPY --from=made /random /\n",
        unique("m")
    ));
    let cache = tempfile::tempdir().unwrap();
    let place = |name: &str| cache.path().join(name).display().to_string();
    let to = format!("type=local,dest={},mode=max", place("a/b"));
    let run = app.events(&["build", "--cache-to", &to]).ok();
    assert!(ran(&run), "{}", run.story());
    // Others read it, as what it is.
    let raw = image::skopeo(&["inspect", "--raw", &format!("oci:{}:latest", place("a/b"))]);
    assert!(raw.status.success(), "{}", String::from_utf8_lossy(&raw.stderr));
    assert!(String::from_utf8_lossy(&raw.stdout).contains("vnd.buildkit.cacheconfig.v0"));
    let kept = fs::read_dir(fresh.service.data_dir().join("exports")).map_or(0, Iterator::count);
    assert_eq!(kept, 0, "the service keeps nothing of it");

    // What belongs to no cache is not sent.
    let blobs = fs::read_dir(cache.path().join("a/b/blobs/sha256")).unwrap();
    let whole: u64 = blobs.map(|blob| blob.unwrap().metadata().unwrap().len()).sum();
    let junk = vec![7; 20_000_000];
    fs::write(cache.path().join("a/b/blobs/sha256/junk"), junk).unwrap();
    let from = format!("type=local,src={}", place("a/b"));
    fresh.forget();
    let run = app.events(&["build", "--push=false", "--cache-from", &from]).ok();
    assert!(!ran(&run) && run.all("warning").is_empty(), "{}", run.story());
    let sent = run.last("sync.done")["bytes"].as_u64().unwrap();
    assert!((5_000_000..whole + 1_000_000).contains(&sent), "{sent} of {whole}");
    // From the manifest, relative to it; and written beside it under another name.
    fresh.forget();
    let copied = Command::new("cp").arg("-r").arg(place("a/b")).arg(app.path().join("cache")).status();
    assert!(copied.unwrap().success());
    app.manifest(
        "build:\n  app:\n    context: .\n    cache_from: type=local,src=cache\n    cache_to: type=local,dest=cache,tag=two,mode=max\n",
    );
    let run = app.events(&["build", "--push=false"]).ok();
    assert!(!ran(&run), "{}", run.story());
    let index = fs::read_to_string(app.path().join("cache/index.json")).unwrap();
    assert!(index.contains("\"two\"") && index.contains("\"latest\""), "{index}");
    // What is not there is left out.
    fresh.forget();
    app.manifest("build:\n  app: .\n");
    let run = app.events(&["build", "--push=false", "--cache-from", "type=local,src=nowhere"]).ok();
    assert!(ran(&run) && run.stderr.contains("is left out: there is no"), "{}", run.stderr);
    let run = app.events(&["build", "--push=false", "--cache-from", "type=local,src=cache,tag=three"]).ok();
    assert!(run.stderr.contains("is left out: `three` is not in"), "{}", run.stderr);
}

#[test]
fn a_folder_is_not_sent_where_no_cache_is_taken_and_not_written_for_nobody() {
    let service = Service::shared();
    let app = app(&service);
    let run = app.events(&["build", "--cache-to", "type=local,dest=cache"]).ok();
    let exported = run.last("build.exported");
    assert_eq!((exported["kind"].as_str(), exported["index"].as_u64()), (Some("cache"), Some(0)), "{exported}");
    fs::rename(app.path().join("cache"), app.path().with_extension("cache")).unwrap();
    let from = format!("type=local,src={}", app.path().with_extension("cache").display());
    let run = app.events(&["build", "--push=false", "--cache-from", &from]).ok();
    let warning = run.last("warning")["message"].as_str().unwrap();
    assert!(warning.contains("jobs.external_caches"), "{warning}");
    let sent = &run.last("sync.done")["bytes"];
    assert!(sent.as_u64().unwrap() < 1000, "{sent}");
    // An export counts before it, and a job that is left behind leaves no cache.
    let run = app.events(&["build", "--export", "type=tar,dest=x.tar", "--cache-to", "type=local,dest=other"]).ok();
    let index =
        |kind| run.all("build.exported").iter().find(|exported| exported["kind"] == kind).unwrap()["index"].clone();
    assert_eq!((index("tar"), index("cache")), (0.into(), 1.into()));
    assert!(app.path().join("other/index.json").exists() && app.path().join("x.tar").exists());
    let run = app.slipway(["build", "--detach", "--cache-to", "type=local,dest=third"]).ok();
    assert!(run.stderr.contains("nobody here to take the local cache"), "{}", run.stderr);
    // Another one's folder is not ours to write.
    fs::write(app.path().join("file"), "x").unwrap();
    let refused = app.events(&["build", "--cache-to", "type=local,dest=file/cache"]).expect(2);
    assert!(refused.stderr.contains("the cache of `app`"), "{}", refused.stderr);
}

/// Where a cache is, and what opens it.
struct Place<'p> {
    address: String,
    cache: String,
    env: &'p [(&'p str, &'p str)],
    wrong: &'p [(&'p str, &'p str)],
    objects: &'p dyn Fn() -> usize,
}

fn is_a_cache_for_who_has_its_keys(place: &Place<'_>) {
    let mut fresh = Fresh::with("any", &[("SLIPWAYD_JOBS__CACHE_HOSTS", &place.address)]);
    let app = app(&fresh.service);
    let (to, from) = (format!("{},mode=max", place.cache), &place.cache);
    let run = app.events_with(&["build", "--cache-to", &to], place.env).ok();
    assert!(ran(&run) && (place.objects)() > 2, "{}", run.story());
    fresh.forget();
    let run = app.events_with(&["build", "--push=false", "--cache-from", from], place.env).ok();
    assert!(!ran(&run), "{}", run.story());
    // What opens it is nowhere.
    let mut print = app.team.command(["build", "--print", "--cache-from", from]);
    print.current_dir(app.path()).envs(place.env.iter().copied());
    let printed = command::start(print, None).finish().ok();
    for (_, kept) in place.env {
        assert!(printed.out().contains("app") && !printed.out().contains(kept));
        assert!(!holds(&fresh.service.data_dir(), kept), "on the disk");
        assert!(!run.out().contains(kept) && !fresh.service.log().contains(kept));
    }
    fresh.forget();
    // With a wrong key nothing is taken, and what is to be written fails.
    assert!(ran(&app.events_with(&["build", "--push=false", "--cache-from", from], place.wrong).ok()));
    let before = (place.objects)();
    let failed = app.events_with(&["build", "--no-cache", "--cache-to", &to], place.wrong).expect(1);
    assert_eq!(failed.last("job.done")["error"]["code"], "build_failed", "{}", failed.story());
    assert_eq!((place.objects)(), before);

    // Without keys the engine would use what its machine may.
    let refused = app.events(&["build", "--cache-to", &to]).expect(2);
    assert!(refused.stderr.contains(&format!("variable `{}` is not set", place.env[0].0)), "{}", refused.stderr);
    let literal = format!("{to},secret_access_key=x");
    let refused = app.events_with(&["build", "--cache-to", &literal], place.env).expect(2);
    assert!(refused.stderr.contains("is a secret: it is taken from the variable"), "{}", refused.stderr);
}

#[test]
fn an_engine_that_knows_no_buckets_says_so_and_none_reaches_its_own_machine() {
    let service = Service::shared();
    let app = app(&service);
    let s3 = S3::start();
    let run = app.events_with(&["build", "--cache-to", &s3.cache()], &s3.env()).expect(1);
    let error = &run.last("job.done")["error"];
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("cache of type `s3`") && message.contains("the engine's own machine"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("jobs.cache_hosts"), "{error}");
    assert_eq!(s3.objects(), 0);
    if !slipway_journeys::on_docker() {
        return;
    }
    let elsewhere = "type=s3,region=us-east-1,bucket=b,endpoint_url=http://203.0.113.1:9";
    let run = app.events_with(&["build", "--cache-to", elsewhere], &s3.env()).expect(1);
    let error = &run.last("job.done")["error"];
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("(Docker Engine ") && message.ends_with("knows no caches of type `s3`"), "{error}");
    assert!(run.all("build.started").is_empty(), "{}", run.story());
    assert!(error["hint"].as_str().unwrap().contains("knows no caches of that type"), "{error}");
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
