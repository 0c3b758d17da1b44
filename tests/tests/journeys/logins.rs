//! Private base images: what the caller is logged in to on their machine opens registries to their jobs, and to nobody else's.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use slipway_journeys::foreign::{Foreign, PASSWORD, USER};
use slipway_journeys::service::Options;
use slipway_journeys::wait::{SOON, until};
use slipway_journeys::{Project, Run, Service, Team, files, image, unique};

use crate::secrets::holders;

/// A service that may look at images on these hosts, as an admin allows it for some on the same machine.
fn service_beside(hosts: &[&str]) -> Service {
    let named: Vec<_> = hosts.iter().map(|host| format!("\"{host}\" = []")).collect();
    Service::with(Options { registry: format!("mirrors = {{ {} }}\n", named.join(", ")), ..Options::default() })
}

/// An image that holds this in `/x`, in the registry alone.
fn private_image(foreign: &Foreign, team: &Team, content: &str) -> String {
    let base = team.project();
    base.image("FROM scratch\nCOPY x /x\n").file("x", content);
    foreign.take(team, &base.build_app(), &format!("team/{}:1", base.name))
}

/// What `docker login` writes for a registry; gives the folder.
fn logged_in(app: &Project, registry: &str, user: &str, password: &str) -> String {
    let auth = STANDARD.encode(format!("{user}:{password}"));
    configured(app, &format!("{{\"auths\": {{\"{registry}\": {{\"auth\": \"{auth}\"}}}}}}"))
}

fn configured(app: &Project, config: &str) -> String {
    let dir = app.beside("docker");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("config.json"), config).unwrap();
    dir.display().to_string()
}

fn build(app: &Project, docker: &str) -> Run {
    app.events_with(&["build"], &[("DOCKER_CONFIG", docker)])
}

fn content(app: &Project, run: &Run, name: &str) -> String {
    let image = run.last("build.done")["image"].as_str().unwrap().to_owned();
    files::text(&image::pull(&app.team, &image).files, name).to_owned()
}

fn refused(run: &Run) {
    let error = &run.last("job.done")["error"];
    assert_eq!(error["code"], "build_failed", "{}", run.story());
    assert!(error["message"].as_str().unwrap().contains("401 Unauthorized"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("docker login"), "{error}");
}

#[test]
fn a_private_base_image_is_built_from_skipped_and_nobody_elses() {
    let foreign = Foreign::start();
    let host = foreign.address.to_string();
    let service = service_beside(&[&host]);
    let (team, other) = (service.team(), service.team());
    let base = private_image(&foreign, &team, "private");
    let app = team.project();
    app.image(&format!("ARG BASE={base}\nFROM $BASE\nCOPY Dockerfile /y\n"));
    refused(&app.events(&["build"]).expect(1));
    let docker = logged_in(&app, &host, USER, PASSWORD);
    let built = build(&app, &docker).ok();
    assert_eq!(content(&app, &built, "x"), "private");
    let again = build(&app, &docker).ok();
    assert_eq!(again.all("build.skipped").len(), 1, "{}", again.story());

    // The engine has the image by now.
    let theirs = app.checkout().of(&other);
    refused(&theirs.events(&["build"]).expect(1));
    // Nor is anything kept for the next job of those who had it.
    app.file("Dockerfile", format!("FROM {base}\nCOPY Dockerfile /z\n"));
    refused(&app.events(&["build"]).expect(1));
    let wrong = logged_in(&app, &host, USER, "wrong");
    refused(&build(&app, &wrong).expect(1));
    // Another image under the name is another input.
    let changed = private_image(&foreign, &team, "changed");
    app.image(&format!("FROM scratch\nCOPY --from={changed} /x /x\n"));
    let docker = logged_in(&app, &host, USER, PASSWORD);
    assert_eq!(content(&app, &build(&app, &docker).ok(), "x"), "changed");
}

#[test]
fn a_credential_helper_is_asked_and_a_detached_job_keeps_what_it_said() {
    let foreign = Foreign::start();
    let host = foreign.address.to_string();
    let service = Service::shared();
    let team = service.team();
    let base = private_image(&foreign, &team, "private");
    let app = team.project();
    app.image(&format!("FROM scratch\nCOPY --from={base} /x /x\n"));
    let docker = configured(&app, &format!("{{\"credHelpers\": {{\"{host}\": \"journey\"}}}}"));
    let helper = app.beside("bin").join("docker-credential-journey");
    fs::create_dir(app.beside("bin")).unwrap();
    let answer = format!("{{\"ServerURL\":\"{host}\",\"Username\":\"{USER}\",\"Secret\":\"{PASSWORD}\"}}");
    let script = format!("#!/bin/sh\nread -r host\n[ \"$1 $host\" = \"get {host}\" ] && echo '{answer}'\n");
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", app.beside("bin").display(), std::env::var("PATH").unwrap());
    let env = [("DOCKER_CONFIG", docker.as_str()), ("PATH", path.as_str())];
    let detached = app.events_with(&["build", "--detach"], &env).ok();
    let job = detached.out().trim().to_owned();
    let run = team.attach(&job).ok();
    assert_eq!(content(&app, &run, "x"), "private");

    // One that is not there is no reason to fail before a registry does.
    app.file("Dockerfile", format!("FROM scratch\nCOPY --from={base} /x /again\n"));
    let run = build(&app, &docker).expect(1);
    assert!(run.stderr.contains("docker-credential-journey: "), "{}", run.stderr);
    assert!(run.stderr.contains(&format!("going on without your login for {host}")), "{}", run.stderr);
    refused(&run);
}

/// Of another service, whose registry has a token server.
#[test]
fn a_registry_with_a_token_server_gives_its_images_too() {
    let elsewhere = Service::start();
    let registry = elsewhere.registry().to_string();
    // Its token server is another host, which is named for itself.
    let service = service_beside(&[&registry, &elsewhere.address().to_string()]);
    let (owner, team) = (elsewhere.team(), service.team());
    let base = owner.project();
    base.image("FROM scratch\nCOPY x /x\n").file("x", "private");
    let base = base.build_app();
    let base = base.split_once('@').unwrap().0.to_owned() + ":okteto";
    let app = team.project();
    app.image(&format!("FROM {base}\nCOPY Dockerfile /y\n"));
    app.events(&["build"]).expect(1);
    // Each form: a user's password, what the token server exchanges for tokens, and such a token.
    let repository = base.split_once('/').unwrap().1.split_once(':').unwrap().0;
    let minted = minted(&elsewhere, &owner, &format!("repository:{repository}:pull"));
    let auth = STANDARD.encode(format!("anyone:{}", owner.token));
    for (number, (form, secret)) in
        [("auth", &auth), ("identitytoken", &owner.token), ("registrytoken", &minted)].into_iter().enumerate()
    {
        app.file("Dockerfile", format!("FROM {base}\nCOPY Dockerfile /y{number}\n"));
        let docker = configured(&app, &format!("{{\"auths\": {{\"{registry}\": {{\"{form}\": \"{secret}\"}}}}}}"));
        assert_eq!(content(&app, &build(&app, &docker).ok(), "x"), "private", "{form}");
        assert_eq!(build(&app, &docker).ok().all("build.skipped").len(), 1, "{form}");
    }
    // What the engine was given is that job's alone.
    app.file("Dockerfile", format!("FROM {base}\nCOPY Dockerfile /z\n"));
    app.events(&["build"]).expect(1);
}

/// A registry token, as the service's token server gives it to who has a password.
fn minted(service: &Service, team: &Team, scope: &str) -> String {
    let mut stream = TcpStream::connect(service.address()).unwrap();
    let auth = STANDARD.encode(format!("anyone:{}", team.token));
    let head = format!("GET /token?scope={scope} HTTP/1.0\r\nhost: x\r\nauthorization: Basic {auth}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}")).1;
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"));
    body["token"].as_str().unwrap().to_owned()
}

