//! SSH agents for the steps of a job's builds: which there are here, and connections to them while the job runs.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use slipway_manifest::options::{MAX_SECRET, OptionKey, SshAgent};
use slipway_manifest::plan::{BuildPlan, Plan, SshAccess};
use slipway_proto::v1::{AgentConnection, AgentData, AttachAgentsRequest};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::client::{Backoff, Client};
use crate::error::Usage;
use crate::output;
use crate::project::Project;

/// Where OpenSSH says that its agent is.
const SOCKET: &str = "SSH_AUTH_SOCK";
/// Bytes in one message.
const PIECE: usize = 32 << 10;
/// Messages on their way to the service.
const QUEUE: usize = 8;
/// `SSH_AGENTC_REMOVE_ALL_IDENTITIES` (draft-miller-ssh-agent); the answer is as long.
const FORGET: [u8; 5] = [0, 0, 0, 1, 19];
/// How long an agent of our own may take to come up.
const START: Duration = Duration::from_secs(5);

/// The agents that a job's builds may use, by their ids.
#[derive(Debug, Default)]
pub(crate) struct Agents {
    sockets: BTreeMap<String, PathBuf>,
    own: Vec<OwnAgent>,
}

/// `--ssh` as options of a build: files are relative to where we are.
pub(crate) fn options(flags: &[String]) -> Result<Vec<(OptionKey, String)>> {
    flags.iter().map(|flag| Ok((OptionKey::Ssh, agent(flag)?.to_string()))).collect()
}

fn agent(flag: &str) -> Result<SshAgent> {
    let mut agent: SshAgent = flag.parse().map_err(|error| Usage::new(format!("--ssh {flag}: {error}")))?;
    // Shells leave the tilde where it doesn't stand at the beginning.
    for file in agent.files.iter_mut().filter(|file| !file.starts_with("~/")) {
        let path = std::path::absolute(&*file)?;
        let path = path.to_str().ok_or_else(|| Usage::new(format!("`{}` is not UTF-8", path.display())))?;
        path.clone_into(file);
    }
    Ok(agent)
}

/// `--ssh` for commands, with the hosts that are known here.
pub(crate) fn access(flag: &str, project: &Project) -> Result<SshAccess> {
    let agent = agent(flag)?;
    let home = project.variable("HOME").filter(|home| !home.is_empty());
    let known_hosts = home.map(|home| known_hosts(&Path::new(home).join(".ssh/known_hosts"))).transpose()?;
    Ok(SshAccess { agent, known_hosts: known_hosts.unwrap_or_default() })
}

fn known_hosts(path: &Path) -> Result<String> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    let mut content = Vec::new();
    file.take(MAX_SECRET as u64 + 1).read_to_end(&mut content).with_context(|| format!("read {}", path.display()))?;
    if content.len() > MAX_SECRET {
        output::warn(format_args!("{} is too large for the commands' SSH: they know no hosts", path.display()));
        return Ok(String::new());
    }
    Ok(String::from_utf8_lossy(&content).into_owned())
}

/// Whether something certainly uses an agent that is here.
pub(crate) fn needs_us(plan: &Plan) -> bool {
    let of_build = |build: &BuildPlan| build.options.ssh.values().any(|agent| agent.variable.is_none());
    let of_commands = plan.ssh.as_ref().is_some_and(|ssh| ssh.agent.variable.is_none());
    of_commands || plan.builds.iter().any(|build| of_build(build) && !build.only_if_missing)
}

impl Agents {
    /// Those of the plan. One that isn't there is an error, unless its build may not be needed. Blocks.
    pub(crate) fn of(plan: &Plan, project: &Project) -> Result<Self> {
        let mut agents = Self::default();
        let mut known = BTreeMap::<&str, &SshAgent>::new();
        for build in &plan.builds {
            for (id, agent) in &build.options.ssh {
                match known.insert(id, agent) {
                    Some(other) if other != agent => {
                        let message = format!("the SSH agent `{id}` of `{}` is another one than before", build.service);
                        return Err(Usage::new(message).hint("give them ids of their own").into());
                    }
                    // The service has its key.
                    None if agent.variable.is_some() => {}
                    Some(_) => {}
                    None => agents.add(&format!("`{}`", build.service), build.only_if_missing, agent, project)?,
                }
            }
        }
        if let Some(SshAccess { agent, .. }) = &plan.ssh {
            match known.insert(&agent.id, agent) {
                Some(other) if other != agent => {
                    let message =
                        format!("the SSH agent `{}` of the commands is another one than of a build", agent.id);
                    return Err(Usage::new(message).hint("give them ids of their own").into());
                }
                None if agent.variable.is_none() => agents.add("the commands", false, agent, project)?,
                _ => {}
            }
        }
        Ok(agents)
    }

