//! The binary without a service.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn slipway(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_slipway"))
        .current_dir(dir)
        .env_clear()
        .env("HOME", dir)
        .args(args)
        .output()
        .unwrap()
}

fn project(manifest: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("ex-").tempdir().unwrap();
    fs::write(dir.path().join("okteto.yaml"), manifest).unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn status(output: &Output) -> i32 {
    output.status.code().unwrap()
}

const ONE: &str = "name: ex\nbuild:\n  app:\n    context: .\n";

#[test]
fn files_lists_a_context_after_its_rules() {
    let files = [
        ("Dockerfile", "FROM scratch\n"),
        (".dockerignore", "Dockerfile\nb\n"),
        ("b", "x"),
        ("a/z", "12"),
        ("a-b", ""),
        ("é", ""),
    ];
    let dir = project(ONE, &files);
    let output = slipway(dir.path(), &["files", "--for", "build:app"]);
    assert_eq!(status(&output), 0, "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), ".dockerignore\na-b\na/z\nokteto.yaml\né\n");
    let output = slipway(dir.path(), &["files", "--for", "build:app", "--output", "json"]);
    let lines: Vec<serde_json::Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found = lines.iter().find(|line| line["path"] == "a/z").unwrap();
    assert_eq!((found["type"].as_str(), found["size"].as_u64()), (Some("file"), Some(2)));
    let output = slipway(dir.path(), &["files", "--long"]);
    assert!(text(&output.stdout).lines().any(|line| line.ends_with(" a/z") && line.contains(" sha256:")));
}

#[test]
fn files_gives_every_digest_as_sha256sum_does() {
    let dir = project(ONE, &[("Dockerfile", "FROM scratch\n"), ("small", "x")]);
    // Large enough for several chunks.
    let large: Vec<u8> = (0..5_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(dir.path().join("large"), large).unwrap();
    let sums = Command::new("sha256sum").args(["large", "small"]).current_dir(dir.path()).output().unwrap();
    let sums: Vec<_> = text(&sums.stdout).lines().map(|line| line.split("  ").collect::<Vec<_>>()).collect();
    // The second time from what was remembered.
    for _ in 0..2 {
        let output = slipway(dir.path(), &["files", "--long"]);
        for sum in &sums {
            let wanted = format!("sha256:{} {}", sum[0], sum[1]);
            assert!(text(&output.stdout).lines().any(|line| line.ends_with(&wanted)), "{wanted}");
        }
        let output = slipway(dir.path(), &["files", "--output", "json"]);
        assert!(text(&output.stdout).contains(&format!(r#""size":5000000,"digest":"sha256:{}""#, sums[0][0])));
    }
}

#[test]
fn files_long_tells_mode_size_and_digest_in_every_section() {
    let sections = ["build:app", "deploy", "destroy", "test:unit", "test:other"];
    let manifest = "name: ex\nbuild:\n  app:\n    context: .\ndeploy:\n- echo\ntest:\n  unit: {commands: [x]}\n  other: {commands: [x]}\n";
    let ignore = "Dockerfile\nokteto.yaml\n[deploy]\nno-deploy\n[test.unit]\nno-test-unit\n[test]\nno-test*\n!no-test-unit\n\
                  [destroy]\nno-destroy\n";
    let files = [("no-build", "b"), ("no-deploy", "d"), ("no-destroy", "des"), ("no-test-unit", "u"), ("no-test", "t")];
    let dir = project(manifest, &[&files[..], &[("Dockerfile", "FROM scratch\n")]].concat());
    fs::write(dir.path().join(".oktetoignore"), ignore).unwrap();
    fs::write(dir.path().join(".dockerignore"), "Dockerfile\nokteto.yaml\nno-build\n").unwrap();
    std::os::unix::fs::symlink("no-where", dir.path().join("link")).unwrap();
    for (name, _) in files {
        fs::set_permissions(dir.path().join(name), std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    }
    for ignore in [".dockerignore", ".oktetoignore"] {
        fs::set_permissions(dir.path().join(ignore), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    for section in sections {
        let output = slipway(dir.path(), &["files", "--for", section, "--long"]);
        assert_eq!(status(&output), 0, "{}", text(&output.stderr));
        let left = |name: &str| match section {
            "build:app" => name != "no-build",
            // What is for all tests counts first, whatever the order of the sections.
            "test:unit" => !name.starts_with("no-test"),
            "test:other" => name != "no-test",
            _ => name != format!("no-{section}"),
        };
        let mut wanted = Vec::new();
        for name in
            [".dockerignore", ".oktetoignore", "link", "no-build", "no-deploy", "no-destroy", "no-test", "no-test-unit"]
        {
            if !left(name) {
                continue;
            }
            let content = fs::read(dir.path().join(name)).unwrap_or_default();
            let mode = if name.starts_with('.') { "-rwxr-xr-x" } else { "-rw-r-----" };
            wanted.push(if name == "link" {
                format!("lrwxrwxrwx {:>12} {:71} link -> no-where", 8, "-")
            } else {
                let digest = slipway_context::Digest::of(&content);
                format!("{mode} {:>12} {digest} {name}", content.len())
            });
        }
        assert_eq!(text(&output.stdout).lines().collect::<Vec<_>>(), wanted, "{section}");
        let output = slipway(dir.path(), &["files", "--for", section, "--output", "json"]);
        let lines = text(&output.stdout).lines();
        let lines: Vec<serde_json::Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), wanted.len());
        for (line, wanted) in lines.iter().zip(&wanted) {
            match line["type"].as_str().unwrap() {
                "file" => {
                    let mode = if wanted.contains("rwx") { "0755" } else { "0640" };
                    assert_eq!(line["mode"], mode);
                    let size = line["size"].as_u64().unwrap().to_string();
                    assert!(wanted.contains(&format!(" {size} {} ", line["digest"].as_str().unwrap())), "{line}");
                }
                kind => assert_eq!((kind, line["target"].as_str()), ("symlink", Some("no-where"))),
            }
        }
    }
}

#[test]
fn what_dominates_is_warned_of_in_every_section() {
    let manifest = "name: ex\nbuild:\n  app:\n    context: .\ndeploy:\n- echo\ntest:\n  x: {commands: [x]}\n";
    for big in [".git/objects/pack/x", "web/node_modules/y", "target/debug/z", "core.4321"] {
        let dir = project(manifest, &[("Dockerfile", "FROM scratch\nCOPY . /\n"), ("src/main", "x"), (big, "")]);
        fs::File::options().write(true).open(dir.path().join(big)).unwrap().set_len(12_000_000).unwrap();
        let named = match big {
            "web/node_modules/y" => "web/node_modules",
            _ => big.split('/').next().unwrap(),
        };
        let commands = [
            (&["files", "--for", "build:app"][..], ".dockerignore"),
            (&["files", "--for", "deploy"], ".oktetoignore"),
            (&["files", "--for", "destroy"], ".oktetoignore"),
            (&["files", "--for", "test:x"], ".oktetoignore"),
            // It comes before anything is sent.
            (&["--server", "http://127.0.0.1:1", "-n", "x", "build"], ".dockerignore"),
        ];
        for (args, file) in commands {
            let output = slipway(dir.path(), args);
            let said = text(&output.stderr);
            let wanted = format!(
                "warning: `{named}` is 12 MB, 99% of what is sent; if that isn't meant, add the line `{named}` to `{file}`\n"
            );
            assert_eq!(said.matches(&wanted).count(), 1, "{args:?} {said}");
        }
        for file in [".dockerignore", ".oktetoignore"] {
            fs::write(dir.path().join(file), format!("{named}\n")).unwrap();
        }
        for (args, _) in commands {
            let output = slipway(dir.path(), args);
            assert!(!text(&output.stderr).contains("of what is sent"), "{args:?} {}", text(&output.stderr));
        }
    }
}

#[test]
fn several_processes_share_what_they_remember() {
    let dir = project(ONE, &[("Dockerfile", "FROM scratch\n"), (".dockerignore", ".cache\n")]);
    for number in 0..200 {
        fs::write(dir.path().join(format!("file-{number}")), "old").unwrap();
    }
    // From now on these may be remembered.
    std::thread::sleep(std::time::Duration::from_millis(2_050));
    let digest = |content: &[u8]| slipway_context::Digest::of(content).to_string();
    for round in 0..6 {
        // Which one is there is remembered by some, and by others not yet.
        let new = format!("{round:03}");
        fs::write(dir.path().join("file-0"), &new).unwrap();
        std::thread::scope(|scope| {
            let lists: Vec<_> = (0..6).map(|_| scope.spawn(|| slipway(dir.path(), &["files", "--long"]))).collect();
            for list in lists {
                let output = list.join().unwrap();
                assert_eq!(status(&output), 0, "{}", text(&output.stderr));
                let of =
                    |name: &str| text(&output.stdout).lines().find(|line| line.ends_with(name)).unwrap().to_owned();
                assert!(of(" file-0").contains(&digest(new.as_bytes())), "{}", of(" file-0"));
                assert_eq!(text(&output.stdout).matches(&digest(b"old")).count(), 199);
            }
        });
    }
    let caches = fs::read_dir(dir.path().join(".cache/slipway/contexts")).unwrap();
    assert_eq!(caches.count(), 1, "nothing half written is left");
}

#[test]
fn files_for_deploy_takes_oktetoignore() {
    let ignore = "a\n[deploy]\nb\n[destroy]\nc\n";
    let dir = project(
        "deploy:\n- echo\n",
        &[(".oktetoignore", ignore), (".dockerignore", "*"), ("a", ""), ("b", ""), ("c", "")],
    );
    let list = |what: &str| text(&slipway(dir.path(), &["files", "--for", what]).stdout).to_owned();
    assert_eq!(list("deploy"), ".dockerignore\n.oktetoignore\nc\nokteto.yaml\n");
    assert_eq!(list("destroy"), ".dockerignore\n.oktetoignore\nb\nokteto.yaml\n");
    assert_eq!(status(&slipway(dir.path(), &["files", "--for", "nothing"])), 2);
}

#[test]
fn files_of_tests_and_destroy_are_those_of_their_contexts() {
    let manifest = "deploy:\n  context: d\n  commands: [echo]\ndestroy:\n  context: ${WHERE}\ntest:\n  unit:\n    context: t/$N\n    commands: [x]\n  \
                    whole:\n    commands: [x]\n  lost:\n    context: $NONE\n    commands: [x]\n";
    let files = [("d/1", ""), ("e/2", ""), ("t/u/3", ""), ("t/u/4", ""), ("t/u/.oktetoignore", "[test.unit]\n4\n")];
    let dir = project(manifest, &files);
    let list = |what: &str| slipway(dir.path(), &["files", "--var", "WHERE=e", "--var", "N=u", "--for", what]);
    for (what, wanted) in [("deploy", "1\n"), ("destroy", "2\n"), ("test:unit", ".oktetoignore\n3\n")] {
        let output = list(what);
        assert_eq!((text(&output.stdout), status(&output)), (wanted, 0), "{what} {}", text(&output.stderr));
    }
    assert_eq!(text(&list("test:whole").stdout).lines().count(), 6);
    for (what, wanted) in [
        ("test:unti", "error: there is no test `unti` in okteto.yaml\nhint: did you mean `unit`?\n"),
        (
            "test:nothing",
            "error: there is no test `nothing` in okteto.yaml\nhint: known here: `unit`, `whole`, `lost`\n",
        ),
        (
            "test:lost",
            "okteto.yaml:13:14: of `$NONE` nothing is left after expansion\n 13 |     context: $NONE\n    |              ^^^^^\n",
        ),
    ] {
        let output = list(what);
        assert!(text(&output.stderr).ends_with(wanted), "{what} {}", text(&output.stderr));
        assert_eq!((text(&output.stdout), status(&output)), ("", 2));
    }
}

#[test]
fn print_gives_the_plan_and_the_digest_of_content_not_of_times() {
    let manifest = "name: ex\nbuild:\n  api:\n    context: api\n    args:\n      BASE: ${OKTETO_BUILD_BASE_IMAGE}\n      V: ${V}\n    \
                    depends_on: base\n  base: base\n";
    let dir = project(manifest, &[("api/Dockerfile", "FROM scratch\n"), ("base/Dockerfile", "FROM scratch\n")]);
    let print = || {
        let output = slipway(dir.path(), &["build", "api", "--var", "V=1", "--build-arg", "X=$y", "--print"]);
        assert_eq!(status(&output), 0, "{}", text(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let printed = print();
    let names: Vec<_> =
        printed["services"].as_array().unwrap().iter().map(|service| service["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["base", "api"]);
    let api = &printed["services"][1];
    assert_eq!(api["args"], serde_json::json!({"BASE": "${OKTETO_BUILD_BASE_IMAGE}", "V": "1", "X": "$y"}));
    assert_eq!(api["image"], "okteto.dev/ex-api:okteto");
    assert!(api["context_digest"].as_str().unwrap().starts_with("sha256:"));
    assert!(api["input_digest"].is_null());
    let file = fs::File::options().write(true).open(dir.path().join("api/Dockerfile")).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(print(), printed);
    fs::write(dir.path().join("api/Dockerfile"), "FROM scratcH\n").unwrap();
    assert_ne!(print()["services"][1]["context_digest"], api["context_digest"]);
}

#[test]
fn a_bad_manifest_is_status_2_with_its_place() {
    let dir = project("name: ex\nbuild:\n  app:\n    contxt: .\n", &[]);
    for args in [&["build"][..], &["validate"], &["files"], &["--server", "http://127.0.0.1:1", "deploy"]] {
        let output = slipway(dir.path(), args);
        assert_eq!(status(&output), 2, "{args:?}");
        assert!(text(&output.stderr).starts_with("okteto.yaml:4:5: "), "{}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
    fs::write(dir.path().join("okteto.yaml"), ONE).unwrap();
    assert_eq!(status(&slipway(dir.path(), &["validate"])), 0);
}

#[test]
fn what_is_wrong_here_is_status_2() {
    let dir = project("name: ex\nbuild:\n  app:\n    dockerfile: docker/D\ndeploy:\n- echo\n", &[]);
    let server = "http://127.0.0.1:1";
    for (args, message) in [
        (&["build", "-n", "x"][..], "the Dockerfile of `app`, `docker/D`, does not exist"),
        (&["build", "-n", "x", "nope"], "there is no service `nope`"),
        (&["deploy", "--remote=false", "-n", "x"], "the Dockerfile of `app`, `docker/D`, does not exist"),
        (&["deploy", "--detach", "-n", "x"], "the commands run on this machine, since nothing asks for a remote run"),
        (&["test", "unti"], "there is no test `unti` in okteto.yaml"),
        (&["deploy", "--var", "OKTETO_TOKEN=x"], "`OKTETO_TOKEN` is set by the service"),
        (&["deploy", "--var", "x"], "not of the form NAME=value"),
        (&["-f", "gone.yaml", "build"], "read manifest gone.yaml"),
        (&["token", "create", "--user", "u"], "the token would open nothing"),
        (&["--server", "nonsense://", "version"], "not a service's URL"),
    ] {
        let args = [&["--server", server], args].concat();
        let args = if args.contains(&"nonsense://") { args[2..].to_vec() } else { args };
        let output = slipway(dir.path(), &args);
        assert_eq!(status(&output), 2, "{args:?} {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(message), "{args:?} {}", text(&output.stderr));
    }
    let output = slipway(dir.path(), &["job", "list"]);
    assert!(text(&output.stderr).contains("hint: `slipway login URL`"), "{}", text(&output.stderr));
    assert_eq!(status(&output), 2);
    assert_eq!(status(&slipway(dir.path(), &["build", "--nonsense"])), 2);
}

#[test]
fn why_a_context_is_sent_whole_can_be_asked() {
    let dir = project(ONE, &[("Dockerfile", "FROM scratch\nRUN cat <<$EOF\n")]);
    let said = |level: &[&str]| {
        let args = [&["--server", "http://127.0.0.1:1", "-n", "x", "build"], level].concat();
        text(&slipway(dir.path(), &args).stderr).to_owned()
    };
    let whole = |said: &str| said.lines().filter(|line| line.contains("the whole context is sent")).count();
    let info = said(&["--log-level", "info"]);
    assert!(whole(&info) == 1 && info.contains("line 2: whether it has a here-document can't be told"), "{info}");
    assert_eq!(whole(&said(&[])), 0);
}

#[test]
fn an_unreachable_service_is_status_3() {
    let dir = project(ONE, &[("Dockerfile", "FROM scratch\n")]);
    let output = slipway(dir.path(), &["--server", "http://127.0.0.1:1", "build"]);
    assert_eq!(status(&output), 3);
    let stderr = text(&output.stderr);
    assert!(stderr.contains("can't reach the service at http://127.0.0.1:1") && stderr.contains("hint: "), "{stderr}");
}

#[test]
fn dotenv_and_the_environment_expand_the_manifest() {
    let manifest = "name: ex\nbuild:\n  app:\n    args:\n      A: ${A}\n      B: ${B}\n      C: ${C}\n";
    let dir = project(manifest, &[("Dockerfile", "FROM scratch\n"), (".env", "A=dotenv\nB=dotenv\nC=dotenv\n")]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
    command.current_dir(dir.path()).env_clear().env("B", "environment").env("C", "environment");
    let output = command.args(["build", "--print", "--var", "C=flag"]).output().unwrap();
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let wanted = serde_json::json!({"A": "dotenv", "B": "environment", "C": "flag"});
    assert_eq!(printed["services"][0]["args"], wanted);
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let dir = project(ONE, &[("Dockerfile", "FROM scratch\n")]);
    for number in 0..5000 {
        fs::write(dir.path().join(format!("a-file-with-a-rather-long-name-{number}")), "").unwrap();
    }
    let script = "\"$0\" files --for build:app | head -1";
    let output = Command::new("sh")
        .current_dir(dir.path())
        .args(["-c", script, env!("CARGO_BIN_EXE_slipway")])
        .output()
        .unwrap();
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("Dockerfile\n", ""));
}

/// `build … --print` without a manifest; what is given to it.
fn print_one(dir: &Path, args: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
    command.current_dir(dir).env_clear().env("HOME", dir).arg("build").args(args).arg("--print");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that does not want it closes it.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn one_image_needs_no_manifest() {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in [("s$X/Dockerfile", "FROM scratch\n"), ("s$X/a", "x"), ("other", "FROM scratch\n")] {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let planned = |args: &[&str], stdin: &str| {
        let output = print_one(dir.path(), args, stdin);
        assert_eq!(status(&output), 0, "{}", text(&output.stderr));
        let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        plan["services"][0].clone()
    };
    let one = planned(&["-t", "okteto.dev/web:1", "-t", "okteto.dev/web:2", "s$X", "--label", "a=b"], "");
    assert_eq!((one["name"].as_str(), one["context"].as_str()), (Some("web"), Some("s$X")));
    assert_eq!(one["image"], "okteto.dev/web:1,okteto.dev/web:2");
    assert_eq!(one["options"], serde_json::json!({"label": ["a=b"]}));
    let own = planned(&["-t", "web", "--dockerfile", "other", "s$X"], "");
    assert_eq!(own["dockerfile"], fs::canonicalize(dir.path()).unwrap().join("other").to_str().unwrap());
    assert_eq!(own["context_digest"], one["context_digest"]);
    assert_eq!(planned(&["-t", "web", "-f", "other", "s$X"], ""), own, "as Okteto and docker have it");
    assert_eq!(planned(&["-t", "web", "-f", "-"], "FROM scratch\n")["dockerfile"], "-");
    let piped = planned(&["-t", "web", "--dockerfile", "-"], "FROM scratch\nCOPY . /\n");
    assert_ne!(piped["context_digest"], one["context_digest"]);
    assert_eq!(piped["dockerfile"], "-");

    let refused = |args: &[&str], stdin: &str| {
        let output = print_one(dir.path(), args, stdin);
        assert_eq!(status(&output), 2, "{}", text(&output.stderr));
        text(&output.stderr).to_owned()
    };
    assert!(refused(&["-t", "web", "s$X", "other"], "").contains("`other`: -t builds one folder"));
    assert!(refused(&["-t", "web", "nowhere"], "").contains("`nowhere`, does not exist"));
    assert!(refused(&["-t", "web", "--dockerfile", "-", "s$X"], "").contains("standard input is empty"));
    assert!(refused(&["-t", "web", "-f", "okteto.yaml", "s$X"], "").contains("leave -t out"));
    assert!(refused(&["-t", "web", "-f", "other", "--dockerfile", "other", "s$X"], "").contains("both name"));
    assert!(refused(&["-f", "s$X/api.Dockerfile", "s$X"], "").contains("is a Dockerfile"));
    assert!(refused(&["-t", "", "s$X"], "").contains("-t: `` is no image's name"));
    assert!(refused(&["--dockerfile", "other"], "").contains("--tag"));
    assert!(refused(&["-t", "web:a:b", "s$X"], "").contains("web:a:b"));
}

#[test]
fn an_option_that_makes_no_sense_is_named_with_its_place() {
    let dir = project("build:\n  app:\n    network: host\n", &[("Dockerfile", "FROM scratch\n")]);
    let output = slipway(dir.path(), &["build", "--print"]);
    assert_eq!(status(&output), 2);
    assert!(
        text(&output.stderr).contains("okteto.yaml:3:14: `build.app.network`: `host` is not allowed"),
        "{}",
        text(&output.stderr)
    );
    let dir = project(ONE, &[("Dockerfile", "FROM scratch\n")]);
    let output = slipway(dir.path(), &["build", "--print", "--export", "type=image,compresion=zstd"]);
    assert_eq!(status(&output), 2);
    assert!(text(&output.stderr).contains("--export: `compresion`"), "{}", text(&output.stderr));
}

#[test]
fn help() {
    let dir = tempfile::tempdir().unwrap();
    for (name, args) in
        [("help", &["--help"][..]), ("help_build", &["build", "--help"]), ("help_deploy", &["deploy", "--help"])]
    {
        let output = slipway(dir.path(), args);
        assert_eq!(status(&output), 0);
        insta::assert_snapshot!(name, text(&output.stdout));
    }
}
