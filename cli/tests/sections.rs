//! Commands on this machine, and the plan of `--print`, without a service.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
    command.current_dir(dir).env_clear().env("HOME", dir).args(args);
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command
}

fn slipway(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).output().unwrap()
}

fn project(manifest: &str) -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("ex-").tempdir().unwrap();
    fs::write(dir.path().join("okteto.yaml"), manifest).unwrap();
    dir
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn events(output: &Output) -> Vec<serde_json::Value> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const WARNING: &str = "warning: commands run on this machine, since nothing asks for a remote run. That is deprecated: \
                       `remote: true` in the manifest, --remote or OKTETO_FORCE_REMOTE=true run them on the service\n";

const MANIFEST: &str = "name: ex
deploy:
  context: sub
  commands:
  - name: First
    command: 'pwd; printf %s \"$MINE\" >mine; echo \"$MINE $OKTETO_NAME $OKTETO_WITHIN_DEPLOY_COMMAND_CONTEXT [$OKTETO_DEPLOY_REMOTE] $INHERITED\"; echo NEXT=\"a b\" >>$OKTETO_ENV'
  - 'echo \"$NEXT\"; [[ -n $BASH ]] && echo in bash; echo wrong >&2; exit 7'
  - echo never
destroy:
- exit 3
- echo second; exit 4
- echo third
";

#[test]
fn commands_run_here_where_nothing_asks_for_the_service() {
    let dir = project(MANIFEST);
    fs::create_dir(dir.path().join("sub")).unwrap();
    let args = ["deploy", "--var", "MINE=it's $mine", "--output", "json"];
    let output = command(dir.path(), &args).env("INHERITED", "yes").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let events = events(&output);
    let said: String = events.iter().filter_map(|event| event["text"].as_str()).collect();
    let folder = fs::canonicalize(dir.path().join("sub")).unwrap();
    let expected = format!("{}\n*** ex true [] yes\na b\nin bash\n", folder.display());
    assert_eq!(said.replace("wrong\n", ""), expected);
    assert_eq!(fs::read_to_string(folder.join("mine")).unwrap(), "it's $mine");
    let story: Vec<String> = events
        .iter()
        .filter(|event| event["type"] != "command.log")
        .map(|event| {
            let rest = ["name", "exit_code", "status"].map(|key| event[key].to_string());
            format!("{} {}", event["type"].as_str().unwrap(), rest.join(" ").replace("null", ""))
        })
        .collect();
    insta::assert_snapshot!(story.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n"), @r#"
    job.started
    warning
    command.started "First"
    command.done  0
    command.started "echo \"$NEXT\"; [[ -n $BASH ]] && echo in bash; echo wrong >&2; exit 7"
    command.done  7
    job.done   "failed"
    "#);
    let numbers: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "{numbers:?}");
    assert!(events.iter().all(|event| event["job"] == "local"));
    let error = &events.last().unwrap()["error"];
    assert_eq!(error["code"], "command_failed");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.starts_with("deploy command 2 failed with exit code 7: ") && message.contains("in bash"),
        "{message}"
    );
}

#[test]
fn force_runs_all_and_the_last_failure_counts() {
    let dir = project(MANIFEST);
    let output = slipway(dir.path(), &["destroy"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), format!("{WARNING}error: destroy command 1 failed with exit code 3: exit 3\n"));
    let output = slipway(dir.path(), &["destroy", "--force", "--output", "plain"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).ends_with(
        "error: destroy command 2 failed with exit code 4: echo second; exit 4\nits last output:\nsecond\n"
    ));
    let said = text(&output.stdout);
    assert!(said.contains("third") && said.ends_with("job failed\n"), "{said}");
}

#[test]
fn in_a_runner_nothing_is_wrong_with_destroying_there() {
    let dir = project("name: ex\ndestroy:\n  remote: true\n  commands: [echo gone]\n");
    let output = command(dir.path(), &["destroy"]).env("OKTETO_DEPLOY_REMOTE", "true").output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    assert!(text(&output.stdout).contains("gone\n"));
}

