//! destroy and test, and commands on the caller's own machine.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use slipway_journeys::git::{commit, git};
use slipway_journeys::wait::{SOON, until};
use slipway_journeys::{Project, Run, SectionImage, Service, process};

/// What was told of commands, without times: sections, tests, names, output and how they ended.
fn told(run: &Run) -> Vec<String> {
    let keys = ["type", "section", "test", "index", "name", "exit_code"];
    let event = |event: &&Value| event["type"] == "command.started" || event["type"] == "command.done";
    let line = |event: &Value| {
        let known = keys.iter().filter(|key| !event[**key].is_null());
        known.map(|key| event[*key].to_string()).collect::<Vec<_>>().join(" ")
    };
    run.events.iter().filter(event).map(line).collect()
}

fn error(run: &Run) -> (String, String) {
    let error = &run.last("job.done")["error"];
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    (text("code"), text("message"))
}

#[test]
fn destroy_runs_in_the_runner_with_the_environments_variables() {
    let service = Service::shared();
    let team = service.team();
    let app = team.project();
    app.manifest(
        "destroy:\n  remote: true\n  context: sub\n  commands:\n  - echo FROM_FIRST=one >>$OKTETO_ENV; ls\n  \
         - echo \"$FROM_FIRST $OKTETO_NAME $OKTETO_NAMESPACE $OKTETO_DEPLOY_REMOTE $MINE\"\n",
    )
    .file("sub/a", "a")
    .file("sub/kept-back", "b")
    .file("sub/.oktetoignore", "[destroy]\nkept-back\n");
    let run = app.events(&["destroy", "--var", "MINE=given"]).ok();
    assert_eq!(run.said(), format!("a\none {} {} true given\n", app.name, team.namespace));
    assert!(run.all("command.started").iter().all(|event| event["section"] == "destroy"));
    let job = team.show(&run.job());
    assert_eq!((job["kind"].as_str(), job["environment"].as_str()), (Some("destroy"), Some(app.name.as_str())));
}

#[test]
fn a_failure_ends_destroy_unless_it_is_forced() {
    let service = Service::shared();
    for image in SectionImage::EACH {
        a_failure_ends(&service, image);
    }
}

fn a_failure_ends(service: &Service, image: SectionImage) {
    let app = service.team().project();
    app.manifest_in(image, "destroy", &["exit 3", "echo said; exit 4", "echo third"]);
    let run = app.events(&["destroy"]).expect(1);
    assert_eq!((run.said().as_str(), run.all("command.started").len()), ("", 1));
    assert_eq!(
        error(&run),
        ("command_failed".to_owned(), "destroy command 1 failed with exit code 3: exit 3".to_owned())
    );

    let run = app.events(&["destroy", "--force"]).expect(1);
    assert_eq!(run.said(), "said\nthird\n");
    let (code, message) = error(&run);
    assert_eq!(code, "command_failed");
    assert_eq!(message, "destroy command 2 failed with exit code 4: echo said; exit 4\nits last output:\nsaid");
    assert_eq!(service.admin().show(&run.job())["state"], "failed");
}

#[test]
fn tests_run_in_their_order_in_the_images_that_the_manifest_builds() {
    let service = Service::shared();
    let app = service.team().project();
    app.manifest(
        "build:\n  tools: .\n  never: gone\ntest:\n  e2e:\n    depends_on: [unit]\n    image: ${OKTETO_BUILD_TOOLS_IMAGE}\n    \
         commands:\n    - cat /own; echo \"$OKTETO_TEST_NAME of $OKTETO_NAME\"; echo \"[$FROM_UNIT] CI=$CI\"\n  unit:\n    context: u\n    \
         commands: [\"ls; echo FROM_UNIT=1 >>$OKTETO_ENV\", 'echo \"$FROM_UNIT $OKTETO_TEST_NAME\"']\n  other:\n    commands: [exit 1]\n",
    )
    .file("Dockerfile", "FROM debian:trixie-slim\nCOPY marker /own\n")
    .file("marker", "its own image\n")
    .file("u/only-this", "");
    let run = app.events(&["test", "e2e"]).ok();
    let expected = format!("only-this\n1 unit\nits own image\ne2e of {}\n[] CI=true\n", app.name);
    assert_eq!(run.said(), expected);
    let tests: Vec<_> = run.all("command.started").iter().map(|event| event["test"].clone()).collect();
    assert_eq!(tests, ["unit", "unit", "e2e"]);
    assert_eq!(run.all("build.done").len(), 1, "what no test refers to is not built: {}", run.story());
    assert_eq!(service.admin().show(&run.job())["kind"], "test");

    let run = app.events_with(&["test", "e2e"], &[("CI", "gitlab")]).ok();
    assert!(run.said().ends_with("[] CI=gitlab\n"), "{}", run.said());
    assert!(run.all("build.started").is_empty(), "the image is there: {}", run.story());
    let run = app.slipway(["test", "e2"]).expect(2);
    assert!(run.stderr.contains("there is no test `e2` in okteto.yaml\nhint: did you mean `e2e`?"), "{}", run.stderr);
}

