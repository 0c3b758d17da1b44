//! Secret values: nobody reads them, however a step or a command prints them.

use std::fs;
use std::path::PathBuf;

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use slipway_journeys::files::Node;
use slipway_journeys::wait::{SOON, until};
use slipway_journeys::{Project, Run, Service, Team, image, peer, unique};

/// Prints what is in a file: as it is, over two writes, in base64, in the midst of a longer one, and in a JSON string.
const PRINT: &str = r#"v=$(cat "$1")
echo "plain $v."
printf 'split %s' "$(printf %s "$v" | cut -c1-10)"; sleep 1; printf '%s.\n' "$(printf %s "$v" | cut -c11-)"
printf 'base64 %s.\n' "$(printf %s "$v" | base64 -w0)"
printf 'longer %s.\n' "$(printf 'somebody:%s@%060d' "$v" 0 | base64 -w0)"
printf 'json {"a":"%s"}.\n' "$(printf %s "$v" | sed 's/["\\]/\\&/g')"
"#;

/// A value that JSON changes.
fn value(name: &str) -> String {
    format!("{name}\"{}", unique("sesame"))
}

/// The forms in which it is printed. Of the longer base64 text, what only the value decides.
fn forms(value: &str) -> [String; 4] {
    let longer = STANDARD.encode(format!("somebody:{value}"));
    let end = longer.len() - 4;
    [value.to_owned(), STANDARD.encode(value), value.replace('"', "\\\""), longer[12..end].to_owned()]
}

fn has_any(text: &[u8], value: &str) -> bool {
    forms(value).iter().any(|form| text.windows(form.len()).any(|found| found == form.as_bytes()))
}

fn set(team: &Team, scope: &str, flags: &[&str], variable: &str) {
    team.slipway([&["variable", "set", "--scope", scope], flags, &[variable]].concat()).ok();
}

/// What all steps wrote.
fn said_by_steps(run: &Run) -> String {
    run.all("step.log").iter().filter_map(|log| log["text"].as_str()).collect()
}

/// The lines that `PRINT` gives when nobody is to read the value.
fn check_lines(said: &str) {
    for line in ["plain ***.", "split ***.", "base64 ***.", "json {\"a\":\"***\"}."] {
        assert!(said.lines().any(|said| said == line), "{line} is not in:\n{said}");
    }
    assert!(said.lines().any(|line| line.starts_with("longer c29tZWJvZHk6") && line.contains("***")), "{said}");
}

fn no_process_has(service: &Service, job: &str, value: &str) {
    let pids = service.job_processes(job).into_iter().map(|process| process.pid).chain([service.pid()]);
    let pids: Vec<_> = pids.collect();
    assert!(pids.len() > 1, "the job's process runs");
    for pid in pids {
        for file in ["cmdline", "environ"] {
            let content = fs::read(format!("/proc/{pid}/{file}")).unwrap();
            assert!(!has_any(&content, value), "{file} of process {pid}");
        }
    }
}

fn app(team: &Team) -> Project {
    let app = team.project();
    app.manifest(
        "build:
  app:
    context: .
    secrets:
      kept: {variable: KEPT}
      file: ../file
deploy:
  remote: true
  commands:
  - name: Print
    command: |
      for v in \"$MASKED\" \"$KEPT\" \"$OF_FLAG\" \"$OF_DOTENV_TOKEN\"; do printf %s \"$v\" >/tmp/v; sh print.sh /tmp/v; done
      echo \"$PLAIN $OF_DOTENV\"
      echo ready; sleep 5
  - echo \"$KEPT\" >&2; exit 3
",
    );
    app.file("print.sh", PRINT).file("x", unique("x")).file(
        "Dockerfile",
        "FROM debian:trixie-slim\nCOPY print.sh x /\n\
         RUN --mount=type=secret,id=kept --mount=type=secret,id=file \\\n\
         sh /print.sh /run/secrets/kept; sh /print.sh /run/secrets/file; echo ready; sleep 5\n",
    );
    app
}

