//! Secrets of builds: they reach the steps that mount them, and nothing else.

use std::fs;
use std::path::Path;

use slipway_journeys::files::Node;
use slipway_journeys::wait::{SOON, until};
use slipway_journeys::{Project, Run, Service, Team, files, image, unique};

/// A stage that keeps what it was given, and an image of it.
fn keeps(id: &str, before: &str) -> String {
    format!(
        "FROM debian:trixie-slim AS run\nRUN --mount=type=secret,id={id} {before} cp /run/secrets/{id} /kept\n\
         FROM scratch\nCOPY --from=run /kept /\n"
    )
}

fn kept(app: &Project, run: &Run) -> String {
    let event = run.events.iter().rfind(|event| event["type"] == "build.done" || event["type"] == "build.skipped");
    let image = event.unwrap()["image"].as_str().unwrap();
    files::text(&image::pull(&app.team, image).files, "kept").to_owned()
}

/// The project, and a file beside it that holds this.
fn with_secret(team: &Team, value: &str) -> (Project, String) {
    let app = team.project();
    let path = app.beside("secret");
    fs::write(&path, value).unwrap();
    (app, path.display().to_string())
}

fn rewrite(path: &str, value: &str) {
    fs::write(path, value).unwrap();
}

#[test]
fn a_step_gets_the_secrets_of_the_manifest_and_of_the_command_line() {
    let service = Service::shared();
    let team = service.team();
    let app = team.project();
    fs::write(app.beside("of-file"), "one\n").unwrap();
    fs::write(app.beside("of-flag"), "three").unwrap();
    app.manifest(
        "build:
  app:
    context: .
    secrets:
      short: ../${DIR}of-file
      file: {file: ../of-file}
      env: {env: VALUE}
      both: {env: NOT_SET}
",
    );
    app.file(
        "Dockerfile",
        "FROM debian:trixie-slim AS run\nCOPY x /x\n\
         RUN --mount=type=secret,id=short --mount=type=secret,id=file --mount=type=secret,id=env \\\n\
         --mount=type=secret,id=both --mount=type=secret,id=BY_NAME --mount=type=secret,id=absent \\\n\
         for name in short file env both BY_NAME; do echo \"$name=$(cat /run/secrets/$name)\"; done > /kept; \\\n\
         ls /run/secrets | tr '\\n' ' ' >> /kept\n\
         FROM scratch\nCOPY --from=run /kept /\n",
    );
    app.file("x", unique("x"));
    let vars = ["--var", "VALUE=two $HOME \"x\"", "--var", "BY_NAME=four"];
    let both = format!("id=both,src={}", app.beside("of-flag").display());
    let flags = ["--secret", &both, "--secret", "id=BY_NAME"];
    let run = app.events(&[&["build"][..], &vars, &flags].concat()).ok();
    assert_eq!(
        kept(&app, &run),
        "short=one\nfile=one\nenv=two $HOME \"x\"\nboth=three\nBY_NAME=four\nBY_NAME both env file short "
    );
}

#[test]
fn a_secret_that_is_not_there_is_named() {
    let service = Service::shared();
    let app = service.team().project();
    app.manifest("build:\n  app:\n    context: .\n    secrets:\n      npm: no/such/file\n");
    app.file(
        "Dockerfile",
        format!("FROM debian:trixie-slim\nRUN --mount=type=secret,id=npm,required=true echo {}\n", app.name),
    );
    let run = app.slipway(["build"]).expect(2);
    assert!(
        run.stderr.contains("okteto.yaml:6:7: secret `npm` of service `app`: read no/such/file: "),
        "{}",
        run.stderr
    );

    app.manifest("build:\n  app:\n    context: .\n    secrets:\n      npm: {env: NPM_TOKEN}\n");
    let run = app.events(&["build"]).expect(1);
    assert!(run.stderr.contains("variable `NPM_TOKEN` is not set"), "{}", run.stderr);
    let error = &run.last("job.done")["error"];
    assert_eq!(error["code"], "build_failed");
    assert!(error["message"].as_str().unwrap().contains("npm"), "{error}");
    assert!(error["hint"].as_str().unwrap_or_default().contains("--secret id=npm"), "{error}");
}