#[test]
fn the_first_test_that_fails_ends_the_run() {
    let service = Service::shared();
    let app = service.team().project();
    app.manifest(
        "test:\n  first:\n    commands: [echo one]\n  second:\n    depends_on: [first]\n    commands: [echo two; exit 9, echo never]\n  \
         third:\n    depends_on: [second]\n    commands: [echo never]\n",
    );
    let run = app.events(&["test"]).expect(1);
    assert_eq!(run.said(), "one\ntwo\n");
    let message = "test `second` command 1 failed with exit code 9: echo two; exit 9\nits last output:\ntwo";
    assert_eq!(error(&run), ("command_failed".to_owned(), message.to_owned()));
}

#[test]
fn a_test_can_have_its_deploy_before_it() {
    let service = Service::shared();
    let app = service.team().project();
    let manifest = |deploy: &str| {
        format!("deploy:\n  remote: true\n  commands: [{deploy}]\ntest:\n  unit:\n    commands: [echo tested]\n")
    };
    app.manifest(&manifest("echo deployed"));
    let run = app.events(&["test", "--deploy"]).ok();
    assert_eq!(run.said(), "deployed\ntested\n");
    assert_eq!(run.all("job.done").len(), 2);
    assert_eq!(app.events(&["test"]).ok().said(), "tested\n");
    app.manifest(&manifest("exit 2"));
    assert_eq!(app.events(&["test", "--deploy"]).expect(1).all("job.done").len(), 1);
}

#[test]
fn destroy_waits_for_a_deploy_of_its_environment() {
    let service = Service::shared();
    let app = service.team().project();
    app.manifest(
        "deploy:\n  remote: true\n  commands: [echo begin; sleep 1; echo end]\ndestroy:\n  remote: true\n  commands: [echo gone]\n",
    );
    let deploy = app.start_events(&["deploy"]);
    deploy.says("begin");
    let destroy = app.events(&["destroy"]).ok();
    let deploy = deploy.finish().ok();
    let time = |run: &Run, kind: &str| run.last(kind)["time"].as_str().unwrap().to_owned();
    assert!(time(&destroy, "command.started") >= time(&deploy, "command.done"));
}

const COMMANDS: &str = "  commands:\n  - name: First\n    command: 'echo \"$MINE $OKTETO_NAME $OKTETO_NAMESPACE $OKTETO_USERNAME $OKTETO_REGISTRY_URL\"; \
                        echo NEXT=\"a b\" >>$OKTETO_ENV'\n  - 'echo \"$NEXT\"; cat file; printf \"no line end\"; echo wrong >&2'\n  - 'echo \"$OKTETO_BUILD_APP_IMAGE\"; \
                        kill -9 $$'\n  - echo never\n";

/// A project whose deploy runs there.
fn deploys(app: &Project, remote: &str) {
    app.manifest(&format!("build:\n  app: .\ndeploy:\n  remote: {remote}\n{COMMANDS}"))
        .file("Dockerfile", "FROM scratch\nCOPY file /\n")
        .file("file", "content\n");
}