#[test]
fn a_secret_value_is_nowhere_however_it_is_printed() {
    let service = Service::start();
    let team = service.team();
    let app = app(&team);
    let names = ["masked", "kept", "file", "flag", "dotenv"];
    let values = names.map(value);
    let [masked, kept, file, flag, dotenv] = &values;
    set(&team, "namespace", &[], &format!("MASKED={masked}"));
    set(&team, "user", &["--secret"], &format!("KEPT={kept}"));
    set(&team, "namespace", &["--plain"], "PLAIN=plain as day");
    fs::write(app.beside("file"), format!("{file}\n")).unwrap();
    app.file(".env", format!("OF_DOTENV_TOKEN='{dotenv}'\nOF_DOTENV=no secret\n"));
    app.file(".oktetoignore", ".env\n").file(".dockerignore", ".env\n");
    let automaton = AhoCorasick::new(values.iter().flat_map(|value| forms(value))).unwrap();
    let nowhere = |when: &str, and_registry: bool| {
        let mut holders = Vec::new();
        slipway_journeys::files::each(&service.data_dir(), &mut |path| {
            // Its layers are compressed: the image is looked at for itself.
            let counts = and_registry || !path.starts_with(service.data_dir().join("registry"));
            // What vanishes meanwhile is not there.
            if counts && automaton.is_match(&fs::read(path).unwrap_or_default()) {
                holders.push(path.to_owned());
            }
        });
        assert_eq!(holders, Vec::<PathBuf>::new(), "{when}");
    };

    let args = ["deploy", "--var", &format!("OF_FLAG={flag}")];
    let running = app.start_events(&args);
    let ready = |kind: &str| {
        running.event(kind, |event| {
            event["type"] == kind && event["text"].as_str().is_some_and(|text| text.contains("ready"))
        });
    };
    ready("step.log");
    nowhere("while a step runs", false);
    ready("command.log");
    nowhere("while a command runs", false);
    assert!(service.job_dir(&running.job()).join("variables.sealed").exists(), "the command runs still");
    let job = running.job();
    for value in &values {
        no_process_has(&service, &job, value);
        // The client's own command line has what its caller wrote there.
        let mentioning = slipway_journeys::process::mentioning(value);
        assert!(value == flag || mentioning.is_empty(), "a command line has it");
    }
    let run = running.finish().expect(1);

    check_lines(&said_by_steps(&run));
    let said = run.said();
    check_lines(&said);
    assert_eq!(said.lines().filter(|line| *line == "plain ***.").count(), 4, "{said}");
    assert!(said.lines().any(|line| line == "plain as day no secret"), "{said}");
    let error = run.last("job.done")["error"]["message"].as_str().unwrap();
    assert!(error.contains("exit code 3") && error.contains("***"), "{error}");

    until("the job's own files are gone", SOON, || (!service.job_dir(&job).join("spec.json").exists()).then_some(()));
    nowhere("afterwards", true);
    let logs = team.slipway(["job", "logs", &job]).ok();
    let shown = team.slipway(["job", "show", &job, "--output", "json"]).ok();
    let listed = team.slipway(["variable", "list", "--scope", "namespace"]).ok();
    let history = peer::build_history();
    let steps = said_by_steps(&run);
    let texts = [
        &run.stdout[..],
        &logs.stdout,
        &shown.stdout,
        &listed.stdout,
        history.as_bytes(),
        steps.as_bytes(),
        said.as_bytes(),
        run.stderr.as_bytes(),
    ];
    let log = service.log();
    for value in &values {
        assert!(texts.iter().all(|text| !has_any(text, value)), "{}", run.story());
        assert!(!has_any(log.as_bytes(), value), "{log}");
    }
    let image = image::pull(&team, run.last("build.done")["image"].as_str().unwrap());
    let config = image.config.to_string();
    assert!(config.contains("/print.sh"), "its history is there: {config}");
    assert!(!values.iter().any(|value| has_any(config.as_bytes(), value)), "{config}");
    for (path, entry) in &image.files {
        assert!(
            !matches!(&entry.node, Node::File(bytes) if values.iter().any(|value| has_any(bytes, value))),
            "{path}"
        );
    }
}

