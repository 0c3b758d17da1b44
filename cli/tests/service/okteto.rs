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
