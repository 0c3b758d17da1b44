//! What a deploy leaves behind: for destroy, for tests, for `slipway env`, for the next deploy, and for nobody else.

use std::process::Command;

use base64::Engine as _;
use slipway_context::Digest;
use slipway_journeys::service::Options;
use slipway_journeys::wait::{SOON, until};
use slipway_journeys::{Project, Service, Team, process, team::deploy_section, unique};

use crate::variables::holds;

const ODD: &str = "  a  b \"q\" 's' $HOME ${X} `id` $(id) \\ \\n %s é 🦀 #x\nsecond line = x&y\n\n\ttab\r ";

/// A command that leaves a variable in `$OKTETO_ENV`, and has its value nowhere in clear.
fn leave(name: &str, value: &str) -> String {
    let line = slipway_manifest::dotenv::write_dotenv([(name, value)]).unwrap();
    format!("echo {} | base64 -d >> $OKTETO_ENV", base64::engine::general_purpose::STANDARD.encode(line))
}

/// A command that says the digest of a variable.
fn say(name: &str) -> String {
    format!("printf %s \"${name}\" | sha256sum")
}

fn said(value: &str) -> String {
    format!("{}  -\n", Digest::of(value.as_bytes()).hex())
}

fn commands(section: &str, commands: &[&str]) -> String {
    deploy_section(commands).replacen("deploy", section, 1)
}

/// What is kept of it, values included.
fn shown(team: &Team, name: &str) -> serde_json::Value {
    let run = team.slipway(["environment", "show", name, "--plain", "--output", "json"]).ok();
    serde_json::from_slice(&run.stdout).unwrap()
}

/// What bash has in a variable after it has read the lines of `slipway env`.
fn loaded(app: &Project, format: &str, name: &str) -> Vec<u8> {
    let lines = app.slipway(["env", "--format", format]).ok();
    let file = app.beside("lines");
    std::fs::write(&file, lines.stdout).unwrap();
    let script = format!("set -a; . \"$1\"; printf %sx \"${name}\"");
    let output = Command::new("bash").args(["-c", &script, "bash"]).arg(&file).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout.strip_suffix(b"x").unwrap().to_vec()
}

#[test]
fn what_a_deploy_leaves_is_there_for_the_next_one_and_for_env_and_for_nobody_else() {
    let service = Service::shared();
    let (team, others) = (service.team(), service.team());
    let app = team.project();
    let odd = format!("{}{ODD}", unique("sesame"));
    app.deploy(&[&leave("ODD", &odd), &leave("EMPTY", ""), &say("ODD")]);
    let first = app.events(&["deploy"]).ok();
    assert_eq!(first.said(), said(&odd));

    let kept = shown(&team, &app.name);
    assert_eq!(
        (&kept["state"], &kept["job"], &kept["owner"]),
        (&"deployed".into(), &first.job().into(), &"somebody".into())
    );
    assert_eq!(kept["variables"], serde_json::json!({"ODD": odd, "EMPTY": ""}));
    assert_eq!(kept["deployed"]["commands"].as_array().unwrap().len(), 3);
    let masked = team.slipway(["environment", "show", &app.name]).ok().out();
    assert!(masked.contains("ODD=***") && !masked.contains("sesame"), "{masked}");
    for format in ["shell", "dotenv"] {
        assert_eq!(loaded(&app, format, "ODD"), odd.as_bytes(), "{format}");
    }

    // The next deploy finds it, unless something else sets it, and leaves it where it was.
    app.deploy(&[&say("ODD"), "echo NEW=1 > $OKTETO_ENV"]);
    assert_eq!(app.events(&["deploy"]).ok().said(), said(&odd));
    assert_eq!(app.events(&["deploy", "--var", "ODD=mine"]).ok().said(), said("mine"));
    let again = shown(&team, &app.name);
    assert_eq!(again["variables"], serde_json::json!({"ODD": odd, "EMPTY": "", "NEW": "1"}));
    assert_ne!(again["deployed"]["digest"], kept["deployed"]["digest"], "other commands");

    // Another namespace has none, and can't tell that there is one.
    let theirs = app.checkout().of(&others);
    assert_eq!(theirs.events(&["deploy"]).ok().said(), said(""));
    let stranger = |name: &str| others.slipway(["-n", &team.namespace, "environment", "show", name]).expect(3).stderr;
    assert_eq!(stranger(&app.name), stranger("nothing"));
    let list = others.slipway(["environment", "list", "--output", "json"]).ok();
    assert!(list.events.iter().all(|listed| listed["namespace"] == others.namespace.as_str()), "{}", list.out());
    others.slipway(["-n", &team.namespace, "environment", "delete", &app.name]).expect(3);

    // It is nowhere in clear.
    let secret = &odd[..odd.find(' ').unwrap()];
    assert!(!holds(&service.data_dir(), secret) && !service.log().contains(secret));

    team.slipway(["environment", "delete", &app.name]).ok();
    assert_eq!(app.events(&["deploy"]).ok().said(), said(""), "it is forgotten");
}

