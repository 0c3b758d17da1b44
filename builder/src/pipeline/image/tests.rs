use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use slipway_context::Digest;
use slipway_context::tree::{Directory, Entry, Node};
use slipway_manifest::ServiceName;
use slipway_manifest::options::OptionKey;
use slipway_manifest::plan::{JobKind, Plan};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::buildkit::{Address, Feature, Pool, engine};
use crate::config::Config;
use crate::jobs::spec::{BuildRoots, JobDir, JobSpec};
use crate::jobs::state::JobState;
use crate::names::JobId;
use crate::pipeline::MAX_TROUBLES;
use crate::pipeline::cache_scope::CacheScope;
use crate::pipeline::engines::Engines;
use crate::pipeline::events::Events;
use crate::pipeline::frontend::Frontends;
use crate::pipeline::input::tests::plain_build;
use crate::pipeline::keeping::Keeping;
use crate::pipeline::looking::Looking;
use crate::registry::bases::tests::Server;
use crate::registry::mirrors::Mirrors;
use crate::registry::{self, Registry};
use crate::store::Blobs;
use crate::store::tests::record;
use crate::store::upload::Upload;

/// One build over a registry that has every image and takes none, and an engine that says nothing.
fn pipeline(dir: &Path, server: &Server) -> (Pipeline, UnixListener) {
    let socket = dir.join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let engine = engine::Config::new(Address::Docker(socket));
    let registry = registry::Config { listen: server.host.parse().unwrap(), ..registry::Config::default() };
    let config = Config { data_dir: dir.to_owned(), registry, engine: Some(engine.clone()), ..Config::default() };
    let registry = Arc::new(Registry::open(&config.registry, dir).unwrap());
    let service = ServiceName::new("app").unwrap();
    let build = plain_build("app");
    let root = Digest::of(b"root");
    let roots = BuildRoots::new(root, Vec::new(), root);
    let spec = JobSpec {
        job: JobId::new(),
        namespace: "dev".parse().unwrap(),
        owner: "ann".to_owned(),
        admin: false,
        plan: Plan { builds: vec![build], ..Plan::empty(JobKind::Build, "demo") },
        builds: BTreeMap::from([(service, roots)]),
        skipped: BTreeMap::new(),
        commands: Vec::new(),
        no_wait: false,
        grace_ms: None,
    };
    let cancel = CancellationToken::new();
    let pipeline = Pipeline {
        blobs: Blobs::open(dir, &spec.namespace).unwrap(),
        looking: Looking::new(&config, registry.clone()),
        registry,
        engines: Engines::new(Pool::new(vec![engine], dir.join("engines"))),
        max_builds: 4,
        frontends: Frontends::default(),
        external_caches: crate::pipeline::caches::ExternalCaches::Write,
        cache_hosts: Vec::new(),
        locks: dir.join("locks"),
        cache_scope: CacheScope::open(dir).unwrap(),
        secrets: crate::pipeline::secrets::Secrets::default(),
        logins: crate::registry::Logins::default(),
        keeping: Keeping::open(&JobDir::new(dir, spec.job), &spec, dir).unwrap(),
        variables: crate::pipeline::variables::JobVariables::default(),
        data_dir: dir.to_owned(),
        exports: dir.join("exports"),
        max_export_bytes: 1 << 20,
        max_artifact_bytes: 1 << 20,
        asked_grace: tokio::sync::watch::channel(None).1,
        max_tests: 1,
        clipped: AtomicBool::default(),
        events: Events::open(&dir.join("events"), spec.job, cancel.clone()).unwrap(),
        runner_image: String::new(),
        agent: PathBuf::new(),
        limits: crate::limits::Config::default().of(&spec.namespace),
        access: crate::runner::access::Config::default(),
        network: crate::runner::network::Rules::Open,
        public_url: String::new(),
        token: String::new().into(),
        forwards: BTreeMap::new(),
        cancel,
        spec,
    };
    (pipeline, listener)
}

#[tokio::test]
async fn an_image_that_cant_be_named_is_built_and_remembered() {
    let (dir, server) = (tempfile::tempdir().unwrap(), Server::start().await);
    let (pipeline, _listener) = pipeline(dir.path(), &server);
    let Pipeline { spec, .. } = &pipeline;
    let (build, before) = (&spec.plan.builds[0], Before::default());
    let roots = &spec.builds[&build.service];
    let (dockerfile, platform) = ("FROM scratch\n", Some("linux/amd64"));
    let inputs = Inputs {
        namespace: &spec.namespace,
        plan: &spec.plan,
        build,
        roots,
        dockerfile,
        platform,
        before: &before,
        secrets: &[],
    };
    let names = pipeline.targets(build, &before).unwrap();
    let bases = BaseImages::new(pipeline.registry.clone(), Mirrors::default()).unwrap();
    let decision = pipeline.skip_or_build(&bases, &inputs, &names).await;
    assert!(matches!(decision, Decision::Build(Some(_))), "{decision:?}");
    assert!(server.asked().iter().any(|asked| !asked.starts_with("HEAD ")), "it was tried");
}

