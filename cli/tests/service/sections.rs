//! `deploy`, `destroy` and `test` with a service.

use slipway_proto::v1::JobKind;

use super::*;

fn types(output: &Output) -> Vec<String> {
    let lines = text(&output.stdout).lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut types: Vec<_> = lines.map(|event| event["type"].as_str().unwrap().to_owned()).collect();
    // Output comes in as many pieces as it likes.
    types.dedup_by(|one, before| one == before && one == "command.log");
    types
}

const SECTIONS: &str = "name: ex
build:
  app: .
  other: .
deploy: ['echo \"$OKTETO_NAMESPACE $OKTETO_USERNAME $OKTETO_REGISTRY_URL\"; echo \"$OKTETO_BUILD_APP_IMAGE\"']
destroy: {remote: true, commands: [gone]}
test:
  e2e: {image: '${OKTETO_BUILD_APP_IMAGE}', commands: [e2e], depends_on: [unit]}
  unit: {context: sub, commands: [unit]}
";

fn sections() -> tempfile::TempDir {
    let dir = project();
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::write(dir.path().join("okteto.yaml"), SECTIONS).unwrap();
    dir
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_and_destroy_are_jobs_of_their_own_kinds() {
    let fake = Fake::start(Script { events: vec![done(JobStatus::Succeeded)], ..Script::default() }).await;
    let dir = sections();
    let output = run(&fake, dir.path(), &["test", "e2e", "--var", "A=b"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let output = run(&fake, dir.path(), &["destroy", "--force"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told = fake.told();
    let plan = |index: usize| told.submits[index].plan.as_ref().unwrap();
    let (test, destroy) = (plan(0), plan(1));
    assert_eq!(test.kind(), JobKind::Test);
    let services: Vec<&str> = test.builds.iter().map(|build| build.service.as_str()).collect();
    assert_eq!((services, test.builds[0].only_if_missing), (vec!["app"], true));
    let tests: Vec<_> = test.commands.iter().map(|test| (test.test(), test.root.as_str(), test.image())).collect();
    // The whole folder is sent for the build already.
    let expected = [("unit", "test:unit", ""), ("e2e", "context:app", "${OKTETO_BUILD_APP_IMAGE}")];
    assert_eq!(tests, expected);
    let env: Vec<_> = test.commands[0].env.iter().map(|pair| (pair.key.as_str(), pair.value.as_str())).collect();
    assert_eq!(env, [("A", "b"), ("CI", "true")]);
    assert_eq!((destroy.kind(), destroy.builds.len()), (JobKind::Destroy, 0));
    assert_eq!((destroy.commands[0].keep_going, destroy.commands[0].root.as_str()), (true, "destroy"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_knows_only_deploys_gets_nothing_else() {
    let script = Script { events: vec![done(JobStatus::Succeeded)], old: true, ..Script::default() };
    let fake = Fake::start(script).await;
    let dir = sections();
    for command in ["test", "destroy"] {
        let output = run(&fake, dir.path(), &[command]).await;
        assert_eq!(output.status.code(), Some(3));
        let said = format!("error: the service refuses: it is too old for `{command}`: have it upgraded\n");
        assert_eq!(text(&output.stderr), said);
    }
    assert!(fake.told().submits.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_deploy_builds_on_the_service_and_sends_nothing_else() {
    let fake = Fake::start(Script { events: build_events(), ..Script::default() }).await;
    let dir = sections();
    let output = run(&fake, dir.path(), &["deploy", "--output", "json"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let story = types(&output);
    let expected = [
        "job.queued",
        "build.started",
        "build.done",
        "job.started",
        "warning",
        "command.started",
        "command.log",
        "command.done",
        "job.done",
    ];
    assert_eq!(story, expected, "{}", text(&output.stdout));
    let lines = text(&output.stdout).lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let said: String = lines.filter_map(|event| event["text"].as_str().map(str::to_owned)).collect();
    assert_eq!(said, "dev ann registry.example\nreg:1/dev/ex-app@sha256:1\n");
    {
        let told = fake.told();
        let plan = told.submits[0].plan.as_ref().unwrap();
        assert_eq!((plan.kind(), plan.builds.len(), plan.commands.len()), (JobKind::Build, 2, 0));
        let roots: Vec<&str> = told.submits[0].roots.iter().map(|root| root.name.as_str()).collect();
        assert_eq!(roots, ["context:app", "dockerfile:app"]);
    }
    // With the images that are there, there is no job at all.
    let output = run(&fake, dir.path(), &["deploy", "--no-build", "--output", "json"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(types(&output), expected[3..]);
    assert_eq!(fake.told().submits.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_fails_is_the_end_of_a_local_deploy() {
    let fake = Fake::start(Script { events: vec![done(JobStatus::Failed)], ..Script::default() }).await;
    let output = run(&fake, sections().path(), &["deploy", "--output", "json"]).await;
    assert_eq!((output.status.code(), types(&output)), (Some(1), vec!["job.done".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn force_remote_makes_it_remote_and_says_so() {
    let fake = Fake::start(Script { events: vec![done(JobStatus::Succeeded)], ..Script::default() }).await;
    let dir = sections();
    fs::write(dir.path().join(".env"), "OKTETO_FORCE_REMOTE=true\n").unwrap();
    let output = run(&fake, dir.path(), &["deploy"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = "slipway: the commands run on the service: OKTETO_FORCE_REMOTE is true\n";
    assert_eq!(text(&output.stderr), said);
    assert_eq!(fake.told().submits[0].plan.as_ref().unwrap().commands.len(), 1);
}

/// Sections that aren't there, or hold no command: a job all the same, since the service keeps the environment.
#[tokio::test(flavor = "multi_thread")]
async fn sections_without_a_command_are_jobs_that_run_none() {
    let fake = Fake::start(Script { events: vec![done(JobStatus::Succeeded)], ..Script::default() }).await;
    let dir = project();
    for (index, (sections, command)) in
        [("", "deploy"), ("deploy: []\n", "deploy"), ("", "destroy"), ("destroy: []\n", "destroy")].iter().enumerate()
    {
        fs::write(dir.path().join("okteto.yaml"), format!("name: ex\nbuild: {{app: .}}\n{sections}")).unwrap();
        let output = run(&fake, dir.path(), &[command]).await;
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let told = fake.told();
        let plan = told.submits[index].plan.as_ref().unwrap();
        let kind = if *command == "deploy" { JobKind::Deploy } else { JobKind::Destroy };
        assert_eq!((plan.kind(), plan.commands.len()), (kind, 0), "{sections}");
        assert_eq!(plan.builds.len(), usize::from(kind == JobKind::Deploy), "{sections}");
    }
    fs::write(dir.path().join("okteto.yaml"), "name: ex\n").unwrap();
    let output = run(&fake, dir.path(), &["deploy"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("okteto.yaml: there is nothing to deploy"), "{}", text(&output.stderr));
}