#[test]
fn a_local_deploy_tells_the_same_as_a_remote_one_and_sends_nothing() {
    let service = Service::shared();
    let team = service.team();
    let app = team.project();
    deploys(&app, "true");
    let args = ["deploy", "--var", "MINE=it's \"$mine\""];
    let remote = app.events(&args).expect(1);
    let jobs = || team.slipway(["job", "list", "--output", "json"]).ok().out().lines().count();
    let before = jobs();
    deploys(&app, "false");
    let local = app.events(&[&args[..], &["--no-build"]].concat()).expect(1);
    assert_eq!(jobs(), before, "there is no job for it");
    assert!(local.all("sync.done").is_empty() && local.all("job.queued").is_empty(), "{}", local.story());

    assert_eq!(told(&local), told(&remote));
    for stream in ["stdout", "stderr"] {
        assert_eq!(local.output(stream), remote.output(stream), "{stream}");
    }
    assert_eq!(error(&local), error(&remote));
    assert_eq!(local.last("job.done")["status"], remote.last("job.done")["status"]);
    let types = |run: &Run| {
        let kinds = run.events.iter().map(|event| event["type"].as_str().unwrap().to_owned());
        kinds.filter(|kind| kind.starts_with("command.") && kind != "command.log").collect::<Vec<_>>()
    };
    assert_eq!(types(&local), types(&remote));
    let warning = local.last("warning")["message"].as_str().unwrap();
    assert!(warning.contains("the manifest says `remote: false`") && warning.contains("deprecated"), "{warning}");

    // What is missing is built by the service, in a job that has no commands.
    let other = team.project();
    deploys(&other, "false");
    let run = other.events(&args).expect(1);
    assert_eq!(run.all("build.done").len(), 1);
    assert_eq!(team.show(run.last("build.done")["job"].as_str().unwrap())["kind"], "build");
    assert_eq!(run.last("command.started")["job"], "local");
    assert!(run.said().contains(run.last("build.done")["image"].as_str().unwrap()), "{}", run.said());
    assert_eq!(run.all("job.done").len(), 1);
}

#[test]
fn ctrl_c_ends_local_commands_and_all_that_they_started() {
    let service = Service::shared();
    let app = service.team().project();
    let [one, two] = [(); 2].map(|()| process::unique_seconds());
    app.manifest(&format!("deploy:\n- sleep {one} & setsid sleep {two} & wait\n"));
    let running = app.start_events(&["deploy"]);
    for seconds in [&one, &two] {
        until("it runs", SOON, || (!process::running(&["sleep", seconds]).is_empty()).then_some(()));
    }
    let asked = Instant::now();
    running.signal(Signal::INT);
    assert_eq!(running.finish().expect(130).last("job.done")["status"], "cancelled");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    for seconds in [&one, &two] {
        assert!(process::running(&["sleep", seconds]).is_empty());
    }
}

/// What the caller's environment says of where a deploy comes from, all of it.
const FORWARDED: [(&str, &str); 9] = [
    ("OKTETO_GIT_BRANCH", "a-branch"),
    ("OKTETO_GIT_COMMIT", "a-commit"),
    ("GITHUB_REPOSITORY", "an-owner/a-repository"),
    ("OKTETO_IS_PREVIEW_ENVIRONMENT", "true"),
    ("OKTETO_ORIGIN", "an-origin"),
    ("OKTETO_DEPLOY_TYPE", "a-type"),
    ("OKTETO_WORKFLOW_ID", "a-workflow"),
    ("OKTETO_PARENT_WORKFLOW_ID", "its-parent"),
    ("OKTETO_ACTION_NAME", "an-action"),
];

