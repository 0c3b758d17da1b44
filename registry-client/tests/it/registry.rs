//! A Distribution registry of its own for a test, ended with it.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use slipway_registry_client::{ImageRef, RegistryHost};
use tempfile::TempDir;

/// User `me`, password `secret`.
const HTPASSWD: &str = "me:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

pub(crate) struct TestRegistry {
    child: Child,
    pub(crate) host: RegistryHost,
    data: TempDir,
}

impl TestRegistry {
    /// A registry open to all.
    pub(crate) fn open() -> Self {
        Self::start("127.0.0.1", |_| String::new())
    }

    /// A registry that knows the user `me` with the password `secret`.
    pub(crate) fn with_password() -> Self {
        Self::start("127.0.0.1", |root| {
            std::fs::write(root.join("htpasswd"), HTPASSWD).expect("write htpasswd");
            format!("auth: {{htpasswd: {{realm: test, path: '{}/htpasswd'}}}}\n", root.display())
        })
    }

    /// A registry with a certificate of a CA of its own, under a name that leads to this machine and doesn't say so: those that do
    /// are reached without TLS.
    pub(crate) fn with_tls() -> Self {
        let name = "0.0.0.0";
        Self::start(name, |root| {
            certificates(root, name);
            let root = root.display();
            format!("  tls: {{certificate: '{root}/registry.pem', key: '{root}/registry.key'}}\n")
        })
    }

    /// The CA of a registry with TLS.
    pub(crate) fn ca(&self) -> PathBuf {
        self.data.path().join("ca.pem")
    }

    pub(crate) fn image(&self, rest: &str) -> ImageRef {
        format!("{}/{rest}", self.host).parse().expect("image reference")
    }

    /// `more`: what follows the address in its configuration.
    fn start(name: &str, more: impl FnOnce(&Path) -> String) -> Self {
        let binary = binary();
        let data = TempDir::new().expect("temporary directory");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("free port").port();
        let root = data.path().display();
        let config = format!(
            "version: 0.1\nlog: {{level: warn}}\n\
             storage: {{filesystem: {{rootdirectory: '{root}/data'}}, delete: {{enabled: true}}}}\n\
             http:\n  addr: '127.0.0.1:{port}'\n{}",
            more(data.path())
        );
        let config_path = data.path().join("config.yml");
        std::fs::write(&config_path, config).expect("write config");
        let log = File::create(data.path().join("log")).expect("create log");
        let child = Command::new(binary)
            .arg("serve")
            .arg(&config_path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("clone log"))
            .stderr(log)
            .spawn()
            .expect("start the registry");
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(20), "the registry doesn't answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, host: format!("{name}:{port}").parse().expect("host"), data }
    }
}

impl Drop for TestRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes `ca.pem`, and `registry.pem` and `registry.key` signed by it.
fn certificates(dir: &Path, name: &str) {
    let write = |file: &str, text: String| std::fs::write(dir.join(file), text).expect("write");
    let key = KeyPair::generate().expect("key");
    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    write("ca.pem", authority.self_signed(&key).expect("sign").pem());
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().expect("key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    write("registry.pem", params.signed_by(&key, &issuer).expect("sign").pem());
    write("registry.key", key.serialize_pem());
}

fn binary() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .flat_map(|dir| ["registry", "docker-registry"].map(|name| dir.join(name)))
        .find(|candidate| candidate.is_file())
        .expect("no `registry` or `docker-registry` on PATH: run `make setup`")
}