    fn add(&mut self, whose: &str, perhaps: bool, agent: &SshAgent, project: &Project) -> Result<()> {
        match self.find(agent, project) {
            Ok(socket) => drop(self.sockets.insert(agent.id.clone(), socket)),
            Err(error) if perhaps => {
                let what = "where it has to be built, a step that uses it fails";
                output::warn(format_args!("SSH agent `{}` of {whose}: {error:#}; {what}", agent.id));
            }
            Err(error) => {
                let message = format!("SSH agent `{}` of {whose}: {error:#}", agent.id);
                let hint = format!("start an agent, or name a private key: `--ssh {}=~/.ssh/id_ed25519`", agent.id);
                return Err(Usage::new(message).hint(hint).into());
            }
        }
        Ok(())
    }

    fn find(&mut self, agent: &SshAgent, project: &Project) -> Result<PathBuf> {
        let home = project.variable("HOME").unwrap_or_default();
        let path = |file: &String| match file.strip_prefix("~/") {
            Some(below) if !home.is_empty() => Path::new(home).join(below),
            _ => project.root.join(file),
        };
        let files: Vec<_> = agent.files.iter().map(path).collect();
        let socket = match files.as_slice() {
            [] => project.variable(SOCKET).filter(|path| !path.is_empty()).map(PathBuf::from),
            [file] if std::fs::metadata(file).is_ok_and(|found| found.file_type().is_socket()) => Some(file.clone()),
            keys => {
                let own = OwnAgent::start(keys)?;
                let socket = own.socket.clone();
                self.own.push(own);
                Some(socket)
            }
        };
        let socket = socket.with_context(|| format!("variable `{SOCKET}` is not set"))?;
        StdUnixStream::connect(&socket).with_context(|| format!("connect to {}", socket.display()))?;
        Ok(socket)
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Serves them to the job's steps until the returned set is dropped.
    pub(crate) fn serve(&self, client: &Client, job: &str) -> JoinSet<()> {
        let mut serving = JoinSet::new();
        if !self.is_empty() {
            serving.spawn(serve(client.clone(), job.to_owned(), self.sockets.clone()));
        }
        serving
    }
}

/// As long as the service can be reached, over as many connections as it takes.
async fn serve(client: Client, job: String, sockets: BTreeMap<String, PathBuf>) {
    let mut backoff = Backoff::new();
    loop {
        let status = match attached(&client, &job, &sockets).await {
            Ok(true) => {
                // Not at once: somebody else may have attached to the job with agents of theirs.
                backoff = Backoff::new();
                tokio::time::sleep(backoff.next()).await;
                continue;
            }
            Ok(false) => Status::unavailable("the service ended the call"),
            Err(status) => status,
        };
        if matches!(status.code(), Code::Unimplemented | Code::NotFound | Code::InvalidArgument | Code::Unauthenticated)
        {
            output::warn(format_args!("builds can't use the SSH agents here: {}", client.error(&status)));
            return;
        }
        tracing::info!(%status, "offering SSH agents again");
        tokio::time::sleep(backoff.next()).await;
    }
}

/// One call; whether it came about.
async fn attached(client: &Client, job: &str, sockets: &BTreeMap<String, PathBuf>) -> Result<bool, Status> {
    let request = AttachAgentsRequest { job: job.to_owned(), ids: sockets.keys().cloned().collect() };
    let mut asked = client.jobs().attach_agents(request).await?.into_inner();
    let (mut connections, mut here) = (JoinSet::new(), false);
    loop {
        let AgentConnection { connection, id } = match asked.message().await {
            Ok(Some(asked)) => asked,
            Ok(None) => return Ok(here),
            Err(status) if here => {
                tracing::info!(%status, "the service broke off");
                return Ok(true);
            }
            Err(status) => return Err(status),
        };
        here = true;
        while connections.try_join_next().is_some() {}
        let Some(socket) = sockets.get(&id).cloned().filter(|_| connection > 0) else { continue };
        let (client, job) = (client.clone(), job.to_owned());
        connections.spawn(async move {
            if let Err(error) = pass(&client, job, connection, &socket).await {
                tracing::info!(%error, connection, "a connection to the SSH agent ended badly");
            }
        });
    }
}

/// One connection of a step to an agent. What reaches the agent is ours to say, not the service's.
async fn pass(client: &Client, job: String, connection: u64, socket: &Path) -> Result<()> {
    let agent = UnixStream::connect(socket).await?;
    let (to_step, queue) = mpsc::channel(QUEUE);
    to_step.send(AgentData { job, connection, data: Vec::new() }).await?;
    let from_step = client.jobs().serve_agent(ReceiverStream::new(queue)).await?.into_inner();
    let from_step = from_step.map(|message| message.map(|message| message.data).map_err(io::Error::other));
    let (answer, mut answers) = mpsc::channel::<Vec<u8>>(1);
    let answering = async move {
        while let Some(answer) = answers.recv().await {
            for piece in answer.chunks(PIECE) {
                to_step.send(AgentData { data: piece.to_vec(), ..AgentData::default() }).await?;
            }
        }
        anyhow::Ok(())
    };
    let (passed, answered) = tokio::join!(slipway_agent_guard::pass(from_step, agent, answer), answering);
    passed?;
    answered
}

/// OpenSSH's agent with some keys, for us alone: it ends some seconds after us, however that comes, and forgets the keys when
/// this is dropped.
#[derive(Debug)]
struct OwnAgent {
    socket: PathBuf,
    /// What the agent lives as long as; its standard input is a pipe from us.
    command: Child,
    _dir: tempfile::TempDir,
}

impl OwnAgent {
    fn start(keys: &[PathBuf]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("slipway-").tempdir()?;
        let socket = dir.path().join("agent");
        // It loads no library for anybody. `cat` ends with the pipe, which ends with us: also when we are killed.
        let command = Command::new("ssh-agent")
            .args(["-P", "none", "-a"])
            .arg(&socket)
            .arg("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("run `ssh-agent`, which private keys need")?;
        let own = Self { socket, command, _dir: dir };
        let began = Instant::now();
        while StdUnixStream::connect(&own.socket).is_err() {
            anyhow::ensure!(began.elapsed() < START, "`ssh-agent` does not come up");
            std::thread::sleep(Duration::from_millis(10));
        }
        // It asks for passphrases itself, on the terminal.
        let added =
            Command::new("ssh-add").arg("-q").args(keys).env(SOCKET, &own.socket).stdout(Stdio::null()).status();
        anyhow::ensure!(
            added.context("run `ssh-add`, which private keys need")?.success(),
            "`ssh-add` takes no such key"
        );
        Ok(own)
    }
}

impl Drop for OwnAgent {
    fn drop(&mut self) {
        // It notices only after some seconds that its command has ended.
        if let Ok(mut agent) = StdUnixStream::connect(&self.socket) {
            let _ = agent.set_read_timeout(Some(Duration::from_secs(1)));
            let _ = agent.write_all(&FORGET).and_then(|()| agent.read_exact(&mut [0; FORGET.len()]));
        }
        let _ = self.command.kill();
        let _ = self.command.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the agent says, and nothing where it is not.
    fn listed(socket: &Path) -> Option<String> {
        let listed = Command::new("ssh-add").arg("-l").env(SOCKET, socket).output().unwrap();
        let text = String::from_utf8(listed.stdout).unwrap();
        (listed.status.code() != Some(2)).then_some(text)
    }

    #[test]
    fn an_agent_forgets_its_keys_at_once_and_ends_with_who_started_it() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "ours", "-f"]).arg(&key).status();
        assert!(made.unwrap().success());
        let mut own = OwnAgent::start(std::slice::from_ref(&key)).unwrap();
        // Where a drop doesn't remove it.
        let socket = dir.path().join("agent");
        std::fs::hard_link(&own.socket, &socket).unwrap();
        assert!(listed(&socket).unwrap().contains("ours"));
        // As when we are killed: only the pipe ends.
        drop(own.command.stdin.take());
        let began = Instant::now();
        while listed(&socket).is_some() {
            assert!(began.elapsed() < Duration::from_mins(1), "it goes on");
            std::thread::sleep(Duration::from_millis(100));
        }
        let own = OwnAgent::start(&[key]).unwrap();
        std::fs::remove_file(&socket).unwrap();
        std::fs::hard_link(&own.socket, &socket).unwrap();
        drop(own);
        assert!(!listed(&socket).unwrap_or_default().contains("ours"));
    }
}