#[test]
fn of_two_variables_of_a_name_the_nearer_counts() {
    let service = Service::start();
    let (admin, team) = (service.admin(), service.team());
    let app = team.project();
    app.manifest(
        "build:
  app:
    context: .
    args: [A, N, U, E, D, F, LONG]
deploy:
  remote: true
  commands:
  - echo $A $N $U $E $D $F
",
    );
    app.file("Dockerfile", "FROM scratch\nCOPY x /\n").file("x", "x");
    let scopes: [(&Team, &str, &str); 3] =
        [(&admin, "admin", "ANUEDF"), (&team, "namespace", "NUEDF"), (&team, "user", "UEDF")];
    for (who, scope, names) in scopes {
        for name in names.chars() {
            set(who, scope, &[], &format!("{name}={}", &scope[..4]));
        }
    }
    app.file(".env", "D=.env\nF=.env\n");
    let vars = ["--var", "F=flag"];
    // The environment counts for manifests only.
    let mut command = team.command([&["deploy", "--output", "json"][..], &vars].concat());
    command.current_dir(app.path()).env("E", "env").env("D", "env");
    let run = slipway_journeys::command::start(command, None).finish().ok();
    assert_eq!(run.said(), "admi name user user .env flag\n");

    set(&team, "user", &[], "LONG=not to be seen");
    let mut print = team.command([&["build", "--print"][..], &vars].concat());
    print.current_dir(app.path()).env("E", "env").env("D", "env");
    let printed: serde_json::Value = serde_json::from_slice(&print.output().unwrap().stdout).unwrap();
    let expected = serde_json::json!({
        "A": "admi", "N": "name", "U": "user", "E": "env", "D": "env", "F": "flag", "LONG": "***"
    });
    assert_eq!(printed["services"][0]["args"], expected);

    // What only the service knows expands nothing.
    set(&team, "user", &["--secret"], "LONG=not to be seen");
    let refused = app.slipway(["build"]).expect(2);
    assert!(refused.stderr.contains("okteto.yaml:5:30: `LONG` is write-only"), "{}", refused.stderr);
    assert!(refused.stderr.contains("{variable: LONG}"), "{}", refused.stderr);
}

#[test]
fn what_a_command_submits_has_its_jobs_variables_and_shows_no_more_of_them() {
    let service = Service::shared();
    let team = service.team();
    let value = value("kept");
    set(&team, "namespace", &["--secret"], &format!("KEPT={value}"));
    let app = team.project();
    app.manifest(
        "deploy:
  remote: true
  commands:
  - printf %s \"$OKTETO_TOKEN\" >token; echo \"LEFT_TOKEN=left-$KEPT\" >>$OKTETO_ENV
  - printf %s \"$LEFT_TOKEN\" >left; echo \"of the deploy <$LEFT_TOKEN>\"; slipway test
test:
  unit:
    commands:
    - '[ -n \"$KEPT\" ] && echo \"of the test <$KEPT> <$(cat token)> <$(cat left)>\"'
",
    );
    let run = app.events(&["deploy"]).ok();
    assert!(run.said().contains("of the deploy <***>\n"), "{}", run.said());
    let listed = team.slipway(["job", "list", "--output", "json"]).ok();
    let test = listed.events.iter().find(|job| job["kind"] == "test").unwrap();
    // Its own log, which nobody masks a second time.
    let log = team.slipway(["job", "logs", test["job"].as_str().unwrap()]).ok();
    assert!(log.out().contains("of the test <***> <***> <***>\n"), "{}", log.out());
    assert!(!has_any(&run.stdout, &value), "{}", run.story());
}
