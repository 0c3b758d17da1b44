//! Okteto's commands and flags: what people write in deploy commands works, or is refused in words that say what to use.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const MANIFEST: &str =
    "name: ex\nbuild:\n  app: .\ndeploy: [echo]\ndestroy: [echo]\ntest:\n  unit: {commands: [echo]}\n";

fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("okteto.yaml"), MANIFEST).unwrap();
    fs::write(dir.path().join("Dockerfile"), "FROM scratch\n").unwrap();
    dir
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
    command.arg0("/usr/local/bin/okteto").current_dir(dir).env_clear().env("HOME", dir).args(args);
    command
}

fn okteto(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> (i32, String, String) {
    told(command(dir, args).envs(env.iter().copied()).output().unwrap())
}

fn told(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// What the service gives to commands.
const RUNNER: [(&str, &str); 5] = [
    ("OKTETO_DEPLOY_REMOTE", "true"),
    ("OKTETO_CONTEXT", "http://127.0.0.1:1"),
    ("OKTETO_TOKEN", "sesame"),
    ("OKTETO_NAMESPACE", "team"),
    ("OKTETO_REGISTRY_URL", "registry.example:5000"),
];

#[test]
fn what_is_not_here_names_what_to_use() {
    let dir = project();
    for (args, instead) in [
        (&["pipeline", "deploy", "-r", "https://git.example/a", "--wait"][..], "the manifest's `dependencies`"),
        (&["preview", "deploy", "pr-1", "--scope", "global"], "`slipway deploy -n NAMESPACE --name NAME`"),
        (&["stack", "deploy", "-f", "compose.yml", "--wait"], "`kubectl apply`"),
        (&["endpoints", "-o", "json"], "`kubectl get ingress`"),
        (&["logs", "api", "--tail", "5"], "`slipway job logs JOB`"),
        (&["exec", "api", "--", "ls", "-l"], "`kubectl exec POD -- COMMAND`"),
        (&["restart", "api"], "`kubectl rollout restart"),
        (&["kubetoken"], "KUBECONFIG"),
        (&["up", "api", "-d"], "Okteto's own command"),
        (&["down", "-v"], "Okteto's own command"),
        (&["status"], "Okteto's own command"),
        (&["namespace", "delete", "x"], "`slipway environment delete`"),
        (&["ns", "sleep", "x"], "`kubectl scale"),
        (&["namespace", "wake"], "`kubectl scale"),
        (&["namespace", "--personal"], "`slipway namespace list`"),
        (&["destroy", "--all"], "`slipway environment list`"),
        (&["destroy", "--dependencies", "--wait"], "`slipway destroy` with the manifest of each"),
        (&["build", "-f", "api/Dockerfile", "api"], "`slipway build -t okteto.dev/NAME:TAG"),
        (&["kubeconfig"], "set KUBECONFIG"),
        // Okteto's would build the service.
        (&["build", "-t", "okteto.dev/app:1", "app"], "give it the name with `image`"),
        (&["build", "-t", "okteto.dev/app:1"], "a folder is `./`"),
        (&["registrytoken", "install", "--force"], "`docker login -u okteto REGISTRY`"),
    ] {
        let (status, out, err) = okteto(dir.path(), args, &[]);
        assert_eq!((status, out.as_str()), (2, ""), "{args:?} {err}");
        assert!(err.starts_with("error: ") && err.contains(instead) && err.lines().count() <= 2, "{args:?} {err}");
    }
}

#[test]
fn flags_of_okteto_are_taken() {
    let dir = project();
    let warnings = |args: &[&str]| {
        let (status, out, err) = okteto(dir.path(), args, &[]);
        assert_eq!(status, 0, "{args:?} {err}");
        let printed: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert!(printed["commands"].is_array() || printed["services"].is_array(), "{out}");
        err.lines().filter(|line| line.starts_with("warning: --")).map(str::to_owned).collect::<Vec<_>>()
    };
    for args in [
        &["build", "-f", "okteto.yaml", "--no-cache", "app", "--print"][..],
        &["build", "--progress", "plain", "--namespace", "ns", "-l", "debug", "--print"],
        &["build", "--export-cache", "okteto.dev/app:cache", "--cache-from", "okteto.dev/app:cache", "--print"],
        &["build", "-t", "okteto.dev/app:1", "-f", "Dockerfile", "--log-output", "plain", ".", "--print"],
        &["deploy", "-v", "A=b", "-n", "ns", "-c", "https://ctx.example", "--no-build", "--print"],
        &["deploy", "--dependencies", "--remote", "--log-output=json", "--name", "x", "--print"],
        &["destroy", "--force-destroy", "-n", "ns", "--context", "https://ctx.example", "--print"],
        &["test", "unit", "--no-cache", "-v", "A=b", "--name", "x", "--print"],
    ] {
        assert!(warnings(args).is_empty(), "{args:?} {:?}", warnings(args));
    }
    for (args, word) in [
        (&["deploy", "--wait", "--print"][..], "kubectl rollout status"),
        (&["deploy", "-w", "-t", "10m", "--print"], "kubectl rollout status"),
        (&["deploy", "--no-bash", "--print"], "in `sh`"),
        (&["destroy", "-v", "--print"], "kubectl delete pvc"),
        (&["destroy", "--volumes", "--print"], "kubectl delete pvc"),
        (&["test", "--timeout", "5m", "--print"], "limits.time_s"),
    ] {
        let warnings = warnings(args);
        assert!(warnings.len() == 1 && warnings[0].contains(word), "{args:?} {warnings:?}");
    }
    // What has a meaning of its own here is no reason to warn.
    let mut own = Command::new(env!("CARGO_BIN_EXE_slipway"));
    own.current_dir(dir.path()).env_clear().env("HOME", dir.path()).args(["deploy", "--wait", "--print"]);
    assert!(!told(own.output().unwrap()).2.contains("--wait"));
}

#[test]
fn kubeconfig_is_there_or_has_to_be_given() {
    let dir = project();
    let (status, _, err) = okteto(dir.path(), &["kubeconfig"], &RUNNER);
    assert_eq!(status, 2);
    insta::assert_snapshot!(err, @r#"
    error: there is no kubeconfig for namespace team
    hint: an admin gives it one: `team = "FILE"` under `[runner.access.kubeconfigs]` in slipwayd's configuration
    "#);
    let there = dir.path().join("kube");
    fs::write(&there, "").unwrap();
    let env = [&RUNNER[..], &[("KUBECONFIG", there.to_str().unwrap())]].concat();
    let (status, out, err) = okteto(dir.path(), &["kubeconfig", "-n", "team"], &env);
    assert_eq!((status, out.as_str()), (0, ""));
    assert!(err.contains("/kube already: there is nothing to get") && err.lines().count() == 1, "{err}");
    let (status, _, err) = okteto(dir.path(), &["kubeconfig", "-n", "other"], &env);
    assert!(status == 2 && err.contains("other can't be used"), "{err}");
    // Elsewhere it is somebody's own, of which nobody knows where it leads.
    fs::create_dir(dir.path().join(".kube")).unwrap();
    fs::write(dir.path().join(".kube/config"), "").unwrap();
    assert_eq!(okteto(dir.path(), &["kubeconfig"], &[]).0, 2);
    let (status, _, err) = okteto(dir.path(), &["kubeconfig"], &[("KUBECONFIG", there.to_str().unwrap())]);
    assert!(status == 0 && err.starts_with("warning: slipway hands out no kubeconfig"), "{err}");
}

#[test]
fn registrytoken_is_a_credential_helper() {
    let dir = project();
    let ask = |verb: &str, question: &str| {
        let mut command = command(dir.path(), &["registrytoken", verb]);
        command.envs(RUNNER).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Who asks nothing of it does not read it.
        let _ = child.stdin.take().unwrap().write_all(question.as_bytes());
        told(child.wait_with_output().unwrap())
    };
    let (status, out, err) = ask("get", "https://registry.example:5000/v2/\n");
    let login: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, err.as_str(), &login["Secret"]), (0, "", &"sesame".into()));
    let not_found = "credentials not found in native keychain\n".to_owned();
    assert_eq!(ask("get", "other.example"), (1, not_found, String::new()), "where tools look for it");
    assert_eq!(ask("list", ""), (0, "{}\n".to_owned(), String::new()));
    assert_eq!(ask("store", "{}").0, 1);
    assert_eq!(ask("erase", "registry.example:5000").0, 1);
    let (status, out, _) = ask("version", "");
    assert!(status == 0 && out.starts_with("docker-credential-okteto "), "{out}");

    let config = r#"{"credHelpers": {"registry.example:5000": "okteto"}}"#;
    fs::write(dir.path().join("config.json"), config).unwrap();
    let env = [&RUNNER[..], &[("DOCKER_CONFIG", dir.path().to_str().unwrap())]].concat();
    for args in [&["registrytoken", "install", "--force", "--log-output=json"][..], &["registrytoken", "uninstall"]] {
        let (status, out, err) = okteto(dir.path(), args, &env);
        assert_eq!((status, out.as_str(), err.lines().count()), (0, "", 1), "{err}");
    }
    assert_eq!(fs::read_to_string(dir.path().join("config.json")).unwrap(), config);
}

#[test]
fn a_job_stays_in_its_namespace_and_context() {
    let dir = project();
    for args in
        [&["namespace", "use", "team"][..], &["ns", "team", "-l", "debug"], &["namespace", "use", "team", "-n", "x"]]
    {
        let (status, _, err) = okteto(dir.path(), args, &RUNNER);
        assert!(status == 0 && err.contains("namespace team is in use already"), "{args:?} {err}");
    }
    let (status, _, err) = okteto(dir.path(), &["namespace", "use", "other"], &RUNNER);
    assert_eq!(status, 2);
    insta::assert_snapshot!(err, @r"
    error: a job works in its own namespace, which is team: other can't be used
    hint: `slipway -n other deploy` makes a job there, by somebody who may
    ");
    let (status, _, err) = okteto(dir.path(), &["ns", "use", "other"], &[("OKTETO_NAMESPACE", "team")]);
    assert!(status == 2 && err.contains("OKTETO_NAMESPACE=team counts more"), "{err}");
    for args in [&["context", "use", "http://127.0.0.1:1"][..], &["ctx", "http://127.0.0.1:1"]] {
        let (status, _, err) = okteto(dir.path(), args, &RUNNER);
        assert!(status == 0 && err.contains("is in use already"), "{args:?} {err}");
    }
    let (status, _, err) = okteto(dir.path(), &["context", "use", "http://127.0.0.1:1", "-n", "other"], &RUNNER);
    assert!(status == 2 && err.contains("other can't be used"), "{err}");
    let (status, out, _) = okteto(dir.path(), &["context"], &RUNNER);
    assert!(status == 0 && out.contains("namespace  team"), "{out}");
    assert_eq!(okteto(dir.path(), &["context", "use", "https://other.example"], &RUNNER).0, 2);
    assert_eq!(okteto(dir.path(), &["analytics", "--disable"], &RUNNER).0, 0);
    // Logging in to it asks the service, which is not there.
    for (args, env) in [
        (&["context", "use", "http://127.0.0.1:1", "--token", "t"][..], &[][..]),
        (&["context", "use", "http://127.0.0.1:1", "-t", "t"], &[]),
        (&["ctx", "http://127.0.0.1:1", "-t", "t"], &[]),
        (&["context", "use", "http://127.0.0.1:1"], &[("OKTETO_TOKEN", "t")]),
    ] {
        let (status, _, err) = okteto(dir.path(), args, env);
        assert!(status == 3 && err.contains("can't reach the service at http://127.0.0.1:1"), "{args:?} {err}");
    }
    // A token that is for another server is not sent anywhere.
    let env = [("OKTETO_TOKEN", "t"), ("OKTETO_CONTEXT", "http://127.0.0.1:2")];
    let (status, _, err) = okteto(dir.path(), &["context", "use", "http://127.0.0.1:1"], &env);
    assert!(status == 2 && err.contains("not logged in"), "{err}");
}

#[test]
fn a_variable_of_anybodys_gets_no_token() {
    let dir = project();
    let env =
        [("OKTETO_TOKEN", "sesame"), ("OKTETO_CONTEXT", "http://127.0.0.1:1"), ("OKTETO_REGISTRY_URL", "evil.example")];
    let mut command = command(dir.path(), &["registrytoken", "get"]);
    command.envs(env).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(b"evil.example");
    let (status, out, _) = told(child.wait_with_output().unwrap());
    assert!(status == 1 && out.contains("can't reach the service"), "{out}");
}
