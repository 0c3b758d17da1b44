//! The job belongs to the service: clients come and go.

use rustix::process::Signal;
use slipway_journeys::api::{Api, SmallTree};
use slipway_journeys::{Service, random, unique};

#[test]
fn a_job_goes_on_when_its_client_is_killed() {
    let service = Service::shared();
    let app = service.team().project();
    app.deploy(&["for i in 1 2 3 4 5; do echo tick-$i; sleep 0.4; done"]);
    let running = app.start_events(&["deploy"]);
    running.says("tick-1");
    let job = running.job();
    running.signal(Signal::KILL);
    assert_eq!(running.finish().status, 137);
    assert_eq!(app.team.slipway(["job", "wait", &job]).status, 0);
    let logs = app.team.slipway(["job", "logs", &job, "--output", "json"]).ok();
    assert_eq!(logs.said(), "tick-1\ntick-2\ntick-3\ntick-4\ntick-5\n");
}

#[test]
fn others_attach_follow_and_wait_from_any_point() {
    let service = Service::shared();
    let app = service.team().project();
    app.deploy(&["echo one; sleep 1; echo two", "exit 3"]);
    let job = app.detach(&["deploy"]);
    let team = app.team.clone();
    let attached = team.start(["job", "attach", &job, "--output", "json"]);
    let followed = team.start(["job", "logs", &job, "--follow", "--output", "json"]);
    let waiting = team.start(["job", "wait", &job]);
    attached.says("one");
    // Whoever looks on and leaves does not end it.
    let leaver = team.start(["job", "attach", &job, "--output", "json"]);
    leaver.says("one");
    leaver.signal(Signal::INT);
    assert_eq!(leaver.finish().status, 130);

    let attached = attached.finish().expect(1);
    let followed = followed.finish().ok();
    assert_eq!(waiting.finish().status, 1, "wait ends as the job did");
    assert_eq!(attached.said(), "one\ntwo\n");
    assert_eq!(attached.events, followed.events);
    let middle = attached.events.len() / 2;
    let rest = team.slipway(["job", "logs", &job, "--after", &middle.to_string(), "--output", "json"]).ok();
    assert_eq!(rest.events, attached.events[middle..]);
    let none = team.slipway(["job", "logs", &job, "--after", "1000", "--output", "json"]).ok();
    assert_eq!(none.out(), "");
}

#[test]
fn detach_prints_the_jobs_id_and_nothing_else() {
    let service = Service::shared();
    let app = service.team().project();
    app.deploy(&["echo hi"]);
    let run = app.slipway(["deploy", "--detach"]).ok();
    let id = run.out();
    assert_eq!((id.len(), id.lines().count()), (37, 1), "{id:?}");
    let shown = app.team.show(id.trim());
    assert_eq!(shown["job"], id.trim());
    assert_eq!((shown["kind"].as_str(), shown["environment"].as_str()), (Some("deploy"), Some(app.name.as_str())));
    app.team.attach(id.trim()).ok();
    let listed = app.team.slipway(["job", "list", "--output", "json"]).ok();
    assert_eq!(listed.events.iter().map(|job| &job["job"]).collect::<Vec<_>>(), [id.trim()]);
}

#[test]
fn a_request_that_is_sent_twice_is_one_job() {
    let service = Service::shared();
    let team = service.team();
    let api = Api::new(&team);
    let tree = SmallTree::new(&[("a", &random(20))]);
    let request = api.deploy_request(tree.root, "echo once");
    let job = api.submit(request.clone()).unwrap().job.unwrap().id;
    let again = api.submit(request.clone()).unwrap();
    assert_eq!((again.job.unwrap().id, again.missing_roots), (job.clone(), vec!["commands".to_owned()]));
    api.send_tree(&job, &tree).unwrap();
    assert!(api.check(&job).unwrap().is_empty());
    assert!(api.check(&job).unwrap().is_empty(), "a check whose answer got lost");
    assert_eq!(team.attach(&job).ok().said(), "once\n");
    let later = api.submit(request).unwrap();
    assert_eq!(later.job.unwrap().id, job, "also when it has ended");
    assert_eq!(team.attach(&job).ok().all("command.started").len(), 1);
    assert_eq!(team.slipway(["job", "list", "--output", "json"]).ok().events.len(), 1);
}