#[test]
fn a_deploy_builds_no_image_without_the_file_of_its_secret() {
    let service = Service::shared();
    let app = service.team().project();
    app.manifest(
        "build:\n  app:\n    context: .\n    secrets:\n      npm: no/such/file\ndeploy:\n  remote: true\n  commands:\n  - echo deployed\n",
    );
    app.file("Dockerfile", "FROM scratch\nCOPY x /\n").file("x", &app.name);
    let run = app.events(&["deploy"]).expect(1);
    let message = run.last("job.done")["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("the file of its secret `npm`"), "{message}");
    // Where the image is there nobody needs it.
    app.file("no/such/file", "x");
    app.events(&["build"]).ok();
    fs::remove_file(app.path().join("no/such/file")).unwrap();
    let run = app.events(&["deploy"]).ok();
    assert_eq!(run.said(), "deployed\n");
}

/// BuildKit would fetch sources with them, for everybody on the engine.
#[test]
fn a_secret_that_the_engine_would_use_by_itself_is_refused() {
    let service = Service::shared();
    let app = service.team().project();
    app.image("FROM scratch\nCOPY x /\n").file("x", "x");
    let run = app.slipway(["build", "--var", "X=1", "--secret", "id=GIT_AUTH_TOKEN.example.com,env=X"]).expect(2);
    assert!(run.stderr.contains("others on the engine could get"), "{}", run.stderr);
    app.manifest("build:\n  app:\n    context: .\n    secrets:\n      HTTP_AUTH_HEADER_X: {env: X}\n");
    let run = app.slipway(["build"]).expect(2);
    assert!(run.stderr.contains("okteto.yaml:6:7: "), "{}", run.stderr);
}

#[test]
fn a_changed_secret_counts_unless_it_only_rotates() {
    let service = Service::shared();
    let (app, path) = with_secret(&service.team(), "first");
    app.image(&keeps("it", &format!("echo {};", app.name)));
    let secret = format!("id=it,src={path}");
    let build = |secret: &str| app.events(&["build", "--secret", secret]).ok();
    assert_eq!(kept(&app, &build(&secret)), "first");
    let again = build(&secret);
    assert_eq!(again.all("build.skipped").len(), 1, "{}", again.story());
    rewrite(&path, "second");
    assert_eq!(kept(&app, &build(&secret)), "second");
    // As it was: found again.
    rewrite(&path, "first");
    let again = build(&secret);
    assert_eq!((kept(&app, &again), again.all("build.skipped").len()), ("first".to_owned(), 1));

    let rotates = format!("{secret},rotates=true");
    rewrite(&path, "third");
    assert_eq!(kept(&app, &build(&rotates)), "third");
    rewrite(&path, "fourth");
    let same = build(&rotates);
    assert_eq!((kept(&app, &same), same.all("build.skipped").len()), ("third".to_owned(), 1));
    // Nor does it run steps anew.
    app.file("x", "x").file("Dockerfile", format!("{}COPY x /\n", keeps("it", &format!("echo {};", app.name))));
    let same = build(&rotates);
    assert_eq!((kept(&app, &same), same.all("build.done").len()), ("third".to_owned(), 1));
}

/// Equal builds of two namespaces, and two of one namespace, but for their secrets: the engine runs equal steps once, and knows
/// no secret's value.
#[test]
fn nobody_gets_a_step_that_ran_with_somebody_elses_secret() {
    let service = Service::shared();
    let (one, other) = (service.team(), service.team());
    let dockerfile = keeps("it", &format!("echo {}; sleep 3;", unique("step")));
    let apps = [with_secret(&one, "mine"), with_secret(&one, "mine too"), with_secret(&other, "theirs")];
    let start = |(app, path): &(Project, String)| {
        app.image(&dockerfile);
        app.start_events(&["build", "--no-cache", "--secret", &format!("id=it,src={path}")])
    };
    // At the same time, then one after the other, by way of the engine's cache.
    let running: Vec<_> = apps.iter().map(start).collect();
    for ((app, path), running) in apps.iter().zip(running) {
        assert_eq!(kept(app, &running.finish().ok()), fs::read_to_string(path).unwrap());
    }
    for (app, path) in &apps {
        app.file("unused", "x").file("Dockerfile", format!("{dockerfile}COPY unused /\n"));
        let run = app.events(&["build", "--secret", &format!("id=it,src={path}")]).ok();
        assert_eq!(kept(app, &run), fs::read_to_string(path).unwrap());
    }
}

/// While a step runs that has it, and afterwards.
#[test]
fn a_secret_is_in_no_file_of_the_service_and_in_no_image() {
    let service = Service::start();
    let value = format!("open-{}", unique("sesame"));
    let (app, path) = with_secret(&service.team(), &value);
    app.image(
        "FROM debian:trixie-slim\nCOPY x /x\n\
         RUN --mount=type=secret,id=it test $(wc -c < /run/secrets/it) -gt 10 && echo ready && sleep 3\n",
    );
    app.file("x", unique("x"));
    let running = app.start_events(&["build", "--provenance", "mode=max", "--secret", &format!("id=it,src={path}")]);
    running.says("ready");
    let holders = |value: &str| holders(&service.data_dir(), value);
    assert_eq!(holders(&value), Vec::<String>::new(), "while it runs");
    assert!(holders(&app.name).iter().any(|path| path.contains("spec.json")), "the search finds what is there");
    let sealed = || {
        fs::read_dir(service.data_dir().join("jobs"))
            .unwrap()
            .any(|job| job.unwrap().path().join("secrets.sealed").exists())
    };
    assert!(sealed());
    let run = running.finish().ok();
    // The end is told by the job's own process, a moment before the service knows of it.
    until("the secrets of a job that has ended are gone", SOON, || (!sealed()).then_some(()));
    // The registry's data are among them. Its layers are compressed, so the image is looked at as it comes out, too.
    assert_eq!(holders(&value), Vec::<String>::new(), "afterwards");
    let image = image::pull(&app.team, run.last("build.done")["image"].as_str().unwrap());
    for (path, entry) in &image.files {
        assert!(!matches!(&entry.node, Node::File(bytes) if holds(bytes, &value)), "{path}");
    }
    assert!(!holds(&run.stdout, &value), "the events");
}

fn holds(bytes: &[u8], value: &str) -> bool {
    bytes.windows(value.len()).any(|found| found == value.as_bytes())
}

/// Files below a folder that hold this.
pub(crate) fn holders(dir: &Path, value: &str) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = open.pop() {
        // What vanishes meanwhile is not there.
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(path),
                Ok(kind) if kind.is_file() && holds(&fs::read(&path).unwrap_or_default(), value) => {
                    found.push(path.display().to_string());
                }
                _ => {}
            }
        }
    }
    found
}
