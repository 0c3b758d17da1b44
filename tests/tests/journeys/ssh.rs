//! `--ssh`: steps use the caller's agent, through the job's connection.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use slipway_journeys::process::Server;
use slipway_journeys::wait::{SOON, until};
use slipway_journeys::{Project, Run, Service, files, image, unique};

use crate::variables::{holds, set};

/// An agent with a key. Dropping it ends it.
struct Agent {
    _child: Server,
    socket: PathBuf,
}

impl Agent {
    fn start(dir: &Path, key: &Path) -> Self {
        let socket = dir.join("agent.sock");
        let child = Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn();
        let child = child.expect("run ssh-agent; `make setup` installs it");
        until("the agent listens", SOON, || socket.exists().then_some(()));
        let added = Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", &socket).status().unwrap();
        assert!(added.success());
        Self { _child: Server(child), socket }
    }

    fn env(&self) -> [(&str, &str); 1] {
        [("SSH_AUTH_SOCK", self.socket.to_str().unwrap())]
    }
}

/// A key, and its public half in hexadecimal digits.
pub(crate) fn key(dir: &Path, name: &str) -> (PathBuf, String) {
    let path = dir.join(name);
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&path).status();
    assert!(made.unwrap().success());
    let public = fs::read_to_string(path.with_extension("pub")).unwrap();
    let public = STANDARD.decode(public.split(' ').nth(1).unwrap()).unwrap();
    (path, hex::encode(public))
}

/// Asks the agent for its identities (RFC draft-miller-ssh-agent, `SSH_AGENTC_REQUEST_IDENTITIES`), with what every Debian has.
const ASK: &str = r#"use IO::Socket::UNIX; $s = IO::Socket::UNIX->new($ENV{SSH_AUTH_SOCK}) or die "no agent: $!"; print $s pack("NC", 1, 11); $s->flush; read($s, $n, 4) == 4 or die "no answer"; read($s, $b, unpack("N", $n)); print unpack("H*", $b)"#;

/// An image of what the agent says that a step finds.
fn app(service: &Service, mount: &str, before: &str) -> Project {
    let app = service.team().project();
    app.file("ask.pl", ASK).image(&format!(
        "FROM debian:trixie-slim AS made\nCOPY ask.pl /\nRUN --mount={mount} : {}; {before}perl /ask.pl >/keys\n\
         FROM scratch\nCOPY --from=made /keys /\n",
        unique("m"),
    ));
    app
}

fn keys(app: &Project, run: &Run) -> String {
    let image = image::pull(&app.team, run.last("build.done")["image"].as_str().unwrap());
    files::text(&image.files, "keys").to_owned()
}

#[test]
fn steps_use_the_callers_agent_and_keys() {
    let service = Service::shared();
    let dir = tempfile::tempdir().unwrap();
    let ((ours, public), (other, other_public)) = (key(dir.path(), "ours"), key(dir.path(), "other"));
    let agent = Agent::start(dir.path(), &ours);

    let app = self::app(&service, "type=ssh", "");
    let run = app.events_with(&["build", "--ssh", "default"], &agent.env()).ok();
    assert!(keys(&app, &run).contains(&public));

    // From the manifest, beside another one with a key of its own.
    let app = self::app(&service, "type=ssh,id=deploy", "");
    app.manifest(&format!("build:\n  app:\n    context: .\n    ssh: [default, 'deploy={}']\n", other.display()));
    let run = app.events_with(&["build"], &agent.env()).ok();
    let keys = keys(&app, &run);
    assert!(keys.contains(&other_public) && !keys.contains(&public), "{keys}");

    let secret = fs::read_to_string(&other).unwrap();
    let secret = secret.lines().nth(1).unwrap();
    assert!(!run.out().contains(secret) && !service.log().contains(secret), "a private key stays where it is");
}

