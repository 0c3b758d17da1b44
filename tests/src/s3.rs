//! An S3 server that is not ours (versitygw), which checks signatures.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::process::Server;
use crate::service::free_address;
use crate::setup_tool;
use crate::unique;
use crate::wait::{SOON, until};

/// A server with one bucket. Dropping it ends it.
#[derive(Debug)]
pub struct S3 {
    _child: Server,
    dir: TempDir,
    /// Where it listens.
    pub address: SocketAddr,
    /// Who may use it.
    pub access_key: String,
    /// With this.
    pub secret_key: String,
}

/// Its bucket.
pub const BUCKET: &str = "caches";

impl S3 {
    /// It listens.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn start() -> Self {
        let (dir, address) = (tempfile::tempdir().expect("make a folder"), free_address());
        fs::create_dir(dir.path().join(BUCKET)).expect("make a bucket");
        let (access_key, secret_key) = (unique("access"), unique("sesame"));
        let program = setup_tool("versitygw").expect("versitygw; `make setup` makes it");
        let child = Command::new(program)
            .args(["--port", &address.to_string(), "--quiet", "posix"])
            .arg(dir.path())
            .env("ROOT_ACCESS_KEY_ID", &access_key)
            .env("ROOT_SECRET_ACCESS_KEY", &secret_key)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("run versitygw");
        until("the S3 server listens", SOON, || std::net::TcpStream::connect(address).ok().map(drop));
        Self { _child: Server(child), dir, address, access_key, secret_key }
    }

    /// What opens it, as everybody's tools have it.
    pub fn env(&self) -> [(&str, &str); 2] {
        [("AWS_ACCESS_KEY_ID", &self.access_key), ("AWS_SECRET_ACCESS_KEY", &self.secret_key)]
    }

    /// As a cache's option has it.
    pub fn cache(&self) -> String {
        let address = self.address;
        format!("type=s3,region=us-east-1,bucket={BUCKET},endpoint_url=http://{address},use_path_style=true,name=app")
    }

    /// Files in its bucket.
    pub fn objects(&self) -> usize {
        fn count(dir: &std::path::Path) -> usize {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
        }
        count(&self.dir.path().join(BUCKET))
    }
}
