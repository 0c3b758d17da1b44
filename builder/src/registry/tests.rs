//! Tokens, rights and imports on the real Distribution registry, and what needs no registry.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use secrecy::ExposeSecret as _;
use serde_json::json;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::*;

const MINUTE: Duration = Duration::from_mins(1);

struct Site {
    data: TempDir,
    config: Config,
    managed: ManagedRegistry,
    shutdown: CancellationToken,
    registry: Registry,
}

impl Site {
    async fn start() -> Self {
        let data = TempDir::new().expect("temporary directory");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("free port").port();
        let config = Config { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), ..Config::default() };
        let shutdown = CancellationToken::new();
        let realm = "http://127.0.0.1:7700/token";
        let managed = ManagedRegistry::start(&config, data.path(), realm, shutdown.clone());
        let managed = managed.await.expect("start the registry: is it installed (`make setup`)?");
        let registry = Registry::open(&config, data.path()).expect("open");
        Self { data, config, managed, shutdown, registry }
    }

    fn image(&self, namespace_and_name: &str) -> ImageRef {
        format!("{}/{namespace_and_name}", self.registry.host()).parse().expect("image")
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.managed.stopped().await;
    }
}

impl Drop for Site {
    /// A test that failed leaves no registry behind.
    fn drop(&mut self) {
        managed::tests::kill_leftover(self.data.path());
    }
}

fn namespace(name: &str) -> Namespace {
    name.parse().expect("namespace")
}

/// An image of one small layer, as an OCI archive.
fn archive(directory: &Path) -> PathBuf {
    const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    let path = directory.join("runner.tar");
    let mut tar = tar::Builder::new(std::fs::File::create(&path).expect("create"));
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).expect("append");
    };
    let mut blob = |media_type: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes);
        add(&format!("blobs/sha256/{}", digest.hex()), bytes);
        json!({"mediaType": media_type, "digest": digest.as_str(), "size": bytes.len()})
    };
    let layer = blob(LAYER, &[0; 1024]);
    let config =
        json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}});
    let config = blob(CONFIG, config.to_string().as_bytes());
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
    let manifest = blob(MANIFEST, manifest.to_string().as_bytes());
    add("index.json", json!({"schemaVersion": 2, "manifests": [manifest]}).to_string().as_bytes());
    tar.finish().expect("finish");
    path
}

fn is_denied<T: std::fmt::Debug>(result: &Result<T, RegistryError>) -> bool {
    matches!(result, Err(RegistryError::Denied { .. }))
}

#[tokio::test]
async fn tokens_open_exactly_what_they_name() {
    let site = Site::start().await;
    let (registry, client) = (&site.registry, site.registry.client());
    let archive = archive(site.data.path());
    let (own, other) = (site.image("dev/app:1"), site.image("team-b/app:1"));
    let both = [Action::Pull, Action::Push];

    // Nobody gets in without a token, and a catalogue is for nobody.
    assert!(client.resolve_digest(&own, &Auth::Anonymous).await.is_err());
    let catalogue = format!("http://{}/v2/_catalog", registry.host());
    let admins =
        registry.signer().expect("managed").sign("root", &Rights::admin().grant(&["registry:catalog:*"]), MINUTE);
    let request = reqwest::Client::new().get(catalogue).bearer_auth(admins.expect("sign").token.expose_secret());
    assert_eq!(request.send().await.expect("answer").status(), 401);
    assert!(is_denied(&client.resolve_digest(&own, &Auth::bearer("nonsense")).await));

    let auth = registry.client_auth(&own, &both).expect("token");
    let digest = client.import_oci_archive(&archive, &own, &auth).await.expect("import").digest;
    assert_eq!(client.resolve_digest(&own, &auth).await.expect("resolve"), Some(digest.clone()));
    assert!(is_denied(&client.resolve_digest(&other, &auth).await));
    assert!(is_denied(&client.import_oci_archive(&archive, &other, &auth).await));
    let pull_only = registry.client_auth(&own, &[Action::Pull]).expect("token");
    assert!(is_denied(&client.import_oci_archive(&archive, &own, &pull_only).await));
    // The right to push here and not to pull there doesn't move another's image here.
    let theirs = registry.client_auth(&other, &both).expect("token");
    client.import_oci_archive(&archive, &other, &theirs).await.expect("import");
    assert!(client.copy(&other, &site.image("dev/stolen:1"), &auth).await.is_err());

    let copied = site.image("dev/copy:1");
    let auth = registry.copy_auth(&own, &copied).expect("token");
    assert_eq!(client.copy(&own, &copied, &auth).await.expect("copy"), digest);
    site.stop().await;
}

#[tokio::test]
async fn expired_early_and_foreign_tokens_are_denied() {
    let site = Site::start().await;
    let client = site.registry.client();
    let image = site.image("dev/app:1");
    let access = [Access::pull(image.repository().clone())];
    let minute = MINUTE;
    // Distribution allows clocks to differ by a minute.
    let signer = TokenSigner::load(site.data.path()).expect("load");
    let now = OffsetDateTime::now_utc();
    for (issued_at, accepted) in [(now, true), (now - minute * 10, false), (now + minute * 10, false)] {
        let token = signer.sign_from(issued_at, "me", &access, minute).expect("sign").token;
        let result = client.resolve_digest(&image, &Auth::Bearer(token)).await;
        assert_eq!(result.is_ok(), accepted, "{issued_at}: {result:?}");
        assert_eq!(is_denied(&result), !accepted, "{issued_at}: {result:?}");
    }
    let other_data = TempDir::new().expect("temporary directory");
    let foreign = TokenSigner::open(other_data.path()).expect("open").sign("me", &access, minute).expect("sign");
    assert!(is_denied(&client.resolve_digest(&image, &Auth::Bearer(foreign.token)).await));
    site.stop().await;
}

