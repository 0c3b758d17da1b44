//! `slipway env` and `slipway environment`.

use super::*;

const ODD: &str = " it's \"$HOME\" `id` $(id) \\ \\n # é 🦀\nsecond = line\n\n\ttab ";

fn script() -> Script {
    let left = vec![
        ("ODD", ODD),
        ("EMPTY", ""),
        ("EVIL", "a\nSLIPWAY_END\nPATH=/evil"),
        ("GITHUB_SHA", "theirs"),
        ("OKTETO_BUILD_APP_IMAGE", "said by a command"),
        ("a.b", "no shell's"),
    ];
    Script { variables: left, ..Script::default() }
}

async fn env(fake: &Fake, dir: &Path, format: &str) -> (String, String) {
    let output = run(fake, dir, &["env", "--format", format]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    (text(&output.stdout).to_owned(), text(&output.stderr).to_owned())
}

/// A variable after a shell has read these lines.
async fn loaded(dir: &Path, before: &str, lines: &str, name: &str) -> String {
    fs::write(dir.join("lines"), lines).unwrap();
    let script = format!("set -eu; {before} . ./lines; exec printenv {name}");
    let output = Command::new("bash").args(["-c", &script]).current_dir(dir).output().await.unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
    text(&output.stdout).strip_suffix('\n').unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_deploys_left_is_printed_and_loads_as_it_was() {
    let (fake, dir) = (Fake::start(script()).await, project());
    let image = "reg:1/dev/ex-app@sha256:1";
    for (format, before) in [("shell", ""), ("dotenv", "set -a;")] {
        let (lines, warnings) = env(&fake, dir.path(), format).await;
        for (name, value) in [("ODD", ODD), ("EMPTY", ""), ("OKTETO_BUILD_APP_IMAGE", image)] {
            assert_eq!(loaded(dir.path(), before, &lines, name).await, value, "{format}:\n{lines}");
        }
        assert!(warnings.contains("`a.b` is left out"), "{warnings}");
        assert!(lines.contains("GITHUB_SHA") && !lines.contains("a.b"), "{lines}");
    }
    let (json, warnings) = env(&fake, dir.path(), "json").await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["ODD"], &json["a.b"]), (&ODD.into(), &"no shell's".into()));
    assert_eq!((&json["OKTETO_BUILD_APP_IMAGE"], warnings.as_str()), (&image.into(), ""));
    let (github, warnings) = env(&fake, dir.path(), "github").await;
    assert!(github.contains(&format!("ODD<<SLIPWAY_END\n{ODD}\nSLIPWAY_END\n")), "{github}");
    assert!(github.contains("EVIL<<SLIPWAY_END_1\n") && !github.contains("GITHUB_SHA"), "{github}");
    assert!(warnings.contains("`GITHUB_SHA` is left out"), "{warnings}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_without_images_has_an_environment_too() {
    let dir = project();
    fs::write(dir.path().join("okteto.yaml"), "name: ex\ndeploy:\n- echo\n").unwrap();
    let fake = Fake::start(Script { variables: vec![("A", "1")], ..Script::default() }).await;
    assert_eq!(env(&fake, dir.path(), "dotenv").await, ("A=1\n".to_owned(), String::new()));
    let fake = Fake::start(Script::default()).await;
    let output = run(&fake, dir.path(), &["env"]).await;
    assert_eq!(output.status.code(), Some(2));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("no environment `ex` in namespace dev") && stderr.contains("slipway deploy"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_is_shown_without_values_unless_they_are_asked_for() {
    let (fake, dir) = (Fake::start(Script { variables: vec![("A", "sesame")], ..Script::default() }).await, project());
    let show = async |args: &[&str]| {
        let output = run(&fake, dir.path(), &[&["environment", "show", "ex"], args].concat()).await;
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout).to_owned()
    };
    assert!(show(&[]).await.contains("variable    A=***\n"));
    assert!(show(&["--plain"]).await.contains("variable    A=sesame\n"));
    let json: serde_json::Value = serde_json::from_str(&show(&["--output", "json"]).await).unwrap();
    assert_eq!((&json["environment"], &json["variables"]), (&"ex".into(), &serde_json::json!({"A": null})));
    let output = run(&fake, dir.path(), &["environment", "show", "other"]).await;
    assert_eq!(output.status.code(), Some(3));
    let output = run(&fake, dir.path(), &["environment", "list"]).await;
    assert!(text(&output.stdout).starts_with("ENVIRONMENT  STATE"), "{}", text(&output.stdout));
    let output = run(&fake, dir.path(), &["environment", "delete", "ex"]).await;
    assert!(text(&output.stderr).contains("environment ex of namespace dev is forgotten"), "{}", text(&output.stderr));
}
