//! A Distribution registry of its own for a test, ended with it.

use std::fmt::Write as _;
use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use slipway_registry_client::{ImageRef, RegistryHost};
use tempfile::TempDir;

/// User `me`, password `secret`.
const HTPASSWD: &str = "me:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

pub(crate) struct TestRegistry {
    child: Child,
    pub(crate) host: RegistryHost,
    _data: TempDir,
}

impl TestRegistry {
    /// A registry open to all.
    pub(crate) fn open() -> Self {
        Self::start(false)
    }

    /// A registry that knows the user `me` with the password `secret`.
    pub(crate) fn with_password() -> Self {
        Self::start(true)
    }

    pub(crate) fn image(&self, rest: &str) -> ImageRef {
        format!("{}/{rest}", self.host).parse().expect("image reference")
    }

    fn start(password: bool) -> Self {
        let binary = binary();
        let data = TempDir::new().expect("temporary directory");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("free port").port();
        let root = data.path().display();
        let mut config = format!(
            "version: 0.1\nlog: {{level: warn}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n\
             storage: {{filesystem: {{rootdirectory: '{root}/data'}}, delete: {{enabled: true}}}}\n"
        );
        if password {
            std::fs::write(data.path().join("htpasswd"), HTPASSWD).expect("write htpasswd");
            writeln!(config, "auth: {{htpasswd: {{realm: test, path: '{root}/htpasswd'}}}}").expect("write to string");
        }
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
        Self { child, host: format!("127.0.0.1:{port}").parse().expect("host"), _data: data }
    }
}

impl Drop for TestRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn binary() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .flat_map(|dir| ["registry", "docker-registry"].map(|name| dir.join(name)))
        .find(|candidate| candidate.is_file())
        .expect("no `registry` or `docker-registry` on PATH: run `make setup`")
}
