//! What goes along of what the caller is logged in to.

use std::os::unix::fs::PermissionsExt as _;

use slipway_proto::v1::{LoginKind, RegistryLogin};

use super::*;

/// `me:hunter2`, and the service's own registry.
const CONFIG: &str = r#"{"auths": {
    "base.example": {"auth": "bWU6aHVudGVyMg=="}, "arg.example": {"auth": "bWU6aHVudGVyMg=="},
    "stage.example": {"identitytoken": "hunter2"}, "context.example": {"registrytoken": "hunter2"},
    "cache.example": {"auth": "bWU6aHVudGVyMg=="}, "tools.example": {"auth": "bWU6aHVudGVyMg=="},
    "image.example": {"auth": "bWU6aHVudGVyMg=="}, "unused.example": {"auth": "bWU6aHVudGVyMg=="},
    "skipped.example": {"auth": "bWU6aHVudGVyMg=="}, "registry.example": {"auth": "bWU6aHVudGVyMg=="}},
  "credHelpers": {"helped.example": "test", "broken.example": "test", "unused.example": "test"}}"#;
const HELPER: &str = "#!/bin/sh\nread -r host || true\necho \"$host\" >> \"$HOME/asked\"\n\
    test \"$host\" = helped.example || { echo it is locked; exit 1; }\n\
    echo '{\"ServerURL\":\"helped.example\",\"Username\":\"<token>\",\"Secret\":\"hunter2\"}'\n";
const MANIFEST: &str = "name: ex
build:
  app:
    context: .
    image: image.example/a/b:1
    args: {HOST: arg.example}
    additional_contexts: {other: 'docker-image://context.example/x', named.example/x: 'docker-image://okteto.dev/x'}
    cache_from: [cache.example/c:1]
deploy:
  image: tools.example/t
  commands: [echo]
";
const DOCKERFILE: &str = "ARG HOST=default.example\nFROM $HOST/x AS one\n
FROM skipped.example/x AS never
FROM registry.example/dev/x AS three
FROM named.example/x AS four
FROM base.example/x
COPY --from=stage.example/x / /
COPY --from=one / /
COPY --from=three / /
COPY --from=four / /
COPY --from=okteto.dev/x / /
RUN --mount=from=helped.example/x --mount=from=broken.example/x true
";

#[tokio::test(flavor = "multi_thread")]
async fn logins_go_along_for_the_registries_that_the_job_takes_images_from() {
    let fake = Fake::start(Script { events: build_events(), ..Script::default() }).await;
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| fs::write(dir.path().join(name), content).unwrap();
    file("okteto.yaml", MANIFEST);
    file("Dockerfile", DOCKERFILE);
    file("config.json", CONFIG);
    file("docker-credential-test", HELPER);
    fs::set_permissions(dir.path().join("docker-credential-test"), fs::Permissions::from_mode(0o755)).unwrap();
    let slipway = |args: &[&str]| {
        let mut command = slipway(&fake, dir.path(), args);
        let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
        command.env("SLIPWAY_NAMESPACE", "dev").env("DOCKER_CONFIG", dir.path()).env("PATH", path);
        command
    };
    let printed = slipway(&["build", "--print"]).output().await.unwrap();
    assert!(printed.status.success(), "{}", text(&printed.stderr));
    assert!(!dir.path().join("asked").exists(), "to print a plan nobody is asked");

    let output = slipway(&["deploy", "--build", "--output", "json"]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let login = |host: &str, username: &str, kind: LoginKind| RegistryLogin {
        host: host.to_owned(),
        username: username.to_owned(),
        secret: "hunter2".to_owned(),
        kind: kind.into(),
    };
    let expected = [
        login("arg.example", "me", LoginKind::Password),
        login("base.example", "me", LoginKind::Password),
        login("cache.example", "me", LoginKind::Password),
        login("context.example", "", LoginKind::RegistryToken),
        login("helped.example", "", LoginKind::IdentityToken),
        login("stage.example", "", LoginKind::IdentityToken),
        login("tools.example", "me", LoginKind::Password),
    ];
    assert_eq!(fake.told().submits[0].logins, expected);
    let asked = fs::read_to_string(dir.path().join("asked")).unwrap();
    let mut asked: Vec<_> = asked.lines().collect();
    asked.sort_unstable();
    assert_eq!(asked, ["broken.example", "helped.example"], "on its standard input, and for what is needed only");
    let said = text(&output.stderr);
    for word in ["docker-credential-test: it failed (exit status: 1): it is locked", "your login for broken.example"] {
        assert!(said.contains(word), "{said}");
    }
    assert!(![&output.stdout, &output.stderr].iter().any(|out| text(out).contains("hunter2")));

    file("config.json", "{\"auths\": \"hunter2\"");
    let output = slipway(&["build", "--output", "json"]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stderr);
    assert!(said.contains("config.json: line 1, column") && said.contains("base.example, "), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    assert!(fake.told().submits[1].logins.is_empty());
}
