//! The registry that the peers push to: the same program as slipwayd's own, and as fresh.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::processes;
use crate::scene::Scene;
use crate::service::{answers, free_address, in_own_group};

/// The names that Distribution's program goes by.
const PROGRAMS: [&str; 2] = ["registry", "docker-registry"];
const PATIENCE: Duration = Duration::from_secs(20);

/// A Distribution registry on loopback, without credentials. Dropping it ends it and removes its data.
#[derive(Debug)]
pub(crate) struct Registry {
    dir: PathBuf,
    child: Child,
    address: SocketAddr,
}

impl Registry {
    /// Starts it, and waits until it answers.
    pub(crate) async fn start(scene: &Scene, name: &str) -> Result<Self> {
        let program =
            PROGRAMS.iter().find_map(|name| on_path(name)).context("no registry program: run `make setup`")?;
        let dir = scene.folder(name)?;
        let address = free_address()?;
        let config = dir.join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: warn, accesslog: {{disabled: true}}}}\nstorage:\n  filesystem: {{rootdirectory: {:?}}}\n\
             http: {{addr: \"{address}\"}}\n",
            dir.join("data").to_string_lossy()
        );
        fs::write(&config, text).context("write the registry's configuration")?;
        let log = File::create(dir.join("log")).context("write the registry's log")?;
        let mut command = Command::new(program);
        command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = in_own_group(&mut command).spawn().context("start the registry")?;
        let registry = Self { dir, child, address };
        let start = Instant::now();
        while !answers(address, "/v2/").await {
            if start.elapsed() > PATIENCE {
                bail!("the registry does not answer:\n{}", fs::read_to_string(registry.dir.join("log"))?);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(registry)
    }

    /// A name in it.
    pub(crate) fn image(&self, service: &str, tag: &str) -> String {
        format!("{}/bench/{service}:{tag}", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        processes::end(&self.dir);
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The program of this name in PATH.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}
