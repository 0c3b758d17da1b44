//! SSH agents for private keys that the service keeps: OpenSSH's own, one for each build that names one.
//!
//! The key goes to the agent by a pipe, and is in its memory only; the agent ends with the build.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

/// Where OpenSSH looks for an agent.
const SOCKET: &str = "SSH_AUTH_SOCK";
/// How long it may take to come up and take the key.
const START: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(10);

/// An agent with one key. Dropping it ends it.
#[derive(Debug)]
pub(super) struct HeldKey {
    socket: PathBuf,
    _agent: Child,
    _dir: tempfile::TempDir,
}

impl HeldKey {
    /// With this private key, as OpenSSH's files have them, without a passphrase.
    pub(super) async fn start(key: &[u8]) -> io::Result<Self> {
        let slow = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "`ssh-agent` does not come up"));
        tokio::time::timeout(START, Self::start_with(key)).await.unwrap_or_else(slow)
    }

    async fn start_with(key: &[u8]) -> io::Result<Self> {
        // In the system's own folder: a socket's path is short.
        let dir = tempfile::Builder::new().prefix("slipway-").tempdir()?;
        let socket = dir.path().join("agent");
        let agent = command("ssh-agent").arg("-D").arg("-a").arg(&socket).spawn();
        let held = Self { socket, _agent: agent.map_err(|error| run("ssh-agent", &error))?, _dir: dir };
        while UnixStream::connect(&held.socket).await.is_err() {
            tokio::time::sleep(AGAIN).await;
        }
        // Without a terminal and a program that asks for one, a passphrase is an error.
        let mut adding = command("ssh-add");
        let adding = adding.args(["-q", "-"]).env(SOCKET, &held.socket).env("SSH_ASKPASS_REQUIRE", "never");
        let mut adding = adding.stdin(Stdio::piped()).spawn().map_err(|error| run("ssh-add", &error))?;
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

    pub(super) fn socket(&self) -> &Path {
        &self.socket
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
    use super::*;

    #[tokio::test]
    async fn what_is_no_key_is_refused_and_leaves_nothing() {
        let error = HeldKey::start(b"not a key").await.unwrap_err();
        assert!(error.to_string().contains("no private key"), "{error}");
    }
}
