//! One tenant cannot see another: images.

use std::process::Command;

use slipway_journeys::image::{pull, pull_refused, push_refused};
use slipway_journeys::{Project, Service, Team, files, on_docker, unique};

fn built(team: &Team, content: &str) -> (Project, String) {
    let app = team.project();
    app.image("FROM scratch\nCOPY secret /\n").file("secret", content);
    let reference = app.build_app();
    (app, reference)
}

#[test]
fn images_of_other_namespaces_can_be_neither_pulled_nor_pushed() {
    let service = Service::shared();
    let (theirs, ours) = (service.team(), service.team());
    let (app, by_digest) = built(&theirs, "theirs");
    let by_tag = format!("{}/{}/{}-app:okteto", theirs.registry, theirs.namespace, app.name);
    let nobody = ours.with_token("wrong");
    for reference in [&by_digest, &by_tag] {
        assert_eq!(files::text(&pull(&theirs, reference).files, "secret"), "theirs");
        for team in [&ours, &nobody] {
            let refused = pull_refused(team, reference).expect("somebody else's image is not given");
            assert!(
                refused.contains("denied") || refused.contains("unauthorized") || refused.contains("authentication"),
                "{refused}"
            );
        }
    }
    let pushed =
        |team: &Team, namespace: &str| push_refused(team, &format!("{}/{namespace}/{}:v1", team.registry, unique("x")));
    assert_eq!(pushed(&theirs, &theirs.namespace), None);
    assert!(pushed(&ours, &theirs.namespace).is_some());
    assert!(pushed(&nobody, &ours.namespace).is_some());
    // A blob of theirs can't be mounted into ours: the push above is the only way in. Nor does a scope's spelling help.
    for spelling in [format!("{}/../{}", ours.namespace, theirs.namespace), format!("{}x", ours.namespace)] {
        assert!(pushed(&ours, &spelling).is_some(), "{spelling}");
    }
}

#[test]
fn nobody_gets_in_without_a_token_and_nobody_lists_the_registry() {
    let service = Service::shared();
    let team = service.team();
    let status = |path: &str| slipway_journeys::service::http_status(service.registry(), path);
    assert_eq!(status("/v2/"), Some(401));
    assert_eq!(status(&format!("/v2/{}/x/tags/list", team.namespace)), Some(401));
    assert_eq!(status("/v2/_catalog"), Some(401));
    let token = |scope: &str| {
        let url = format!("{}/token?service=slipway-registry&scope={scope}", team.server);
        let answer = Command::new("curl").args(["-s", "-u", &format!("x:{}", team.token), &url]).output().unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
        answer["token"].as_str().map(str::to_owned)
    };
    let token = token("registry:catalog:*").unwrap_or_default();
    let url = format!("http://{}/v2/_catalog", service.registry());
    let answer = Command::new("curl")
        .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", &format!("Authorization: Bearer {token}"), &url])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&answer.stdout), "401");
}

#[test]
fn the_global_namespace_can_be_pulled_by_all_and_pushed_by_admins() {
    let service = Service::shared();
    let (admin, team) = (service.admin(), service.team());
    let (name, app) = (unique("g"), admin.project());
    app.manifest(&format!("build:\n  app:\n    context: .\n    image: okteto.global/{name}:v1\n"))
        .file("Dockerfile", "FROM scratch\nCOPY Dockerfile /global\n");
    app.build_app();
    let reference = format!("{}/okteto/{name}:v1", team.registry);
    assert_eq!(files::paths(&pull(&team, &reference).files), ["global"]);
    assert!(push_refused(&team, &reference).is_some());

    let run = app.checkout().of(&team).events(&["build"]).expect(1);
    assert_eq!(run.last("job.done")["error"]["code"], "push_refused", "{}", run.story());
    // And nobody's job pushes into another's namespace, or to a registry that is not ours.
    let other = service.team();
    for image in [format!("{}/{}/x:1", team.registry, other.namespace), "registry.invalid/x/y:1".to_owned()] {
        let app = team.project();
        app.manifest(&format!("build:\n  app:\n    context: .\n    image: {image}\n"))
            .file("Dockerfile", "FROM scratch\nCOPY . /\n");
        let run = app.events(&["build"]).expect(1);
        assert_eq!(run.last("job.done")["error"]["code"], "push_refused", "{}", run.story());
    }
}

#[test]
fn a_build_may_not_start_from_another_namespaces_image_even_when_the_engine_has_it() {
    let service = Service::shared();
    let (theirs, ours) = (service.team(), service.team());
    let (app, by_digest) = built(&theirs, "theirs");
    // Their own next build makes the engine fetch and keep it.
    let next = theirs.project();
    next.image(&format!("FROM {by_digest}\nCOPY Dockerfile /next\n")).build_app();
    let by_tag = format!("{}/{}/{}-app:okteto", theirs.registry, theirs.namespace, app.name);
    if on_docker() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("Dockerfile"), "FROM scratch\nCOPY Dockerfile /secret\n").unwrap();
        let build =
            Command::new("docker").args(["buildx", "build", "-q", "-t", &by_tag]).arg(dir.path()).output().unwrap();
        assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    }
    let localhost = by_tag.replace("127.0.0.1", "localhost");
    let dockerfiles = [
        format!("FROM {by_digest}\n"),
        format!("FROM {by_tag}\nCOPY Dockerfile /x\n"),
        format!("FROM {localhost}\n"),
        format!("FROM scratch\nCOPY --from={by_tag} /secret /x\n"),
        format!("FROM debian:trixie-slim\nRUN --mount=type=bind,from={by_tag},target=/m cat /m/secret\n"),
    ];
    for dockerfile in dockerfiles {
        let app = ours.project();
        let run = app.image(&dockerfile).events(&["build"]).expect(1);
        let error = &run.last("job.done")["error"];
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("policy") || message.contains("denied"), "{dockerfile}: {error}");
        assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("namespace")), "{error}");
    }
    let app = ours.project();
    app.manifest(&format!("deploy:\n  image: {by_tag}\n  commands:\n  - cat /secret\n"));
    let run = app.events(&["deploy"]).expect(1);
    assert!(run.all("command.started").is_empty(), "{}", run.story());
    if on_docker() {
        let _ = Command::new("docker").args(["rmi", &by_tag]).output();
    }
}
