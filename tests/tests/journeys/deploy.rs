//! Deploy commands: order, environment, working directory, failures.

use std::os::unix::fs::PermissionsExt as _;

use slipway_journeys::{Project, SectionImage, Service, Team, random};

/// What a shell has to print to show a variable as it is, which is masked.
const SHOW: &str = "printf '%s' \"$SHOWN\" | od -An -v -tx1 | tr -d ' \\n'";

fn shown(app: &Project, value: &str) -> Vec<u8> {
    let run = app.events(&["deploy", "--var", &format!("SHOWN={value}")]).ok();
    hex::decode(run.said()).unwrap()
}

#[test]
fn commands_run_in_order_each_in_its_own_shell_and_the_first_failure_ends_it() {
    let service = Service::shared();
    let app = service.team().project();
    app.deploy(&["echo one > a; X=lost; cd /", "cat a; echo \"x=$X in $PWD\"", "echo before; exit 7", "echo never"]);
    let run = app.events(&["deploy"]).expect(1);
    assert_eq!(run.said(), "one\nx= in /okteto/src\nbefore\n");
    let codes: Vec<_> = run.all("command.done").iter().map(|done| done["exit_code"].as_i64().unwrap()).collect();
    assert_eq!(codes, [0, 0, 7]);
    assert_eq!(run.all("command.started").len(), 3, "what comes after a failure does not start");
    let error = &run.last("job.done")["error"];
    assert_eq!(error["code"], "command_failed", "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("exit code 7") && message.contains("before"), "{message}");
    assert_eq!(service.admin().show(&run.job())["state"], "failed");
}

#[test]
fn commands_have_names_and_a_signal_is_told_as_a_shell_tells_it() {
    let service = Service::shared();
    let app = service.team().project();
    app.manifest("deploy:\n  remote: true\n  commands:\n  - name: Say hello\n    command: echo hi\n  - name: Die\n    command: kill -9 $$\n");
    let run = app.events(&["deploy"]).expect(1);
    let names: Vec<_> = run.all("command.started").iter().map(|started| started["name"].clone()).collect();
    assert_eq!(names, ["Say hello", "Die"]);
    assert_eq!(run.last("command.done")["exit_code"], 137);
}

#[test]
fn the_working_directory_is_the_synced_tree_and_can_be_written() {
    let service = Service::shared();
    let app = service.team().project();
    let content = random(40_000);
    app.deploy(&[
        "sha256sum < 'deep/a b/ünï.bin'; stat -c %a run.sh; ./run.sh; readlink link",
        "rm run.sh; mkdir new; echo x > new/x; cat new/x",
    ])
    .file("deep/a b/ünï.bin", &content)
    .file("run.sh", "#!/bin/sh\necho ran\n")
    .mode("run.sh", 0o750)
    .link("link", "deep/a b");
    let digest = slipway_context::Digest::of(&content).hex();
    let expected = format!("{digest}  -\n750\nran\ndeep/a b\nx\n");
    for round in 1..=2 {
        let run = app.events(&["deploy"]).ok();
        assert_eq!(run.said(), expected, "round {round}: what an earlier job did to its copy is not seen");
    }
    assert_eq!(std::fs::metadata(app.path().join("run.sh")).unwrap().permissions().mode() & 0o777, 0o750);
}

#[test]
fn commands_find_the_variables_that_okteto_sets() {
    let service = Service::shared();
    for image in SectionImage::EACH {
        find_the_variables(&service.team(), image);
    }
}

fn find_the_variables(team: &Team, image: SectionImage) {
    let app = team.project();
    let again = if image == SectionImage::Runner { "touch x; slipway version" } else { "touch x" };
    // Digests, since the token itself is masked.
    let token = "printf %s \"$OKTETO_TOKEN\" | sha256sum";
    app.manifest(&format!(
        "build:\n  my-api:\n    context: .\n{}{}",
        image.service(),
        image.deploy_section(&["env", again, token])
    ))
    .section_image(image)
    .file("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let stolen = app.slipway(["deploy", "--var", "MINE=given", "--var", "OKTETO_NAMESPACE=stolen"]).expect(2);
    assert!(stolen.stderr.contains("OKTETO_NAMESPACE"), "{}", stolen.stderr);
    let run = app.events(&["deploy", "--var", "MINE=given"]).ok();
    let said = run.said();
    let built = run.all("build.done").into_iter().find(|done| done["service"] == "my-api");
    let image = built.expect("it is built")["image"].as_str().unwrap().to_owned();
    let digest = image.split_once('@').unwrap().1.to_owned();
    for (name, value) in [
        ("OKTETO_NAMESPACE", team.namespace.as_str()),
        ("OKTETO_NAME", &app.name),
        ("OKTETO_CONTEXT", &team.server),
        ("OKTETO_USERNAME", "somebody"),
        ("OKTETO_REGISTRY_URL", &team.registry),
        ("OKTETO_DEPLOY_REMOTE", "true"),
        ("OKTETO_WITHIN_DEPLOY_COMMAND_CONTEXT", "true"),
        ("OKTETO_BUILD_MY_API_IMAGE", &image),
        ("OKTETO_BUILD_MY_API_REGISTRY", &team.registry),
        ("OKTETO_BUILD_MY_API_REPOSITORY", &format!("{}/{}-my-api", team.namespace, app.name)),
        ("OKTETO_BUILD_MY_API_TAG", &digest),
        ("OKTETO_BUILD_MY_API_SHA", &format!("okteto@{digest}")),
        ("MINE", "given"),
    ] {
        let line = format!("{name}={value}");
        assert!(said.lines().any(|said| said == line), "{line} is not in:\n{said}");
    }
    assert!(said.lines().any(|line| line == "OKTETO_TOKEN=***"), "{said}");
    let token = said.lines().last().and_then(|line| line.strip_suffix("  -")).expect("the token's digest");
    assert_eq!(token.len(), 64, "{said}");
    for (other, whose) in [(team.token.as_str(), "the user's"), ("", "no token")] {
        assert_ne!(token, slipway_context::Digest::of(other.as_bytes()).hex(), "a token of its own, not {whose}");
    }
}

#[test]
fn variables_of_one_command_reach_the_next_through_okteto_env() {
    let service = Service::shared();
    for image in SectionImage::EACH {
        let app = service.team().project();
        let commands = [
            "echo FROM_FIRST=one >> $OKTETO_ENV; echo 'QUOTED=\"a b\"' >> $OKTETO_ENV",
            "echo $FROM_FIRST/$QUOTED; echo FROM_FIRST=two > $OKTETO_ENV",
            "echo $FROM_FIRST",
            "echo 'bad line' > $OKTETO_ENV",
            "echo still",
        ];
        let run = app.deploy_in(image, &commands).events(&["deploy"]).ok();
        assert_eq!(run.said(), "one/a b\ntwo\nstill\n", "{image:?}");
        assert!(run.last("warning")["message"].as_str().unwrap().contains("OKTETO_ENV"), "a bad line only warns");
    }
}

#[test]
fn odd_values_arrive_unchanged() {
    let service = Service::shared();
    let app = service.team().project();
    app.deploy(&[SHOW]);
    let odd = "a  b \"q\" 's' $HOME ${X} `id` $(id) \\n %s é 🦀 #x\nsecond line = x&y\n\n\ttab ";
    assert_eq!(String::from_utf8(shown(&app, odd)).unwrap(), odd);
    assert_eq!(shown(&app, ""), b"");
    let long = "0123456789abcde\n".repeat(6000);
    assert_eq!(shown(&app, &long), long.as_bytes());
}

#[test]
fn a_deploy_is_never_cached() {
    let service = Service::shared();
    let app = service.team().project();
    app.deploy(&["cat /proc/sys/kernel/random/uuid"]);
    let first = app.events(&["deploy"]).ok().said();
    let second = app.events(&["deploy"]).ok().said();
    assert_eq!(first.len(), 37);
    assert_ne!(first, second);
}

#[test]
fn equal_deploys_of_two_applications_run_at_once_and_do_not_merge() {
    let service = Service::shared();
    let team = service.team();
    let (one, two) = (team.project(), team.project());
    let command = "cat /proc/sys/kernel/random/uuid; sleep 1; echo over";
    one.deploy(&[command]);
    two.deploy(&[command]);
    let (first, second) = (one.start_events(&["deploy"]), two.start_events(&["deploy"]));
    let text = |running: &slipway_journeys::command::Running| running.says("-")["text"].as_str().unwrap().to_owned();
    let (a, b) = (text(&first), text(&second));
    assert!(first.is_running() && second.is_running(), "they run side by side");
    assert_ne!(a, b);
    first.finish().ok();
    second.finish().ok();
}

#[test]
fn a_second_deploy_of_one_environment_waits_for_the_first() {
    let service = Service::shared();
    let app = service.team().project();
    app.deploy(&["echo begin; sleep 1.5; echo end"]);
    let first = app.start_events(&["deploy"]);
    first.says("begin");
    let second = app.start_events(&["deploy"]);
    second.event("the second is in the queue", |event| event["type"] == "job.queued");
    let third = app.detach(&["deploy"]);
    assert_eq!(app.team.show(&third)["state"], "queued");
    let first = first.finish().ok();
    let second = second.finish().ok();
    let time = |run: &slipway_journeys::Run, kind: &str| run.last(kind)["time"].as_str().unwrap().to_owned();
    assert!(time(&second, "command.started") >= time(&first, "command.done"), "one after the other");
    let third = app.team.attach(&third).ok();
    assert!(time(&third, "command.started") >= time(&second, "command.done"), "in their order");
}

#[test]
fn commands_run_in_the_image_that_the_section_names() {
    let service = Service::shared();
    let team = service.team();
    let app = team.project();
    app.manifest(
        "build:\n  tools:\n    context: .\ndeploy:\n  image: ${OKTETO_BUILD_TOOLS_IMAGE}\n  commands:\n  - cat /own; echo $FROM_IMAGE; pwd\n",
    )
    .file("Dockerfile", "FROM debian:trixie-slim\nCOPY marker /own\nENV FROM_IMAGE=yes\nWORKDIR /elsewhere\nUSER nobody\n")
    .file("marker", "its own image\n");
    assert_eq!(app.events(&["deploy"]).ok().said(), "its own image\nyes\n/okteto/src\n");
}
