//! Builds that are not needed, and the engine that nobody asks for them.

use slipway_journeys::api::{Api, SmallTree};
use slipway_journeys::link::{Link, Shape};
use slipway_journeys::service::Options;
use slipway_journeys::team::deploy_section;
use slipway_journeys::{Run, Service, Team, engine_socket, on_docker, unique};
use slipway_proto::v1::{BuildPlan, JobKind, Plan, Root, SubmitRequest};

fn kinds(run: &Run) -> Vec<&str> {
    run.events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[test]
fn what_need_not_be_built_is_skipped_while_the_engine_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("engine.sock");
    let link = Link::unix_to_unix(&socket, &engine_socket(), Shape::NONE);
    let scheme = if on_docker() { "docker://unix" } else { "unix" };
    let address = format!("{scheme}://{}", socket.display());
    let service = Service::with(Options::default().set("SLIPWAYD_ENGINE__ADDRESS", address));
    let project = service.team().project();
    // A base image that is looked up where the engine has it from, and one that the engine has nothing to do with.
    let section = deploy_section(&["echo $OKTETO_BUILD_APP_IMAGE"]);
    project
        .manifest(&format!("build:\n  app: .\n  plain: plain\n{section}"))
        .file("Dockerfile", "FROM debian:trixie-slim\nCOPY x /x\n")
        .file("x", "x")
        .file("plain/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let image = |run: &Run, kind: &str| {
        let event = run.all(kind).into_iter().find(|event| event["service"] == "app").unwrap();
        event["image"].as_str().unwrap().to_owned()
    };
    let built = image(&project.events(&["build"]).ok(), "build.done");

    link.down();
    let run = project.events(&["build"]).ok();
    assert_eq!(kinds(&run), ["sync.done", "build.skipped", "build.skipped", "job.done"], "{}", run.story());
    assert_eq!(image(&run, "build.skipped"), built);
    // A deploy's builds are skipped as well; its commands wait for the engine.
    for flags in [["deploy"].as_slice(), &["deploy", "--build"]] {
        let running = project.start_events(flags);
        running.event("the second skip", |event| event["type"] == "build.skipped" && event["service"] == "plain");
        running.event("a warning about the engine", |event| event["type"] == "warning");
        link.up();
        let run = running.finish().ok();
        assert_eq!(run.said().trim(), built);
        let (skipped, started) = (run.last("build.skipped"), run.last("job.started"));
        assert!(skipped["seq"].as_u64() < started["seq"].as_u64(), "{}", run.story());
        assert_eq!(run.all("build.done").len(), 0, "{}", run.story());
        link.down();
    }
    // What is needed waits for it too, and is built.
    project.file("plain/Dockerfile", "FROM scratch\nCOPY Dockerfile /other\n");
    let running = project.start_events(&["build"]);
    running.event("a warning about the engine", |event| event["type"] == "warning");
    link.up();
    let run = running.finish().ok();
    assert_eq!(run.all("build.done").len(), 1, "{}", run.story());
}

/// A build for these platforms, as a client with `--platform` would ask for it.
fn request(team: &Team, name: &str, tree: &SmallTree, platforms: &[&str]) -> SubmitRequest {
    let build = BuildPlan {
        service: "app".to_owned(),
        context: ".".to_owned(),
        dockerfile: "Dockerfile".to_owned(),
        platforms: platforms.iter().map(|platform| (*platform).to_owned()).collect(),
        context_root: "tree".to_owned(),
        dockerfile_root: "tree".to_owned(),
        ..BuildPlan::default()
    };
    let plan = Plan {
        kind: JobKind::Build.into(),
        name: name.to_owned(),
        dependencies: Vec::new(),
        builds: vec![build],
        commands: Vec::new(),
    };
    SubmitRequest {
        request_id: unique("request"),
        namespace: team.namespace.clone(),
        plan: Some(plan),
        secrets: Vec::new(),
        logins: Vec::new(),
        masked: Vec::new(),
        no_wait: false,
        grace_ms: None,
        roots: vec![Root { name: "tree".to_owned(), digest: tree.root.as_bytes().to_vec(), ..Root::default() }],
    }
}

#[test]
fn another_platform_is_another_input() {
    let service = Service::shared();
    let team = service.team();
    let (api, name) = (Api::new(&team), unique("app"));
    let tree = SmallTree::new(&[("Dockerfile", b"FROM scratch\nCOPY Dockerfile /\n"), ("x", name.as_bytes())]);
    let run = |platforms: &[&str]| {
        let answer = api.submit(request(&team, &name, &tree, platforms)).unwrap();
        let job = answer.job.unwrap().id;
        if !answer.missing_roots.is_empty() {
            api.send_tree(&job, &tree).unwrap();
            assert!(api.check(&job).unwrap().is_empty());
        }
        let run = team.attach(&job).ok();
        (run.all("build.done").len(), run.all("build.skipped").len())
    };
    let (built, skipped) = ((1, 0), (0, 1));
    assert_eq!(run(&[]), built);
    assert_eq!(run(&[]), skipped);
    for platforms in [["linux/amd64"].as_slice(), &["linux/s390x"], &["linux/amd64", "linux/s390x"]] {
        assert_eq!(run(platforms), built, "{platforms:?}");
        assert_eq!(run(platforms), skipped, "{platforms:?}");
    }
    assert_eq!(run(&[]), skipped);
}