#[tokio::test]
async fn a_job_that_waits_for_its_engine_hears_that_it_is_cancelled() {
    let (dir, server) = (tempfile::tempdir().unwrap(), Server::start().await);
    let (pipeline, listener) = pipeline(dir.path(), &server);
    let cancelling = async {
        let _connection = listener.accept().await.unwrap();
        pipeline.cancel.cancel();
        std::future::pending::<()>().await;
    };
    let began = Instant::now();
    tokio::select! {
        result = pipeline.run() => assert_eq!(result.unwrap_err().end().0, JobState::Cancelled),
        () = cancelling => {}
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_fails_after_a_long_time_is_tried_again_and_what_fails_always_is_not() {
    let (dir, server) = (tempfile::tempdir().unwrap(), Server::start().await);
    let (pipeline, _listener) = pipeline(dir.path(), &server);
    let tries = std::cell::Cell::new(0_u32);
    // Each takes so long; those up to the last one fail.
    let attempts = |takes: Duration, last: u32| {
        tries.set(0);
        let (tries, pipeline) = (&tries, &pipeline);
        async move {
            let attempt = || async move {
                tries.set(tries.get() + 1);
                tokio::time::sleep(takes).await;
                if tries.get() < last { Err(Failure::Registry("away".to_owned())) } else { Ok(()) }
            };
            (pipeline.again(attempt).await.is_ok(), tries.get())
        }
    };
    let (short, long) = (Duration::from_millis(10), Duration::from_mins(30));
    assert_eq!(attempts(long, 2).await, (true, 2), "a build whose engine dies after half an hour");
    assert_eq!(attempts(short, 10).await, (true, 10));
    let (succeeded, times) = attempts(short, u32::MAX).await;
    assert!(!succeeded && (20..40).contains(&times), "two minutes: {times}");
    assert_eq!(attempts(long, u32::MAX).await, (false, MAX_TROUBLES + 1));
}

#[tokio::test]
async fn a_job_that_is_cancelled_before_its_builds_begin_has_not_succeeded() {
    let (dir, server) = (tempfile::tempdir().unwrap(), Server::start().await);
    let (pipeline, _listener) = pipeline(dir.path(), &server);
    pipeline.cancel.cancel();
    assert_eq!(pipeline.run().await.unwrap_err().end().0, JobState::Cancelled);
}

#[tokio::test]
async fn builds_wait_for_the_images_that_their_dockerfiles_name() {
    let (dir, server) = (tempfile::tempdir().unwrap(), Server::start().await);
    let (mut pipeline, _listener) = pipeline(dir.path(), &server);
    let host = &server.host;
    let texts = [
        "FROM scratch\n".to_owned(),
        "FROM scratch\n".to_owned(),
        // By variables of one, another one.
        "ARG OKTETO_BUILD_A_REGISTRY\nFROM $OKTETO_BUILD_A_REGISTRY/dev/demo-b:okteto\n".to_owned(),
        format!("FROM scratch\nCOPY --from={host}/dev/demo-b:okteto / /\n"),
        "FROM okteto.dev/demo-a\n".to_owned(),
        "FROM okteto.dev/demo-a:okteto\n".to_owned(),
        "# syntax=example.com/unknown\nFROM scratch\n".to_owned(),
    ];
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let mut upload = Upload::new(pipeline.blobs.clone());
    pipeline.spec.plan.builds = names.map(plain_build).to_vec();
    for (name, text) in names.into_iter().zip(&texts) {
        let (directory, digest) = dockerfile_tree(text);
        for content in [text.as_bytes(), &directory] {
            upload.frame(&record(content)).unwrap();
        }
        let roots = BuildRoots::new(digest, Vec::new(), digest);
        pipeline.spec.builds.insert(ServiceName::new(name).unwrap(), roots);
    }
    upload.seal().unwrap();
    let needs: Vec<String> =
        pipeline.needs().iter().map(|needs| needs.iter().map(|index| names[*index]).collect()).collect();
    assert_eq!(needs, ["", "", "ab", "b", "", "a", "abcdef"]);
}

#[tokio::test]
async fn an_engine_is_asked_only_for_what_a_build_needs() {
    let (dir, server) = (tempfile::tempdir().unwrap(), Server::start().await);
    let (mut pipeline, _listener) = pipeline(dir.path(), &server);
    let mut build = plain_build("app");
    let needs = |pipeline: &Pipeline, build: &BuildPlan| {
        let Needs { features, welcome, .. } = pipeline.needs_of(build);
        (features, welcome)
    };
    for cache in ["okteto.dev/cache:a", "type=inline", "type=gha"] {
        build.options.set(OptionKey::CacheTo, cache).unwrap();
    }
    build.options.set(OptionKey::CacheFrom, "type=s3,region=r,bucket=b").unwrap();
    assert_eq!(needs(&pipeline, &build), (vec![], vec![]), "what is left out needs nothing");
    pipeline.external_caches = crate::pipeline::caches::ExternalCaches::Any;
    build.options.set(OptionKey::CacheTo, "type=local,dest=x").unwrap();
    build.options.set(OptionKey::Export, "type=oci").unwrap();
    build.options.set(OptionKey::Provenance, "true").unwrap();
    let features =
        vec![Feature::Cache("local"), Feature::Exporter("oci"), Feature::SeveralExporters, Feature::Attestations];
    assert_eq!(needs(&pipeline, &build), (features, vec![Feature::Cache("s3")]));
}

/// The encoded tree that has only this Dockerfile.
fn dockerfile_tree(text: &str) -> (Vec<u8>, Digest) {
    let (digest, size) = (Digest::of(text.as_bytes()), text.len() as u64);
    let node = Node::File { digest, size, chunked: false };
    let directory = Directory::new(vec![Entry { name: "Dockerfile".into(), mode: 0o644, node }]).unwrap();
    (directory.encode(), directory.digest())
}