#[tokio::test]
async fn a_jobs_process_mints_what_its_engine_asks_for() {
    let site = Site::start().await;
    let dev = namespace("dev");
    let image = site.image("dev/app:okteto");
    let in_job = Registry::open_for_job(&site.config, site.data.path()).expect("open");
    let rights = in_job.job_rights(&dev, [&image]);
    // What containerd's resolver sends when it pushes and mounts.
    let scopes = ["repository:dev/app:pull,push", "repository:team-b/app:pull"];
    let answer = in_job.token_for_job("job:1", &rights, Some(SERVICE), &scopes).expect("token");
    let auth = Auth::Bearer(answer.token);
    let client = in_job.client();
    client.import_oci_archive(&archive(site.data.path()), &image, &auth).await.expect("import");
    assert!(is_denied(&client.resolve_digest(&site.image("team-b/app:okteto"), &auth).await));
    site.stop().await;
}

#[tokio::test]
async fn the_runner_image_is_imported_once() {
    let site = Site::start().await;
    let registry = &site.registry;
    let runner = registry.image_ref(&namespace("dev"), "okteto.global/runner:0.1.0").expect("reference");
    let missing = registry.ensure_runner_image(&runner, None).await;
    assert!(matches!(missing, Err(AccessError::NoRunnerArchive { .. })), "{missing:?}");
    let archive = archive(site.data.path());
    let digest = registry.ensure_runner_image(&runner, Some(&archive)).await.expect("import");
    std::fs::remove_file(archive).expect("remove");
    let gone = Path::new("/no/such/archive");
    assert_eq!(registry.ensure_runner_image(&runner, Some(gone)).await.expect("there already"), digest);
    // Every namespace may pull it.
    let rights = Rights::user([namespace("team-b")], registry.global_namespace());
    let scope = [format!("repository:{}:pull", runner.repository())];
    let token = registry.token_for_job("me", &rights, None, &scope).expect("token").token;
    let found = registry.client().resolve_digest(&runner, &Auth::Bearer(token)).await.expect("resolve");
    assert_eq!(found, Some(digest));
    site.stop().await;
}

fn offline(config: &Config) -> (TempDir, Registry) {
    let data = TempDir::new().expect("temporary directory");
    let registry = Registry::open(config, data.path()).expect("open");
    (data, registry)
}

#[test]
fn jobs_push_to_their_own_namespace() {
    let (_data, registry) = offline(&Config::default());
    let dev = namespace("dev");
    let check = |admin, text: &str| registry.allowed_push(&dev, admin, &text.parse().expect("reference"));
    assert_eq!(check(false, "127.0.0.1:7701/dev/app:1"), Ok(()));
    assert_eq!(check(true, "127.0.0.1:7701/okteto/runner:1"), Ok(()));
    assert!(matches!(check(false, "127.0.0.1:7701/okteto/runner:1"), Err(PushRefused::Global { .. })));
    for text in ["127.0.0.1:7701/team-b/app:1", "127.0.0.1:7701/dev:1", "127.0.0.1:7701/developer/app"] {
        assert!(matches!(check(true, text), Err(PushRefused::OtherNamespace { .. })), "{text}");
    }
    for text in ["ghcr.io/dev/app:1", "dev/app:1", "localhost:7701/dev/app:1", "127.0.0.1:7702/dev/app:1"] {
        let refused = check(true, text).expect_err(text);
        assert!(refused.to_string().contains("okteto.dev"), "{refused}");
    }
    assert_eq!(registry.repository_for(&dev, "app-api").expect("name").to_string(), "127.0.0.1:7701/dev/app-api");
    for name in ["", "../team-b/app", "a:b", "A"] {
        assert!(registry.repository_for(&dev, name).is_err(), "{name}");
    }
    let image = registry.image_ref(&dev, "okteto.dev/app:1").expect("reference");
    assert_eq!(image.to_string(), "127.0.0.1:7701/dev/app:1");
}

#[test]
fn an_external_registry_uses_its_fixed_credentials_there_and_nowhere_else() {
    let data = TempDir::new().expect("temporary directory");
    let password_file = data.path().join("password");
    std::fs::write(&password_file, "hunter2\n").expect("write");
    let config = Config {
        kind: Kind::External,
        host: Some("ghcr.io".parse().expect("host")),
        username: Some("me".to_owned()),
        password_file: Some(password_file),
        ..Config::default()
    };
    let (_data, registry) = offline(&config);
    assert!(registry.signer().is_none());
    assert!(!format!("{registry:?}").contains("hunter2"));
    let auth = |text: &str| registry.client_auth(&text.parse().expect("reference"), &[Action::Pull]).expect("auth");
    assert!(matches!(auth("ghcr.io/dev/app:1"), Auth::Basic { username, .. } if username == "me"));
    assert!(matches!(auth("docker.io/dev/app:1"), Auth::Anonymous));
    assert!(matches!(auth("ghcr.io:444/dev/app:1"), Auth::Anonymous));
    let rights = registry.job_rights(&namespace("dev"), []);
    let none: [&str; 0] = [];
    assert!(matches!(registry.token_for_job("x", &rights, None, &none), Err(AccessError::External(_))));
    let wrong = Registry::open(&Config { host: None, ..config }, data.path());
    assert!(matches!(wrong, Err(OpenError::Config(problems)) if problems == [ConfigProblem::NoHost]));
}
