//! SSH agents for private keys that the service keeps: OpenSSH's own, one for each build that names one.
//!
//! The key goes to the agent by a pipe, and is in its memory only. The agent ends some seconds after the build, also when the job's
//! process is killed.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use slipway_manifest::options::SshAgent;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdin, Command};

use super::Pipeline;
use super::failure::Failure;
use crate::buildkit::session::ssh::{Agents, Dial};
use crate::jobs;

/// Where OpenSSH looks for an agent.
const SOCKET: &str = "SSH_AUTH_SOCK";
/// How long it may take to come up and take the key.
const START: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(10);

/// An agent with one key. Dropping it ends it.
#[derive(Debug)]
pub(super) struct HeldKey {
    socket: PathBuf,
    /// What the agent lives as long as, and what that lives as long as.
    _command: Child,
    _open: ChildStdin,
    _dir: tempfile::TempDir,
}

impl Pipeline {
    /// These SSH agents: the caller's, and those of keys that the service keeps, as long as these are not dropped. `whose` says
    /// for what they are.
    pub(super) async fn agents(
        &self,
        agents: &BTreeMap<String, SshAgent>,
        whose: &str,
    ) -> Result<(Agents, BTreeMap<String, HeldKey>), Failure> {
        let mut held = BTreeMap::new();
        for agent in agents.values() {
            let Some(name) = &agent.variable else { continue };
            let failed = |problem: String| {
                let (whose, id) = (whose.to_owned(), agent.id.clone());
                Failure::SshKey { whose, id, message: format!("variable `{name}`: {problem}") }
            };
            let key = self.secrets.variable(name).ok_or_else(|| failed("it is not set".to_owned()))?;
            let started = self.unless_cancelled(HeldKey::start(key.expose_secret())).await?;
            held.insert(agent.id.clone(), started.map_err(|error| failed(error.to_string()))?);
        }
        let sockets: BTreeMap<String, PathBuf> =
            held.iter().map(|(id, key)| (id.clone(), key.socket.clone())).collect();
        let (data_dir, job) = (self.data_dir.clone(), self.spec.job);
        let dial: Dial = Arc::new(move |id, connect| {
            let (data_dir, socket) = (data_dir.clone(), sockets.get(&id).cloned());
            Box::pin(async move {
                match socket {
                    Some(socket) => UnixStream::connect(socket).await,
                    None => jobs::agents::dial(&data_dir, job, &id, connect).await,
                }
            })
        });
        Ok((Agents::new(agents.keys().cloned().collect(), dial), held))
    }
}

impl HeldKey {
    /// With this private key, as OpenSSH's files have them, without a passphrase.
    async fn start(key: &[u8]) -> io::Result<Self> {
        let slow = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "`ssh-agent` does not come up, or takes no key"));
        tokio::time::timeout(START, Self::start_with(key)).await.unwrap_or_else(slow)
    }

    async fn start_with(key: &[u8]) -> io::Result<Self> {
        // In the system's own folder: a socket's path is short.
        let dir = tempfile::Builder::new().prefix("slipway-").tempdir()?;
        let socket = dir.path().join("agent");
        // No library is loaded for anybody. The agent ends with its command, which ends with our end of the pipe: also when we are
        // killed.
        let mut agent = command("ssh-agent");
        agent.args(["-P", "none", "-a"]).arg(&socket).arg("cat").stdin(Stdio::piped());
        let mut child = agent.spawn().map_err(|error| run("ssh-agent", &error))?;
        let open = child.stdin.take().ok_or_else(|| io::Error::other("no pipe to `ssh-agent`"))?;
        let held = Self { socket, _command: child, _open: open, _dir: dir };
        while UnixStream::connect(&held.socket).await.is_err() {
            tokio::time::sleep(AGAIN).await;
        }
        // Whoever has to be asked for a passphrase says nothing, whether there is a terminal or not.
        let mut adding = command("ssh-add");
        adding.args(["-q", "-"]).env(SOCKET, &held.socket).stdin(Stdio::piped());
        adding.envs([("SSH_ASKPASS_REQUIRE", "force"), ("SSH_ASKPASS", "false")]);
        let mut adding = adding.spawn().map_err(|error| run("ssh-add", &error))?;
        if let Some(mut to_add) = adding.stdin.take() {
            to_add.write_all(key).await?;
            // It takes no last line without an end.
            to_add.write_all(b"\n").await?;
        }
        if adding.wait().await?.success() {
            return Ok(held);
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it holds no private key that `ssh-add` takes without a passphrase",
        ))
    }
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command
}

fn run(program: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("run `{program}`, which SSH keys of the service need: {error}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command as StdCommand;

    use super::*;

    /// A key file's content.
    fn key(dir: &Path, passphrase: &str) -> Vec<u8> {
        let path = dir.join(format!("key{}", passphrase.len()));
        let made =
            StdCommand::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", passphrase, "-f"]).arg(&path).status();
        assert!(made.unwrap().success());
        std::fs::read(path).unwrap()
    }

    /// Processes with this in their command line.
    fn processes(text: &str) -> usize {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let lines = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        lines.filter(|line| String::from_utf8_lossy(line).contains(text)).count()
    }

    #[tokio::test]
    async fn what_is_no_key_or_has_a_passphrase_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for key in [b"not a key".to_vec(), key(dir.path(), "open sesame")] {
            let error = HeldKey::start(&key).await.unwrap_err();
            assert!(error.to_string().contains("no private key"), "{error}");
        }
    }

    #[tokio::test]
    async fn an_agent_ends_with_who_started_it_also_where_that_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let held = HeldKey::start(&key(dir.path(), "")).await.unwrap();
        let socket = held.socket.clone();
        let name = socket.to_str().unwrap();
        assert_eq!(processes(name), 1, "the agent");
        // As when we are killed: nothing is done but that our end of the pipe is gone.
        let HeldKey { _command: command, _open: open, _dir: own, .. } = held;
        std::mem::forget(command);
        drop(open);
        // It looks every ten seconds.
        for _ in 0..300 {
            if processes(name) == 0 {
                drop(own);
                assert!(!socket.exists() && !socket.parent().unwrap().exists());
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it is still there");
    }
}
