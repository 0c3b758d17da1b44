//! Okteto's commands and flags: what people write in deploy commands works, or is refused in words that say what to use.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const MANIFEST: &str = "name: ex\nbuild:\n  app: .\ndeploy: [echo]\ndestroy: [echo]\ntest:\n  unit: {commands: [echo]}\n  whole: {commands: [echo]}\n";

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

/// The plan that is printed, and what is said besides.
fn printed(dir: &Path, args: &[&str]) -> (serde_json::Value, String) {
    let (status, out, err) = okteto(dir, args, &[]);
    assert_eq!(status, 0, "{args:?} {err}");
    let printed: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(printed["commands"].is_array() || printed["services"].is_array(), "{out}");
    (printed, err)
}

fn flag_warnings(err: &str) -> Vec<&str> {
    err.lines().filter(|line| line.starts_with("warning: --")).collect()
}

/// What a printed plan does not show is in `service/okteto.rs`: what the service is told.
#[test]
fn flags_of_okteto_are_taken() {
    const SAID: &str = "A: '${A:-}', NS: '${OKTETO_NAMESPACE:-}', C: '${OKTETO_CONTEXT:-}'";
    const CACHE: &str = "type=registry,ref=okteto.dev/app:cache,mode=max";
    let dir = project();
    let root = fs::canonicalize(dir.path()).unwrap();
    let (other, key) = (root.join("Other").display().to_string(), root.join("key").display().to_string());
    let secret = format!("id=k,src={key}");
    let with = |name: &str, manifest: &str| {
        let manifest = manifest.replace("app: .", &format!("app: {{context: ., args: {{{SAID}}}}}\n  second: ."));
        fs::write(dir.path().join(name), manifest).unwrap();
    };
    with("okteto.yaml", MANIFEST);
    with("other.yml", &MANIFEST.replace("name: ex", "name: other"));
    for name in ["Other", "key"] {
        fs::write(dir.path().join(name), "FROM scratch\n").unwrap();
    }
    let [image, second] = ["/services/0/image", "/services/1/name"];
    let [a, namespace, context] = ["/services/0/args/A", "/services/0/args/NS", "/services/0/args/C"];
    let [var, remote] = ["/commands/0/env/A", "/commands/0/remote"];
    let nowhere = "http://127.0.0.1:1";
    // Each with nothing of it said first, so that what is there is due to the flags.
    let cases: [(&str, &[(&str, &str)]); 27] = [
        ("build", &[(image, "okteto.dev/ex-app:okteto"), (second, "second"), (a, ""), (namespace, ""), (context, "")]),
        ("build app", &[(second, "null")]),
        ("build -f other.yml", &[(image, "okteto.dev/other-app:okteto")]),
        ("build --file other.yml app", &[(image, "okteto.dev/other-app:okteto"), (second, "null")]),
        ("build --namespace ns", &[(namespace, "ns")]),
        ("build -n ns --var A=b", &[(namespace, "ns"), (a, "b")]),
        ("build -c http://127.0.0.1:1", &[(context, nowhere)]),
        ("build --build-arg A=b", &[(a, "b")]),
        ("build --target st", &[("/services/0/target", "st")]),
        ("build --platform linux/arm64", &[("/services/0/platforms/0", "linux/arm64")]),
        ("build --secret id=k,src=key", &[("/services/0/options/secret/0", &secret)]),
        ("build --export-cache okteto.dev/app:cache", &[("/services/0/options/cache-to/0", CACHE)]),
        ("build --cache-from okteto.dev/app:cache", &[("/services/0/options/cache-from/0", CACHE)]),
        (
            "build -t okteto.dev/app:1 -f Other .",
            &[(image, "okteto.dev/app:1"), ("/services/0/dockerfile", &other), (second, "null")],
        ),
        ("deploy", &[(image, "okteto.dev/ex-app:okteto"), (a, ""), (var, "null"), (remote, "false")]),
        ("deploy -v A=b", &[(a, "b"), (var, "b")]),
        ("deploy --var A=b --var B=c", &[(var, "b"), ("/commands/0/env/B", "c")]),
        ("deploy -n ns -c http://127.0.0.1:1", &[(namespace, "ns"), (context, nowhere)]),
        ("deploy --context http://127.0.0.1:1", &[(context, nowhere)]),
        ("deploy --name x -f other.yml", &[(image, "okteto.dev/x-app:okteto")]),
        ("deploy --remote", &[(remote, "true")]),
        ("destroy", &[(var, "null"), (remote, "false")]),
        ("destroy --var A=b --remote", &[(var, "b"), (remote, "true")]),
        ("test", &[("/commands/0/test", "unit"), ("/commands/1/test", "whole"), (var, "null")]),
        ("test whole", &[("/commands/0/test", "whole"), ("/commands/1/test", "null")]),
        ("test unit -v A=b", &[(var, "b")]),
        ("test unit --var A=b", &[(var, "b")]),
    ];
    for (args, places) in cases {
        let (plan, err) = printed(dir.path(), &[&args.split(' ').collect::<Vec<_>>()[..], &["--print"]].concat());
        assert!(flag_warnings(&err).is_empty(), "{args:?} {err}");
        for (place, expected) in places {
            let found = match plan.pointer(place) {
                Some(serde_json::Value::String(text)) => text.clone(),
                other => other.map_or_else(|| "null".to_owned(), ToString::to_string),
            };
            assert_eq!(found, *expected, "{args:?}: {place} in {plan:#}");
        }
    }
    for level in ["-l", "--log-level"] {
        assert!(!printed(dir.path(), &["build", level, "warn", "--print"]).1.contains("scanned"));
        assert!(printed(dir.path(), &["build", level, "debug", "--print"]).1.contains("scanned"), "{level}");
    }
    for output in ["-o", "--output", "--log-output"] {
        assert!(!okteto(dir.path(), &["version"], &[]).1.starts_with('{'));
        assert!(okteto(dir.path(), &["version", output, "json"], &[]).1.starts_with('{'), "{output}");
    }
}

#[test]
fn flags_of_okteto_that_change_nothing_are_told() {
    let dir = project();
    for (args, word) in [
        (&["deploy", "--wait", "--print"][..], "kubectl rollout status"),
        (&["deploy", "-w", "-t", "10m", "--print"], "kubectl rollout status"),
        (&["deploy", "--no-bash", "--print"], "in `sh`"),
        (&["destroy", "-v", "--print"], "kubectl delete pvc"),
        (&["destroy", "--volumes", "--print"], "kubectl delete pvc"),
        (&["test", "--timeout", "5m", "--print"], "limits.time_s"),
    ] {
        let (_, err) = printed(dir.path(), args);
        let warnings = flag_warnings(&err);
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
