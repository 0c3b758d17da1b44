//! A Docker Engine of a test's own.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::files;
use crate::wait::{SOON, until};

/// What the machine's Docker Engine has: where base images come from, and its image store.
const MACHINES_CONFIG: &str = "/etc/docker/daemon.json";
/// What Slipway needs where the machine's says nothing.
const CONFIG: &str = r#"{"features":{"containerd-snapshotter":true},"insecure-registries":["127.0.0.0/8"]}"#;

/// dockerd beside the machine's, which it doesn't get in the way of: it has no bridge and touches no firewall, so that steps
/// have no network. Dropping it kills it.
#[derive(Debug)]
pub struct Dockerd {
    child: Child,
    dir: PathBuf,
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
        let mut command = Command::new("dockerd");
        command.args([
            "--bridge=none",
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
        let dockerd = Self { child, dir: dir.to_owned() };
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
