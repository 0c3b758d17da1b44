//! Commands on this machine, with what only a service has: what an environment keeps, and variables.

use slipway_proto::v1::VariableKind;

use super::*;

/// What a deploy left before.
const KEPT: [(&str, &str); 4] =
    [("LEFT", "by a deploy"), ("BOTH", "by a deploy"), ("DB_PASSWORD", "kept-sesame"), ("PATH", "/nowhere")];

fn project_of(manifest: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("okteto.yaml"), manifest).unwrap();
    dir
}

/// What the command does here, with these variables in its environment.
async fn run_here(fake: &Fake, dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = slipway(fake, dir, args);
    let path = std::env::var_os("PATH").unwrap();
    command.env("SLIPWAY_NAMESPACE", "dev").env("PATH", path).envs(env.iter().copied());
    tokio::time::timeout(Duration::from_mins(1), command.output()).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_here_get_what_the_environment_keeps_and_a_destroy_forgets_it() {
    let fake = Fake::start(Script { variables: KEPT.to_vec(), ..Script::default() }).await;
    let says = "'echo \"[$LEFT] [$BOTH] [$DB_PASSWORD]\"; printf %s \"$DB_PASSWORD\" >got'";
    let dir = project_of(&format!("name: ex\ndeploy: [{says}]\ndestroy: [{says}, 'exit $CODE']\n"));
    let got = || fs::read_to_string(dir.path().join("got")).unwrap();
    // What the caller's shell says counts more, and a deploy forgets nothing.
    let output = run_here(&fake, dir.path(), &["deploy"], &[("BOTH", "by the shell")]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("[by a deploy] [by the shell] [***]\n"), "{}", text(&output.stdout));
    assert_eq!((got().as_str(), fake.told().destroyed.len()), ("kept-sesame", 0));
    // Nor does a destroy that failed.
    let output = run_here(&fake, dir.path(), &["destroy"], &[("CODE", "3")]).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("[by a deploy] [by a deploy] [***]\n"), "{}", text(&output.stdout));
    assert_eq!(fake.told().destroyed.len(), 0);
    let output = run_here(&fake, dir.path(), &["destroy"], &[("CODE", "0")]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(fake.told().destroyed, ["dev/ex"]);
    // Another application's environment is none of ours.
    let dir = project_of("name: other\ndeploy: ['echo \"[$LEFT]\"']\n");
    let output = run_here(&fake, dir.path(), &["deploy"], &[]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("[]\n"), "{}", text(&output.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destroy_in_a_job_succeeds_though_it_can_forget_nothing() {
    let kept = Fake::start(Script { variables: KEPT.to_vec(), in_job: true, ..Script::default() }).await;
    let none = Fake::start(Script { in_job: true, ..Script::default() }).await;
    let dir = project_of("name: ex\ndestroy: [echo]\n");
    for (fake, warned) in [(kept, true), (none, false)] {
        let output = run_here(&fake, dir.path(), &["destroy"], &[]).await;
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let said = text(&output.stderr);
        assert_eq!(
            said.contains("still keeps environment ex") && said.contains("`slipway environment delete ex`"),
            warned,
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_here_show_no_token_and_no_secret_that_they_are_given() {
    let service_variables = vec![
        ("MASKED", "masked-sesame", VariableKind::Masked),
        ("PLAIN", "plain-value", VariableKind::Plain),
        ("HIDDEN", "hidden-sesame", VariableKind::Secret),
    ];
    let fake = Fake::start(Script { service_variables, ..Script::default() }).await;
    let dir = project_of(
        "name: ex\ndeploy:\n- 'echo \"[$OKTETO_TOKEN] [$MY_API_KEY] [$MASKED] [$PLAIN] [$HIDDEN]\"'\n\
         - name: Say\n  command: 'printf \"%s\\n\" \"$OKTETO_TOKEN\" \"$MY_API_KEY\" \"$MASKED\" >got; printf sesame-of-; sleep 0.1; echo shell'\n",
    );
    let secrets = [("MY_API_KEY", "sesame-of-shell")];
    let output = run_here(&fake, dir.path(), &["deploy", "--output", "plain"], &secrets).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    assert!(told.contains("[***] [***] [***] [plain-value] []\n"), "{told}");
    let all = format!("{told}{}", text(&output.stderr));
    assert!(!all.contains("sesame"), "{all}");
    assert!(all.contains("don't get `HIDDEN`: it is write-only"), "{all}");
    // They have all of them none the less.
    let got = fs::read_to_string(dir.path().join("got")).unwrap();
    assert_eq!(got, format!("{TOKEN}\nsesame-of-shell\nmasked-sesame\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_keeps_nothing_is_enough_for_commands_here() {
    let fake = Fake::start(Script { old: true, variables: KEPT.to_vec(), ..Script::default() }).await;
    let dir = project_of("name: ex\ndeploy: ['echo \"[$LEFT]\"']\ndestroy: [echo gone]\n");
    for (command, said) in [("deploy", "[]\n"), ("destroy", "gone\n")] {
        let output = run_here(&fake, dir.path(), &[command], &[]).await;
        assert_eq!(output.status.code(), Some(0), "{command}: {}", text(&output.stderr));
        assert!(text(&output.stdout).contains(said), "{}", text(&output.stdout));
    }
    let output = run_here(&fake, dir.path(), &["deploy", "--print"], &[]).await;
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    // What it is asked for itself it can't give, and says so.
    let output = run_here(&fake, dir.path(), &["environment", "list"], &[]).await;
    assert_eq!(output.status.code(), Some(3));
    assert!(fake.told().resolved.is_empty() && fake.told().destroyed.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_printed_for_the_namespace_that_the_service_settles() {
    let namespaces = vec!["team-a".to_owned()];
    let service_variables = vec![("FLAVOUR", "sour", VariableKind::Plain)];
    let fake = Fake::start(Script { service_variables, namespaces, ..Script::default() }).await;
    let dir = project_of(
        "name: ex-${OKTETO_NAMESPACE}-${FLAVOUR}\nbuild: {app: {image: 'x/$OKTETO_NAMESPACE'}}\ndeploy: [x]\n",
    );
    fs::write(dir.path().join("Dockerfile"), "FROM scratch\n").unwrap();
    let output = slipway(&fake, dir.path(), &["deploy", "--print"]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan["services"][0]["image"], "x/team-a");
    assert_eq!(fake.told().resolved, ["team-a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_without_builds_writes_its_env_file_too() {
    let fake = Fake::start(Script::default()).await;
    let dir = project_of("name: ex\ndeploy: ['cat out.env; echo deployed']\n");
    for args in [&["deploy", "--env-file", "out.env"][..], &["deploy", "--no-build", "--env-file", "out.env"]] {
        fs::write(dir.path().join("out.env"), "OLD=1\n").unwrap();
        let output = run_here(&fake, dir.path(), args, &[]).await;
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
        assert!(!text(&output.stdout).contains("OLD") && text(&output.stdout).contains("deployed"));
        assert_eq!(fs::read_to_string(dir.path().join("out.env")).unwrap(), "", "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_deployed_for_tests_that_cannot_be_planned() {
    let service_variables = vec![("HIDDEN", "hidden-sesame", VariableKind::Secret)];
    let fake = Fake::start(Script { service_variables, ..Script::default() }).await;
    for (test, said) in [
        ("{image: 'x/${HIDDEN}', commands: [x]}", "`HIDDEN` is write-only"),
        ("{context: gone, commands: [x]}", "the context of test `unit`, `gone`, does not exist"),
    ] {
        let dir = project_of(&format!("name: ex\ndeploy: [touch deployed]\ntest: {{unit: {test}}}\n"));
        let output = run_here(&fake, dir.path(), &["test", "--deploy"], &[]).await;
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
        assert!(!dir.path().join("deployed").exists(), "{test}");
    }
    // Nor where the service can't run them.
    let old = Fake::start(Script { old: true, ..Script::default() }).await;
    let dir = project_of("name: ex\ndeploy: [touch deployed]\ntest: {unit: {commands: [x]}}\n");
    let output = run_here(&old, dir.path(), &["test", "--deploy"], &[]).await;
    assert_eq!((output.status.code(), dir.path().join("deployed").exists()), (Some(3), false));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_job_here_is_called_is_no_secret_and_what_a_command_leaves_may_be_one() {
    let large: &'static str = "v".repeat(128 << 10).leak();
    let service_variables = vec![
        ("NAME", "my-application", VariableKind::Masked),
        ("OTHER", "other-sesame", VariableKind::Masked),
        ("LARGE", large, VariableKind::Masked),
    ];
    let fake = Fake::start(Script { service_variables, ..Script::default() }).await;
    let dir = project_of(
        "name: my-application\ndeploy:\n- 'echo \"my-application $OTHER [$LARGE]\"'\n- 'echo \"NEW_TOKEN=new-$OTHER\" >>$OKTETO_ENV'\n\
         - 'printf \"%s\" \"$NEW_TOKEN\" >got; echo \"<$NEW_TOKEN>\"'\n",
    );
    let output = run_here(&fake, dir.path(), &["deploy"], &[]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    assert!(told.contains("my-application *** []\n") && told.contains("<***>\n"), "{told}");
    assert_eq!(fs::read_to_string(dir.path().join("got")).unwrap(), "new-other-sesame");
    let warned = text(&output.stderr);
    assert!(warned.contains("service's variable `LARGE`: it is too large"), "{warned}");
}
