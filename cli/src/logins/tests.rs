//! Against files as `docker login` writes them, and helpers that are scripts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use super::*;

/// What is found for a registry in this file: kind, user and secret.
fn found(config: &str, host: &str) -> Option<(LoginKind, String, String)> {
    match Config::parse(config.as_bytes()).unwrap().source(host) {
        Source::File(Ok(login)) => Some((login.kind, login.username, login.secret)),
        Source::File(Err(problem)) => Some((LoginKind::Unspecified, problem.to_owned(), String::new())),
        Source::Helper { name, key } => Some((LoginKind::Unspecified, name, key)),
        Source::None => None,
    }
}

#[test]
fn each_form_of_the_file_is_read() {
    // `me:pass:word`
    let auths = r#"{"auths": {
        "a.example": {"auth": "bWU6cGFzczp3b3Jk"},
        "b.example:5000": {"username": "me", "password": "word"},
        "c.example": {"auth": "bWU6", "identitytoken": "of identity"},
        "d.example": {"registrytoken": "of registry"},
        "https://e.example/v2/": {"auth": "bWU6cGFzczp3b3Jk"},
        "https://index.docker.io/v1/": {"auth": "bWU6cGFzczp3b3Jk"},
        "empty.example": {},
        "null.example": null,
        "f.example": {"auth": "bWU6cGFzczp3b3Jk", "identitytoken": null},
        "bad.example": {"auth": "%%%"}
    }, "credHelpers": null, "credsStore": null, "other": {"things": [1]}}"#;
    let password = |user: &str, secret: &str| Some((LoginKind::Password, user.to_owned(), secret.to_owned()));
    let token = |kind, secret: &str| Some((kind, String::new(), secret.to_owned()));
    assert_eq!(found(auths, "a.example"), password("me", "pass:word"));
    assert_eq!(found(auths, "b.example:5000"), password("me", "word"));
    assert_eq!(found(auths, "c.example"), token(LoginKind::IdentityToken, "of identity"));
    assert_eq!(found(auths, "d.example"), token(LoginKind::RegistryToken, "of registry"));
    assert_eq!(found(auths, "e.example"), password("me", "pass:word"));
    assert_eq!(found(auths, "docker.io"), password("me", "pass:word"));
    assert_eq!(found(auths, "f.example"), password("me", "pass:word"));
    for none in ["empty.example", "null.example", "b.example", "index.docker.io.example", "example"] {
        assert_eq!(found(auths, none), None, "{none}");
    }
    let (kind, problem, _) = found(auths, "bad.example").unwrap();
    assert!(kind == LoginKind::Unspecified && problem.contains("base64"), "{problem}");
}

#[test]
fn helpers_stand_above_the_file_and_one_of_a_registry_above_the_one_of_all() {
    let config = r#"{"auths": {"a.example": {"auth": "bWU6d29yZA=="}, "b.example": {}},
        "credHelpers": {"b.example": "own"}, "credsStore": "all"}"#;
    let helper = |name: &str, key: &str| Some((LoginKind::Unspecified, name.to_owned(), key.to_owned()));
    assert_eq!(found(config, "a.example"), helper("all", "a.example"));
    assert_eq!(found(config, "b.example"), helper("own", "b.example"));
    assert_eq!(found(config, "docker.io"), helper("all", "https://index.docker.io/v1/"));
    assert_eq!(found(r#"{"credHelpers": {"docker.io": "own"}}"#, "docker.io"), helper("own", "docker.io"));
}

#[test]
fn what_is_wrong_with_a_file_is_said_without_its_content() {
    for config in [r#"{"auths": {"a": "hunter2"}}"#, "hunter2", r#"{"credsStore": ["hunter2"]}"#] {
        let problem = Config::parse(config.as_bytes()).err().unwrap();
        assert!(problem.starts_with("line 1, ") && !problem.contains("hunter2"), "{problem}");
    }
}

/// A helper in a folder; its name is the program's path, which no configuration can say.
async fn helper(script: &str, limit: Duration) -> Result<Option<(LoginKind, String, String)>, String> {
    let dir = tempfile::tempdir().unwrap();
    let name = format!("test{}", dir.path().file_name().unwrap().to_string_lossy().replace('.', ""));
    let program = dir.path().join(format!("{}{name}", helper::PREFIX));
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let login = helper::ask_program(&program, limit, "a.example").await?;
    Ok(login.map(|login| (login.kind, login.username, login.secret)))
}

#[tokio::test]
async fn a_helper_is_asked_as_docker_asks_it() {
    let ask = |script: &'static str| helper(script, Duration::from_secs(20));
    let answer = ask(
        r#"test "$*" = get || exit 9; read -r host; echo "{\"ServerURL\":\"x\",\"Username\":\"me\",\"Secret\":\"for $host\"}""#,
    );
    assert_eq!(answer.await.unwrap(), Some((LoginKind::Password, "me".to_owned(), "for a.example".to_owned())));
    let identity = ask(r#"echo '{"Username":"<token>","Secret":"refresh"}'"#).await.unwrap();
    assert_eq!(identity, Some((LoginKind::IdentityToken, String::new(), "refresh".to_owned())));
    assert_eq!(ask("echo credentials not found in native keychain; exit 1").await.unwrap(), None);
    let failed = ask("echo the keychain is locked; exit 1").await.unwrap_err();
    assert!(failed.contains("the keychain is locked") && failed.contains('1'), "{failed}");
    for broken in ["echo '{\"Secret\":\"hunter2\"}'", "echo '{\"Secret\":\"hunter2\"}'; exit 1", "echo hunter2 {"] {
        let problem = ask(broken).await.unwrap_err();
        assert!(!problem.contains("hunter2"), "{problem}");
    }
}

#[tokio::test]
async fn a_helper_that_does_not_end_or_says_too_much_is_left() {
    let began = Instant::now();
    let hangs = helper("exec sleep 60", Duration::from_secs(1)).await.unwrap_err();
    assert!(hangs.contains("no answer within 1 s"), "{hangs}");
    let endless = helper("yes", Duration::from_secs(20)).await.unwrap_err();
    assert!(endless.contains("more than"), "{endless}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let missing = helper::get("not-there-at-all", "a.example").await.err().unwrap();
    assert!(missing.contains("no such program"), "{missing}");
    assert!(helper::get("../x", "a.example").await.is_err());
}
