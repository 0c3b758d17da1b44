//! A Docker Engine of a test's own.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use crate::files;
use crate::wait::{SOON, until};

/// What the machine's Docker Engine has: where base images come from, and its image store.
const MACHINES_CONFIG: &str = "/etc/docker/daemon.json";
/// What Slipway needs where the machine's says nothing.
const CONFIG: &str = r#"{"features":{"containerd-snapshotter":true},"insecure-registries":["127.0.0.0/8"]}"#;

/// dockerd beside the machine's, which it doesn't get in the way of: its bridge leads nowhere, and it touches no firewall.
/// Dropping it kills it.
#[derive(Debug)]
pub struct Dockerd {
    child: Child,
    dir: PathBuf,
    _bridge: Bridge,
}

/// A bridge of its own: with none dockerd would remove the machine's.
#[derive(Debug)]
struct Bridge(String);

impl Bridge {
    fn new() -> Self {
        static COUNT: AtomicU8 = AtomicU8::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // No longer than the name of a link may be.
        let bridge = Self(format!("slw{}-{count}", std::process::id()));
        // What is for benchmarks (RFC 2544) is no other network's.
        let address = format!("198.18.{count}.1/24");
        for args in [
            &["link", "add", "name", &bridge.0, "type", "bridge"][..],
            &["address", "add", &address, "dev", &bridge.0],
            &["link", "set", &bridge.0, "up"],
        ] {
            assert!(ip(args), "ip {args:?}");
        }
        bridge
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        ip(&["link", "delete", &self.0]);
    }
}

fn ip(args: &[&str]) -> bool {
    Command::new("ip").args(args).status().is_ok_and(|status| status.success())
}

impl Dockerd {
    /// Starts it with all that it has in this folder, and its address. It listens.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(dir: &Path) -> (Self, String) {
        let (config, socket) = (dir.join("daemon.json"), dir.join("socket"));
        fs::write(&config, fs::read_to_string(MACHINES_CONFIG).unwrap_or_else(|_| CONFIG.to_owned()))
            .expect("write a configuration");
        let address = format!("unix://{}", socket.display());
        let bridge = Bridge::new();
        let mut command = Command::new("dockerd");
        command.args([
            "--bridge",
            &bridge.0,
            "--iptables=false",
            "--ip6tables=false",
            "--ip-forward=false",
            "--host",
            &address,
        ]);
        for (option, name) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
            command.arg(option).arg(dir.join(name));
        }
        let log = File::options().create(true).append(true).open(dir.join("log")).expect("open a log");
        let child = command
            .arg("--config-file")
            .arg(config)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("run dockerd; `make setup` installs it");
        let dockerd = Self { child, dir: dir.to_owned(), _bridge: bridge };
        until("dockerd listens", SOON, || UnixStream::connect(&socket).ok());
        (dockerd, format!("docker://{address}"))
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // Its containerd ends with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Or the next one would be taken to listen already.
        let _ = fs::remove_file(self.dir.join("socket"));
        files::unmount_below(&self.dir);
    }
}