#[test]
fn a_key_that_the_service_keeps_is_an_agent_for_detached_builds_too() {
    let service = Service::shared();
    let dir = tempfile::tempdir().unwrap();
    let (path, public) = key(dir.path(), "kept");
    let app = self::app(&service, "type=ssh,id=deploy", "");
    let mut setting = app.team.command(["variable", "set", "--scope", "namespace", "--secret", "DEPLOY_KEY=-"]);
    assert!(setting.stdin(fs::File::open(&path).unwrap()).stderr(Stdio::null()).status().unwrap().success());
    app.manifest("build:\n  app:\n    context: .\n    ssh: ['deploy=variable:DEPLOY_KEY']\n");
    let job = app.detach(&["build"]);
    let run = app.team.attach(&job).ok();
    assert!(keys(&app, &run).contains(&public));
    let secret = fs::read_to_string(&path).unwrap();
    let secret = secret.lines().nth(1).unwrap();
    assert!(!holds(&service.data_dir(), secret) && !service.log().contains(secret) && !run.out().contains(secret));

    set(&app.team, "namespace", "DEPLOY_KEY=no key");
    let run = app.events(&["build", "--no-cache"]).expect(1);
    let error = run.last("job.done")["error"]["message"].as_str().unwrap().to_owned();
    assert!(error.contains("SSH agent `deploy`: variable `DEPLOY_KEY`") && error.contains("no private key"), "{error}");
    app.team.slipway(["variable", "unset", "--scope", "namespace", "DEPLOY_KEY"]).ok();
    assert!(app.events(&["build"]).expect(2).stderr.contains("there is no variable `DEPLOY_KEY`"));
}

#[test]
fn an_agent_that_is_not_there_is_named() {
    let service = Service::shared();
    let app = app(&service, "type=ssh,required=true", "");
    let run = app.events(&["build", "--ssh", "default"]).expect(2);
    assert!(run.stderr.contains("`SSH_AUTH_SOCK` is not set"), "{}", run.stderr);
    let run = app.events(&["build"]).expect(1);
    let error = &run.last("job.done")["error"];
    assert!(error["hint"].as_str().unwrap().contains("--ssh default"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(dir.path(), &key(dir.path(), "key").0);
    let run = app.events_with(&["build", "--ssh", "default", "--detach"], &agent.env()).expect(2);
    assert!(run.stderr.contains("--detach leaves nobody here"), "{}", run.stderr);

    // A deploy that may need none is only warned, and one whose image is there needs none.
    app.manifest(
        "build:\n  app:\n    context: .\n    ssh: [default]\ndeploy:\n  remote: true\n  commands: [echo deployed]\n",
    );
    let run = app.events_with(&["deploy", "--detach"], &agent.env()).ok();
    assert!(run.stderr.contains("--detach leaves nobody here"), "{}", run.stderr);
    let run = app.team.attach(String::from_utf8(run.stdout).unwrap().trim()).expect(1);
    assert!(run.said().is_empty() && run.last("job.done")["error"]["code"] == "build_failed", "{}", run.story());
    app.events_with(&["build"], &agent.env()).ok();
    let run = app.events_with(&["deploy", "--detach"], &agent.env()).ok();
    let run = app.team.attach(String::from_utf8(run.stdout).unwrap().trim()).ok();
    assert_eq!(run.said(), "deployed\n");
}

#[test]
fn an_agent_is_there_again_when_the_service_is() {
    let service = Service::start();
    let dir = tempfile::tempdir().unwrap();
    let (ours, public) = key(dir.path(), "ours");
    let agent = Agent::start(dir.path(), &ours);
    let app = app(&service, "type=ssh", "echo the step runs; sleep 5; ");
    let mut command = app.team.command(["build", "--ssh", "default", "--output", "json"]);
    command.current_dir(app.path()).envs(agent.env());
    let building = slipway_journeys::command::start(command, Some(service.log_path()));
    building.says("the step runs");
    service.crash();
    service.start_again();
    let run = building.finish().ok();
    assert!(keys(&app, &run).contains(&public));
}
