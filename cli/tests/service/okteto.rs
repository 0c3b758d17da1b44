//! Okteto's commands that ask the service.

use tokio::io::AsyncWriteExt as _;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_chosen_in_the_context_in_use() {
    let namespaces = vec!["one".to_owned(), "two".to_owned()];
    let fake = Fake::start(Script { namespaces, ..Script::default() }).await;
    let dir = project();
    let okteto = async |args: &[&str], status: i32| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
        let output = command.current_dir(dir.path()).env_clear().env("HOME", dir.path()).args(args).output().await;
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(status), "{args:?} {}", text(&output.stderr));
        format!("{}{}", text(&output.stdout), text(&output.stderr))
    };
    assert!(okteto(&["namespace", "use", "one"], 2).await.contains("slipway login URL"));
    assert!(okteto(&["context", "use", &fake.url, "--token", TOKEN, "-n", "one"], 0).await.contains("logged in to"));
    assert!(okteto(&["namespace", "use", "two"], 0).await.contains("using namespace two of http"));
    assert!(okteto(&["context"], 0).await.contains("namespace  two"));
    assert!(okteto(&["ns", "three"], 2).await.contains("`three` is not a namespace that you may use"));
    assert!(okteto(&["ns", "one", "--log-level", "error"], 0).await.contains("using namespace one"));
    assert!(okteto(&["context", "show"], 0).await.contains("namespace  one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn registrytoken_knows_the_services_registry() {
    let fake = Fake::start(Script::default()).await;
    let dir = project();
    let ask = async |question: &str| {
        let mut command = slipway(&fake, dir.path(), &["registrytoken", "get"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(question.as_bytes()).await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        (output.status.code(), text(&output.stdout).to_owned())
    };
    let (status, out) = ask(fake::REGISTRY).await;
    assert!(status == Some(0) && out.contains(TOKEN), "{out}");
    let (status, out) = ask("other.example").await;
    assert_eq!((status, out.as_str()), (Some(1), "credentials not found in native keychain\n"));
}

const SECTIONS: &str = "name: ex
build:
  app: .
dependencies:
  base: https://git.invalid/base.git
deploy: {remote: true, commands: [echo]}
destroy: {remote: true, commands: [echo]}
test:
  unit: {commands: [echo]}
";

/// The rest of what `cli/tests/okteto.rs` looks for in printed plans.
#[tokio::test(flavor = "multi_thread")]
async fn flags_of_okteto_reach_the_service() {
    let fake = Fake::start(Script { events: vec![done(JobStatus::Succeeded)], ..Script::default() }).await;
    let dir = project();
    fs::write(dir.path().join("okteto.yaml"), SECTIONS).unwrap();
    let told = async |args: &[&str]| {
        let output = run(&fake, dir.path(), args).await;
        assert_eq!(output.status.code(), Some(0), "{args:?} {}", text(&output.stderr));
        let request = fake.told().submits.pop().unwrap();
        (request.plan.unwrap(), request.namespace, text(&output.stdout).starts_with('{'))
    };
    for (args, no_cache) in
        [(&["build"][..], false), (&["build", "--no-cache"], true), (&["deploy", "--no-cache"], true)]
    {
        assert_eq!(told(args).await.0.builds[0].no_cache, no_cache, "{args:?}");
    }
    for (args, again) in [(&["deploy"][..], false), (&["deploy", "--dependencies"], true)] {
        assert_eq!(told(args).await.0.dependencies[0].again, again, "{args:?}");
    }
    for (args, builds) in [(&["deploy"][..], 1), (&["deploy", "--no-build"], 0)] {
        assert_eq!(told(args).await.0.builds.len(), builds, "{args:?}");
    }
    for (args, all) in [(&["destroy"][..], false), (&["destroy", "--force-destroy"], true)] {
        assert_eq!(told(args).await.0.commands[0].keep_going, all, "{args:?}");
    }
    for (args, no_cache) in [(&["test"][..], false), (&["test", "--no-cache"], true)] {
        assert_eq!(told(args).await.0.commands[0].testing.as_ref().unwrap().no_cache, no_cache, "{args:?}");
    }
    for command in ["deploy", "destroy", "test"] {
        assert_eq!(told(&[command]).await.0.name, "ex", "{command}");
        let (plan, namespace, _) = told(&[command, "--name", "x", "-n", "ns"]).await;
        assert_eq!((plan.name.as_str(), namespace.as_str()), ("x", "ns"), "{command}");
    }
    for (args, json) in [
        (&["build"][..], false),
        (&["build", "--progress", "json"], true),
        (&["build", "--progress", "plain"], false),
        (&["build", "--log-output", "json"], true),
        (&["test", "--log-output=json"], true),
    ] {
        assert_eq!(told(args).await.2, json, "{args:?}");
    }
    for flag in ["-c", "--context"] {
        let mut command = slipway(&fake, dir.path(), &["deploy", flag, &fake.url]);
        command.env("SLIPWAY_NAMESPACE", "dev").env("SLIPWAY_SERVER", "http://127.0.0.1:1");
        let output = command.output().await.unwrap();
        assert_eq!(output.status.code(), Some(0), "{flag} {}", text(&output.stderr));
    }
}