#[test]
fn env_writes_the_images_variables_in_three_formats() {
    let service = Service::shared();
    let app = service.team().project();
    app.image("FROM scratch\nCOPY Dockerfile /\n");
    let before = app.slipway(["env"]).ok();
    assert!(before.out().is_empty() && before.stderr.contains("app"), "{}", before.story());
    let image = app.build_app();
    let dotenv = app.slipway(["env"]).ok().out();
    assert!(dotenv.lines().any(|line| line.replace('"', "") == format!("OKTETO_BUILD_APP_IMAGE={image}")), "{dotenv}");
    assert_eq!(dotenv.lines().count(), 5);
    let json: serde_json::Value = serde_json::from_str(&app.slipway(["env", "--format", "json"]).ok().out()).unwrap();
    assert_eq!(json["OKTETO_BUILD_APP_IMAGE"], image);
    let shell = app.slipway(["env", "--format", "shell"]).ok().out();
    let script = format!("{shell}\nprintf %s \"$OKTETO_BUILD_APP_IMAGE\"");
    let answer = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&answer.stdout), image);
}

#[test]
fn deploy_builds_what_is_missing_and_skips_what_is_there() {
    let service = Service::shared();
    let app = service.team().project();
    let section = slipway_journeys::team::deploy_section(&["echo $OKTETO_BUILD_APP_IMAGE"]);
    app.manifest(&format!("build:\n  app: .\n{section}"))
        .file("Dockerfile", "FROM scratch\nCOPY x /\n")
        .file("x", unique("x"));
    let refused = app.events(&["deploy", "--no-build"]).expect(2);
    assert!(refused.stderr.contains("app"), "{}", refused.story());
    let first = app.events(&["deploy"]).ok();
    let image = first.last("build.done")["image"].as_str().unwrap().to_owned();
    assert_eq!(first.said().trim(), image);

    let second = app.events(&["deploy"]).ok();
    assert!(second.all("build.started").is_empty());
    assert_eq!(second.last("build.skipped")["image"], *image);
    assert_eq!(second.said().trim(), image);
    assert_eq!(app.events(&["deploy", "--no-build"]).ok().said().trim(), image);

    app.file("x", unique("x"));
    let third = app.events(&["deploy", "--build"]).ok();
    let newer = third.last("build.done")["image"].as_str().unwrap();
    assert_ne!(newer, image);
    assert_eq!(third.said().trim(), newer);
}

#[test]
fn plain_output_shows_what_json_has() {
    let service = Service::shared();
    let app = service.team().project();
    app.deploy(&["echo hello; echo oops >&2", "exit 4"]);
    let run = app.slipway(["deploy"]).expect(1);
    let all = run.out() + &run.stderr;
    for text in ["hello", "oops", "exit code", "4"] {
        assert!(all.contains(text), "{text}: {all}");
    }
    app.manifest("deplo:\n  commands: []\n");
    let run = app.slipway(["deploy"]).expect(2);
    assert!(run.stderr.contains("okteto.yaml:2:1"), "{}", run.stderr);
}

#[test]
fn health_and_reflection_answer_without_a_token() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let service = Service::shared();
    for path in ["/healthz", "/readyz"] {
        assert_eq!(service.http_status(path), Some(200));
    }
    let api = Api::new(&service.admin().with_token("none"));
    let health =
        api.wait(async { HealthClient::new(api.channel()).check(HealthCheckRequest::default()).await }).unwrap();
    assert_eq!(health.into_inner().status, 1);
    let request = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let names = api.wait(async {
        let requests = tokio_stream::iter([request]);
        let answers = ServerReflectionClient::new(api.channel()).server_reflection_info(requests).await;
        answers.unwrap().into_inner().message().await.unwrap().unwrap().message_response
    });
    let Some(MessageResponse::ListServicesResponse(list)) = names else { panic!("{names:?}") };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for name in ["slipway.v1.JobService", "slipway.v1.ContextService", "grpc.health.v1.Health"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
}
