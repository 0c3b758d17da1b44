//! A registry that is not ours.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::image::skopeo;
use crate::process::Server;
use crate::service::{free_address, http_status};
use crate::team::Team;
use crate::wait::{SOON, until};

/// A registry on this machine, which ends when dropped.
#[derive(Debug)]
pub struct Foreign {
    _child: Server,
    /// Where it listens.
    pub address: SocketAddr,
    _dir: TempDir,
}

/// Who may use it, if not everybody.
pub const USER: &str = "robot";
/// That user's password.
pub const PASSWORD: &str = "external-secret";
/// Both as htpasswd writes them.
const HTPASSWD: &str = "robot:$2a$05$abcdefghijklmnopqrstuuAeC9Y./r9VGzMpuVmyiPjlE9rIE6Cgq\n";

impl Foreign {
    /// With a password on it.
    pub fn start() -> Self {
        Self::with(true)
    }

    /// For whoever comes.
    pub fn open() -> Self {
        Self::with(false)
    }

    fn with(password: bool) -> Self {
        let (dir, address) = (tempfile::tempdir().expect("make a folder"), free_address());
        let path = |name: &str| dir.path().join(name).display().to_string();
        fs::write(path("htpasswd"), HTPASSWD).expect("write a file");
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
            path("data")
        );
        if password {
            config += "auth:\n  htpasswd:\n    realm: foreign\n    path: ";
            config += &path("htpasswd");
        }
        fs::write(path("config.yml"), config).expect("write a file");
        let start = |name: &str| {
            let mut command = Command::new(name);
            command.args(["serve", &path("config.yml")]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
        };
        let child = start("registry").or_else(|_| start("docker-registry")).expect("a registry; run `make setup`");
        let answer = if password { 401 } else { 200 };
        until("the foreign registry answers", SOON, || (http_status(address, "/v2/") == Some(answer)).then_some(()));
        Self { _child: Server(child), address, _dir: dir }
    }

    /// Copies an image of a team there, under this name; gives its reference.
    ///
    /// # Panics
    /// When that does not work.
    pub fn take(&self, team: &Team, image: &str, name: &str) -> String {
        let place = format!("{}/{name}", self.address);
        let (from, to) = (format!("docker://{image}"), format!("docker://{place}"));
        let (theirs, ours) = (format!("me:{}", team.token), format!("{USER}:{PASSWORD}"));
        let copy = ["copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"];
        let creds = ["--src-creds", &theirs, "--dest-creds", &ours, &from, &to];
        let answer = skopeo(&[copy.as_slice(), &creds].concat());
        assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
        place
    }
}