#[test]
fn what_needs_a_service_says_so() {
    let dir = project("name: ex\nbuild: {app: .}\ndeploy: [echo]\ntest: {unit: {commands: [echo]}}\n");
    for args in [&["deploy"][..], &["deploy", "--remote"], &["test"]] {
        let output = slipway(dir.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains("no service is configured"), "{args:?} {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "", "{args:?}");
    }
    let dir = project("deploy: {context: gone, commands: [echo]}\n");
    let output = slipway(dir.path(), &["deploy"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("the context of deploy, `gone`, does not exist"), "{}", text(&output.stderr));
}

#[test]
fn without_a_service_there_is_an_env_file_all_the_same() {
    let dir = project("deploy: [echo]\n");
    let output = slipway(dir.path(), &["deploy", "--env-file", "out.env"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(fs::read_to_string(dir.path().join("out.env")).unwrap(), "");
}

#[test]
fn an_interrupt_ends_what_runs_here() {
    let marker = format!("{}.25", std::process::id());
    let dir = project(&format!("deploy:\n- trap 'echo cleaned up' TERM; echo ready; sleep {marker} & wait\n"));
    let mut command = command(dir.path(), &["deploy", "--output", "json"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while running(&marker) == 0 {
        assert!(started.elapsed() < Duration::from_secs(20), "it does not start");
        thread::sleep(Duration::from_millis(20));
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(running(&marker), 0, "nothing runs on");
    let events = events(&output);
    assert!(events.iter().any(|event| event["text"].as_str().is_some_and(|text| text.contains("cleaned up"))));
    assert_eq!(events.last().unwrap()["status"], "cancelled");
}

/// How many `sleep`s with this argument there are.
fn running(argument: &str) -> usize {
    let wanted = format!("sleep\0{argument}\0");
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.filter(|entry| fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == wanted.as_bytes())).count()
}

#[test]
fn nobody_who_reads_ends_it_too() {
    let dir = project("deploy:\n- seq 1 100000\n- sleep 60\n");
    let mut command = command(dir.path(), &["deploy"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    let started = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(141));
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

const PRINTED: &str = "name: ex
build:
  base: .
  app: {depends_on: base, args: {TOKEN: '${TOKEN}', SHORT: '${SHORT}'}}
deploy:
  image: tools.example/${SHORT}
  commands: [{name: Go, command: 'go $TOKEN'}]
destroy: [gone]
test:
  unit: {context: sub, image: '${OKTETO_BUILD_BASE_IMAGE}', commands: [run], depends_on: [lint]}
  lint: {commands: [lint]}
";

#[test]
fn the_printed_plan_says_where_commands_run_and_no_secret() {
    let dir = project(PRINTED);
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::write(dir.path().join("Dockerfile"), "FROM scratch\n").unwrap();
    fs::write(dir.path().join(".env"), "DB_PASSWORD=file-secret\nFROM_FILE=file-value\n").unwrap();
    let mut printed = String::new();
    for (args, force) in [
        (&["deploy"][..], ""),
        (&["destroy"], "false"),
        (&["destroy"], "true"),
        (&["destroy", "--remote=false"], "true"),
        (&["test", "unit"], ""),
    ] {
        let vars = ["--var", "TOKEN=a-secret", "--var", "SHORT=short", "--print"];
        let output = command(dir.path(), &[args, &vars[..]].concat()).env("OKTETO_FORCE_REMOTE", force).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?} {}", text(&output.stderr));
        let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        writeln!(printed, "{args:?} {force}\n{}", serde_json::to_string_pretty(&plan).unwrap()).unwrap();
    }
    assert!(!printed.contains("secret"), "{printed}");
    insta::with_settings!({filters => vec![("sha256:[0-9a-f]{64}", "[digest]")]}, {
        insta::assert_snapshot!(printed);
    });
}

#[test]
fn a_destroy_without_a_section_has_nothing_to_do() {
    let dir = project("name: ex\nbuild: {app: .}\n");
    let output = slipway(dir.path(), &["destroy"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = "slipway: there is no command to run, and no service that could know of the environment\n";
    assert_eq!(text(&output.stderr), said);
}

/// What is wrong in the tests is the tests' affair, and what only `okteto up` refuses nobody's.
#[test]
fn sections_stop_only_those_who_use_them() {
    let dir = project(
        "name: ex\ndeploy: [echo deployed]\ntest: {a: {commands: [x], depends_on: a}}\ndev: {api: {imagePullPolicy: no}}\n",
    );
    let output = slipway(dir.path(), &["deploy"]);
    let said = text(&output.stderr);
    assert_eq!((output.status.code(), said.matches("warning: ").count()), (Some(0), 3), "{said}");
    assert!(
        said.starts_with("okteto.yaml:3:39: warning: `a` depends on itself: `slipway test` will refuse it\n"),
        "{said}"
    );
    let output = slipway(dir.path(), &["test"]);
    let said = text(&output.stderr);
    assert_eq!((output.status.code(), said.lines().next()), (Some(2), Some("okteto.yaml:3:39: `a` depends on itself")));
    assert!(!said.contains("imagePullPolicy"), "{said}");
    let output = slipway(dir.path(), &["validate"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("depends on itself") && said.contains("`dev.api.imagePullPolicy` must be"), "{said}");
}