/// A deploy's variables, less those that are not the same in the runner and here.
fn variables(app: &Project, place: &str, env: &[(&str, &str)]) -> BTreeMap<String, String> {
    let run = app.events_with(&["deploy", place], env).ok();
    let said = run.said();
    let all = said.lines().map(|line| line.split_once('=').unwrap_or_else(|| panic!("{line}: {}", run.story())));
    let mut all: BTreeMap<_, _> = all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let remote = place == "--remote";
    // It is how commands know where they are.
    assert_eq!(all.remove("OKTETO_DEPLOY_REMOTE").is_some(), remote, "{all:?}");
    // For Okteto's own CLI in the runner, as Okteto has it.
    assert_eq!(all.remove("OKTETO_SMART_BUILDS_ENABLED").is_some(), remote, "{all:?}");
    // A job's is the job's own; and the file is elsewhere in the runner.
    for name in ["OKTETO_TOKEN", "OKTETO_ENV"] {
        assert!(all.remove(name).is_some_and(|value| !value.is_empty()), "{name}");
    }
    all
}

#[test]
fn a_local_command_has_the_variables_of_a_remote_one() {
    assert_eq!(FORWARDED.map(|(name, _)| name), slipway_manifest::variables::FORWARDED, "these and no others");
    let service = Service::shared();
    let app = service.team().project();
    app.manifest("deploy:\n- env | grep -E '^(OKTETO_|GITHUB_)' | sort\n");
    git(&app.path(), &["init", "-q", "-b", "trunk"]);
    git(&app.path(), &["remote", "add", "origin", "git@github.com:an-owner/its-repository.git"]);
    commit(&app.path(), &[]);
    let local = variables(&app, "--remote=false", &FORWARDED);
    assert_eq!(local, variables(&app, "--remote", &FORWARDED));
    for (name, value) in FORWARDED.into_iter().chain([("OKTETO_DOMAIN", app.team.registry.as_str())]) {
        assert_eq!(local.get(name).map(String::as_str), Some(value), "{name}");
    }
    // Where nothing is said, git is asked.
    let local = variables(&app, "--remote=false", &[]);
    assert_eq!(local, variables(&app, "--remote", &[]));
    assert_eq!(local["OKTETO_GIT_BRANCH"], "trunk");
    assert_eq!(local["OKTETO_GIT_COMMIT"].len(), 40, "of a clean tree: {local:?}");
    assert!(local["GITHUB_REPOSITORY"].contains("an-owner/its-repository"), "{local:?}");
}

/// A manifest of plain local commands, and what they say in the runner and here.
fn plain(app: &Project) {
    app.manifest("deploy:\n- 'pwd; echo \"[$OKTETO_DEPLOY_REMOTE]\"'\n");
}

fn forced(app: &Project) {
    let run = app.events(&["deploy"]).ok();
    assert_eq!(run.said(), "/okteto/src\n[true]\n", "{}", run.story());
    assert!(run.stderr.contains("the commands run on the service: OKTETO_FORCE_REMOTE is true"), "{}", run.stderr);
    let plan: Value = serde_json::from_slice(&app.slipway(["deploy", "--print"]).ok().stdout).unwrap();
    let commands = &plan["commands"][0];
    assert_eq!(
        (commands["remote"].as_bool(), commands["reason"].as_str()),
        (Some(true), Some("OKTETO_FORCE_REMOTE is true"))
    );
}

#[test]
fn force_remote_in_dotenv_beats_a_plain_manifest() {
    let service = Service::shared();
    let app = service.team().project();
    plain(&app);
    let here = app.events(&["deploy"]).ok();
    let folder = fs::canonicalize(app.path()).unwrap();
    assert_eq!(here.said(), format!("{}\n[]\n", folder.display()));
    app.file(".env", "OKTETO_FORCE_REMOTE=true\n");
    forced(&app);
    let run = app.events(&["deploy", "--remote=false"]).ok();
    assert_eq!(run.said(), here.said());
}

#[test]
fn an_admin_forces_everybodys_commands_into_the_runner() {
    // Of its own, since it is for all namespaces.
    let service = Service::with(slipway_journeys::service::Options::default());
    let app = service.team().project();
    plain(&app);
    service.admin().slipway(["variable", "set", "--scope", "admin", "--plain", "OKTETO_FORCE_REMOTE=true"]).ok();
    forced(&app);
    // One that says false undoes nothing.
    let run = app.events_with(&["deploy"], &[("OKTETO_FORCE_REMOTE", "false")]).ok();
    assert_eq!(run.said(), "/okteto/src\n[true]\n");
}