#[test]
fn commands_run_in_a_private_image() {
    let foreign = Foreign::start();
    let host = foreign.address.to_string();
    let service = Service::shared();
    let team = service.team();
    let tools = team.project();
    tools.image(&format!("FROM debian:trixie-slim\nENV MINE={}\n", tools.name));
    let image = foreign.take(&team, &tools.build_app(), "team/tools:1");
    let app = team.project();
    app.manifest(&format!("deploy:\n  remote: true\n  image: {image}\n  commands:\n  - echo \"$MINE\"\n"));
    let docker = logged_in(&app, &host, USER, PASSWORD);
    app.events(&["deploy"]).expect(1);
    let run = app.events_with(&["deploy"], &[("DOCKER_CONFIG", &docker)]).ok();
    assert_eq!(run.said().trim(), tools.name);
}

/// While a job runs that has it, and afterwards.
#[test]
fn a_login_is_in_no_file_of_the_service_and_in_no_event() {
    let foreign = Foreign::start();
    let host = foreign.address.to_string();
    let service = service_beside(&[&host]);
    let team = service.team();
    let base = private_image(&foreign, &team, &unique("private"));
    let app = team.project();
    app.image(&format!(
        "FROM debian:trixie-slim\nCOPY --from={base} /x /x\nRUN echo {} && echo ready && sleep 4\n",
        app.name
    ));
    let docker = logged_in(&app, &host, USER, PASSWORD);
    let mut command = team.command(["build", "--provenance", "mode=max", "--output", "json"]);
    command.current_dir(app.path()).env("DOCKER_CONFIG", &docker);
    let running = slipway_journeys::command::start(command, Some(service.log_path()));
    running.says("ready");
    let auth = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let found = || [PASSWORD, &auth].map(|word| holders(&service.data_dir(), word)).concat();
    assert_eq!(found(), Vec::<String>::new(), "while it runs");
    let sealed = || {
        let mut jobs = fs::read_dir(service.data_dir().join("jobs")).unwrap();
        jobs.any(|job| job.unwrap().path().join("logins.sealed").exists())
    };
    assert!(sealed());
    let run = running.finish().ok();
    // The end is told by the job's own process, a moment before the service knows of it.
    until("the logins of a job that has ended are gone", SOON, || (!sealed()).then_some(()));
    assert_eq!(found(), Vec::<String>::new(), "afterwards");
    for word in [PASSWORD, &auth] {
        assert!(!run.out().contains(word) && !run.stderr.contains(word) && !service.log().contains(word), "{word}");
    }
}
