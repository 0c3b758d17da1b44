//! A Docker Engine of a test's own.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::process;
use crate::wait::{SOON, until};

/// What the machine's Docker Engine has.
const MACHINES_CONFIG: &str = "/etc/docker/daemon.json";
/// What of that is about where base images come from.
const TAKEN: [&str; 4] = ["registry-mirrors", "insecure-registries", "proxies", "dns"];
/// Beside a containerd of the machine's, whose socket would be taken, dockerd has one of its own that ends with it.
const ALONE: &str = "[ ! -d /run/containerd ] || mount -t tmpfs none /run/containerd; exec \"$@\"";

/// dockerd beside the machine's, which it doesn't get in the way of: its bridge leads nowhere, and it touches no firewall.
/// Dropping it kills it, and its containerd with it; what is mounted is so for them alone.
#[derive(Debug)]
pub struct Dockerd {
    child: Child,
    dir: PathBuf,
    _bridge: Bridge,
}

impl Dockerd {
    /// Starts it with all that it has in this folder, and its address. It answers.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(dir: &Path) -> (Self, String) {
        let (config, socket) = (dir.join("daemon.json"), dir.join("socket"));
        fs::write(&config, configuration().to_string()).expect("write a configuration");
        let address = format!("unix://{}", socket.display());
        let bridge = Bridge::new();
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", ALONE, "sh", "dockerd", "--bridge", &bridge.0, "--host", &address]);
        command.args(["--iptables=false", "--ip6tables=false", "--ip-forward=false"]);
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
        let mut dockerd = Self { child, dir: dir.to_owned(), _bridge: bridge };
        until("dockerd answers", SOON, || {
            if let Ok(Some(status)) = dockerd.child.try_wait() {
                let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
                panic!("dockerd ended with {status}; `make setup` installs it, and it takes root:\n{log}");
            }
            answers(&socket).then_some(())
        });
        (dockerd, format!("docker://{address}"))
    }

    /// What it has started and has not ended, but for containers.
    fn containerd(&self) -> bool {
        let dir = self.dir.join("exec").display().to_string();
        process::mentioning(&dir).iter().any(|process| process.argv[0].ends_with("containerd"))
    }
}

/// It listens long before it does anything.
fn answers(socket: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else { return false };
    let mut answer = [0; 12];
    stream.set_read_timeout(Some(Duration::from_secs(1))).is_ok()
        && stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer.ends_with(b" 200")
}

fn configuration() -> Value {
    let machines = fs::read(MACHINES_CONFIG).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let machines: Map<String, Value> = machines.unwrap_or_default();
    let mut config = json!({"insecure-registries": ["127.0.0.0/8"]});
    for (key, value) in machines.into_iter().filter(|(key, _)| TAKEN.contains(&key.as_str())) {
        config[key] = value;
    }
    config["features"] = json!({"containerd-snapshotter": true});
    config
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !thread::panicking() {
            until("its containerd has ended", SOON, || (!self.containerd()).then_some(()));
        }
        // What the next one would take to be alive.
        for left in ["socket", "pid", "exec/containerd/containerd.pid"] {
            let _ = fs::remove_file(self.dir.join(left));
        }
    }
}

/// A bridge of its own: with none dockerd would remove the machine's.
#[derive(Debug)]
struct Bridge(String);

impl Bridge {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // No longer than the name of a link may be; by it `scripts/journeys.sh` removes what a killed test left.
        let bridge = Self(format!("slw{}-{count}", std::process::id()));
        // What is for benchmarks (RFC 2544) is no other network's.
        let network = (std::process::id() * 16 + count) % 512;
        let address = format!("198.{}.{}.1/24", 18 + network / 256, network % 256);
        for args in [
            &["link", "add", "name", &bridge.0, "type", "bridge"][..],
            &["address", "add", &address, "dev", &bridge.0],
            &["link", "set", &bridge.0, "up"],
        ] {
            assert!(ip(args), "`ip {}` failed; journeys with engines of their own take root", args.join(" "));
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