#[test]
fn destroy_gets_what_deploy_left_and_ends_it() {
    let service = Service::shared();
    let team = service.team();
    let app = team.project();
    app.manifest(&format!(
        "build:\n  app: .\n{}{}{}",
        deploy_section(&[&leave("ODD", ODD), "echo $OKTETO_BUILD_APP_IMAGE"]),
        commands("destroy", &[&say("ODD"), "echo $OKTETO_BUILD_APP_IMAGE; ! test -e fail"]),
        format_args!(
            "test:\n  unit:\n    image: okteto.global/runner:{}\n    commands:\n    - echo \"[$ODD] $OKTETO_BUILD_APP_IMAGE\"\n",
            env!("CARGO_PKG_VERSION")
        )
    ))
    .file("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let image = app.events(&["deploy"]).ok().said();
    assert!(image.contains("@sha256:"), "{image}");
    assert_eq!(app.events(&["test"]).ok().said(), format!("[] {image}"), "a test gets images only");

    app.file("fail", "");
    assert_eq!(app.events(&["destroy"]).expect(1).said(), format!("{}{image}", said(ODD)));
    assert_eq!(shown(&team, &app.name)["state"], "failed");
    std::fs::remove_file(app.path().join("fail")).unwrap();
    assert_eq!(app.events(&["destroy"]).ok().said(), format!("{}{image}", said(ODD)), "it was kept");
    let kept = shown(&team, &app.name);
    assert_eq!((&kept["state"], &kept["variables"]), (&"destroyed".into(), &serde_json::json!({})));
    let listed = |all: &[&str]| team.slipway([&["environment", "list"], all].concat()).ok().out().contains(&app.name);
    assert_eq!((listed(&[]), listed(&["--all"])), (false, true));
}

/// As with Okteto, images alone are deployed, and an environment ends without a command, too.
#[test]
fn sections_may_be_left_out() {
    let service = Service::shared();
    let team = service.team();
    let app = team.project();
    app.manifest("build:\n  app: .\n").file("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let run = app.events(&["deploy"]).ok();
    assert_eq!(run.last("job.done")["status"], "succeeded", "{}", run.story());
    assert!(run.all("command.started").is_empty() && !run.all("build.done").is_empty(), "{}", run.story());
    let kept = shown(&team, &app.name);
    assert_eq!((&kept["state"], &kept["job"]), (&"deployed".into(), &run.job().into()));
    assert!(kept["images"].to_string().contains("@sha256:"), "{kept}");
    // With the images that are there, nothing is to be done; they stay the environment's.
    app.events(&["deploy", "--no-build"]).ok();
    assert_eq!(shown(&team, &app.name)["images"], kept["images"]);
    let run = app.events(&["destroy"]).ok();
    assert_eq!(run.last("job.done")["status"], "succeeded", "{}", run.story());
    assert_eq!(shown(&team, &app.name)["state"], "destroyed");
}

#[test]
fn a_failed_deploy_keeps_what_was_known_and_one_without_a_command_changes_nothing() {
    let service = Service::shared();
    let team = service.team();
    let app = team.project();
    app.deploy(&[&leave("FIRST", "1"), &format!("{}; exit 7", leave("LAST", ODD)), "echo never"]);
    app.events(&["deploy"]).expect(1);
    let kept = shown(&team, &app.name);
    assert_eq!((&kept["state"], &kept["kind"]), (&"failed".into(), &"deploy".into()));
    assert_eq!(kept["variables"], serde_json::json!({"FIRST": "1", "LAST": ODD}));

    app.deploy(&["echo FIRST=2 > $OKTETO_ENV"]);
    app.events(&["deploy"]).ok();
    let deployed = shown(&team, &app.name);
    assert_eq!((&deployed["state"], &deployed["variables"]["FIRST"]), (&"deployed".into(), &"2".into()));
    app.manifest(&format!("build:\n  app: .\n{}", deploy_section(&["echo never"])));
    app.file("Dockerfile", "FROM debian:trixie-slim\nRUN exit 1\n");
    app.events(&["deploy"]).expect(1);
    assert_eq!(shown(&team, &app.name), deployed, "what was deployed is there as it was");
}

#[test]
fn what_is_too_much_is_left_out_and_told() {
    let service = Service::shared();
    let team = service.team();
    let app = team.project();
    app.deploy(&[
        "for i in $(seq 1 1100); do echo V$i=x; done > $OKTETO_ENV",
        "printf 'LONG=%0200000d\\nOKTETO_TOKEN=mine\\nV1=y\\n' 0 > $OKTETO_ENV",
        "echo $V1 $V1000 [$V1001] ${#LONG}; test \"$OKTETO_TOKEN\" != mine",
    ]);
    let run = app.events(&["deploy"]).ok();
    assert_eq!(run.said(), "y x [] 0\n");
    let warnings: Vec<_> = run.all("warning").iter().map(|warning| warning["message"].to_string()).collect();
    for part in ["`V1001` and 99 more", "`LONG` left out", "`OKTETO_TOKEN` left out"] {
        assert!(warnings.iter().any(|warning| warning.contains(part)), "{part}: {warnings:?}");
    }
    assert_eq!(shown(&team, &app.name)["variables"].as_object().unwrap().len(), 1000);
}

#[test]
fn a_service_that_is_killed_between_the_last_command_and_the_end_forgets_nothing() {
    let service = Service::with(Options::default());
    let team = service.team();
    let (app, seconds) = (team.project(), process::unique_seconds());
    app.deploy(&[&format!("{}; echo left", leave("ODD", ODD)), "echo LAST=1 > $OKTETO_ENV; echo last; sleep 2"]);
    let watching = app.start_events(&["deploy"]);
    let job = watching.says("last")["job"].as_str().unwrap().to_owned();
    service.crash();
    until("the job has ended by itself", SOON, || service.job_processes(&job).is_empty().then_some(()));
    service.start_again();
    watching.finish().ok();
    let kept = shown(&team, &app.name);
    assert_eq!(
        (&kept["state"], &kept["variables"]),
        (&"deployed".into(), &serde_json::json!({"ODD": ODD, "LAST": "1"}))
    );

    // The job's process too: what the commands had left by then is kept.
    app.deploy(&[&leave("ODD", "new"), &format!("echo second; sleep {seconds}")]);
    let watching = app.start_events(&["deploy"]);
    let job = watching.says("second")["job"].as_str().unwrap().to_owned();
    service.crash();
    process::kill(service.job_processes(&job)[0].pid);
    service.start_again();
    watching.finish().expect(1);
    let kept = shown(&team, &app.name);
    assert_eq!(
        (&kept["state"], &kept["variables"]),
        (&"failed".into(), &serde_json::json!({"ODD": "new", "LAST": "1"}))
    );
}

#[test]
fn an_environment_is_not_forgotten_while_a_job_changes_it() {
    let service = Service::shared();
    let team = service.team();
    let app = team.project();
    app.deploy(&["echo A=1 > $OKTETO_ENV"]);
    app.events(&["deploy"]).ok();
    app.deploy(&["echo begun; sleep 60"]);
    let watching = app.start_events(&["deploy"]);
    let job = watching.says("begun")["job"].as_str().unwrap().to_owned();
    let refused = team.slipway(["environment", "delete", &app.name]).expect(3);
    assert!(refused.stderr.contains("is being deployed or destroyed"), "{}", refused.stderr);
    team.slipway(["job", "cancel", &job]).ok();
    watching.finish().expect(1);
    assert_eq!(shown(&team, &app.name)["variables"], serde_json::json!({"A": "1"}));
    team.slipway(["environment", "delete", &app.name]).ok();
    team.slipway(["environment", "show", &app.name]).expect(3);
}
