//! A buildkitd of a test's own.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::wait::{SOON, until};
use crate::{files, setup_tool};

/// What `make setup` gives the machine's buildkitd.
const SETUP_CONFIG: &str = "/var/lib/slipway-setup/buildkitd.toml";

/// A buildkitd whose steps run on the host's network. Dropping it kills it.
#[derive(Debug)]
pub struct Buildkitd {
    child: Child,
    dir: PathBuf,
}

impl Buildkitd {
    /// Starts it at this address, with its data and its log in this folder. Nothing in its environment is changed.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn start(dir: &Path, address: &str, args: &[&str]) -> Self {
        Self::start_by(Command::new(program()), dir, address, args)
    }

    fn start_by(mut command: Command, dir: &Path, address: &str, args: &[&str]) -> Self {
        let child = command
            .args(["--addr", address, "--oci-worker-net", "host", "--root"])
            .arg(dir.join("root"))
            .args(args)
            // What it mounts while it copies, it mounts there.
            .env("TMPDIR", dir)
            .stdout(Stdio::null())
            .stderr(File::create(dir.join("log")).expect("make a log"))
            .spawn()
            .expect("run buildkitd; `make setup` installs it");
        Self { child, dir: dir.to_owned() }
    }

    /// The same as [`Buildkitd::with_mirrors`], for which these names are this machine.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn with_names(dir: &Path, names: &str) -> (Self, String) {
        let hosts = dir.join("hosts");
        fs::write(&hosts, format!("127.0.0.1 localhost {names}\n")).expect("write names");
        // Its own view of the file, and of nothing else.
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"", "sh"]);
        command.arg(hosts).arg(program());
        Self::with_mirrors_by(command, dir)
    }

    /// One on a socket in this folder that takes base images from where the machine's buildkitd takes them, and its address. It
    /// listens.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn with_mirrors(dir: &Path) -> (Self, String) {
        Self::with_mirrors_by(Command::new(program()), dir)
    }

    /// The same as [`Buildkitd::with_mirrors`], with an emulator for riscv64 where BuildKit's own image has its emulators.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn with_emulator(dir: &Path) -> (Self, String) {
        let emulator = setup_tool("buildkit-qemu-riscv64").expect("an emulator; `make setup` brings it");
        let mut path = emulator.parent().expect("its folder").as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").expect("a PATH"));
        let mut command = Command::new(program());
        command.env("PATH", path);
        Self::with_mirrors_by(command, dir)
    }

    fn with_mirrors_by(command: Command, dir: &Path) -> (Self, String) {
        let config = fs::read_to_string(SETUP_CONFIG).expect("read buildkitd's configuration; `make setup` writes it");
        // Its registries only: the rest is the other one's.
        let registries = config.find("[registry").map(|at| config[at..].to_owned()).unwrap_or_default();
        let path = dir.join("buildkitd.toml");
        fs::write(&path, registries).expect("write a configuration");
        let socket = dir.join("socket");
        let address = format!("unix://{}", socket.display());
        let buildkitd = Self::start_by(command, dir, &address, &["--config", &path.display().to_string()]);
        until("buildkitd listens", SOON, || UnixStream::connect(&socket).ok());
        (buildkitd, address)
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }
}

fn program() -> PathBuf {
    setup_tool("buildkitd").unwrap_or_else(|| PathBuf::from("buildkitd"))
}

impl Drop for Buildkitd {
    fn drop(&mut self) {
        self.kill();
        files::unmount_below(&self.dir);
    }
}
