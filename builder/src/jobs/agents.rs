//! SSH agents of callers, for as long as these are there: from a step in the engine to the caller's machine.
//!
//! ```text
//! RUN --mount=type=ssh ─► BuildKit ─► session, in the job's process ─► socket ─► service ─► ServeAgent ─► slipway ─► agent
//! ```
//!
//! The socket is the service's; a connection begins with a line of JSON that says what is wanted, and a line that says
//! whether it can be had. Nothing of what passes is kept or looked at.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, mpsc};

use super::{Jobs, JobsError};
use crate::auth::Caller;
use crate::names::JobId;

const SOCKET: &str = "agents.sock";
/// Connections that are asked for and not served yet.
const QUEUE: usize = 64;
/// The same, of one job: each holds a descriptor of the service's.
const MAX_WAITING: usize = 64;
/// How long a caller is waited for: to come (back) with its agents, and to serve a connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a service is looked for that is away.
const AGAIN: Duration = Duration::from_millis(100);
/// The longest first line.
const LONGEST: u64 = 1024;

/// What a job's process wants.
#[derive(Debug, Serialize, Deserialize)]
struct Wanted {
    job: JobId,
    id: String,
    /// Or only to know whether it is there.
    connect: bool,
}

/// The answer to what is wanted.
#[derive(Debug, Serialize, Deserialize)]
struct Given {
    error: Option<String>,
}

/// A connection that a caller is to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Its number, from 1.
    pub connection: u64,
    /// Which agent.
    pub id: String,
}

/// The agents that are there.
#[derive(Debug, Default)]
pub(super) struct Agents {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    attached: HashMap<JobId, Attached>,
    /// Connections that nobody serves yet.
    waiting: HashMap<u64, (JobId, UnixStream)>,
    last: u64,
}

#[derive(Debug)]
struct Attached {
    ids: Vec<String>,
    asks: mpsc::Sender<Asked>,
}

impl Agents {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How to ask for connections of this job, once its caller is there.
    async fn attached(&self, job: JobId, id: &str) -> Result<mpsc::Sender<Asked>, String> {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                let mut changed = std::pin::pin!(changed);
                // From here on it hears of changes.
                changed.as_mut().enable();
                match self.state().attached.get(&job).filter(|attached| !attached.asks.is_closed()) {
                    Some(attached) if attached.ids.iter().any(|known| known == id) => return Ok(attached.asks.clone()),
                    Some(_) => return Err(format!("the caller gave no SSH agent `{id}`")),
                    None => {}
                }
                changed.await;
            }
        };
        let nobody = |_| Err(format!("the caller with the SSH agent `{id}` is not there"));
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(nobody)
    }

    /// One connection of a job's process.
    async fn take(&self, stream: UnixStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        let wanted: Wanted = read_line(&mut stream).await?;
        let mut found = self.attached(wanted.job, &wanted.id).await;
        if wanted.connect && self.state().waiting.values().filter(|(job, _)| *job == wanted.job).count() >= MAX_WAITING
        {
            found = Err(format!("{MAX_WAITING} connections to the caller's SSH agents are waiting already"));
        }
        let given = Given { error: found.as_ref().err().cloned() };
        // It sends nothing before the answer, so nothing is in the buffer.
        let mut stream = stream.into_inner();
        stream.write_all(&line(&given)?).await?;
        let (Ok(asks), true) = (found, wanted.connect) else { return Ok(()) };
        let connection = {
            let mut state = self.state();
            state.last += 1;
            let connection = state.last;
            state.waiting.insert(connection, (wanted.job, stream));
            connection
        };
        let asked = tokio::time::timeout(PATIENCE, asks.send(Asked { connection, id: wanted.id })).await;
        if asked.is_ok_and(|asked| asked.is_ok()) {
            tokio::time::sleep(PATIENCE).await;
        }
        // Dropping it ends it.
        self.state().waiting.remove(&connection);
        Ok(())
    }
}

impl Jobs {
    /// Takes connections of jobs' processes until it is dropped.
    pub async fn pass_agents_on(&self) -> io::Result<()> {
        let path = self.inner.data_dir.join(SOCKET);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (_dir, path) = short(&self.inner.data_dir)?;
        let listener = UnixListener::bind(path)?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let jobs = self.clone();
                    tokio::spawn(async move {
                        if let Err(error) = jobs.inner.agents.take(stream).await {
                            tracing::debug!(%error, "a job's process broke off");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "can't take a connection of a job's process");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// The caller of a job has these agents, as long as it takes what is asked. One that comes again takes the place of the one
    /// before.
    pub async fn attach_agents(
        &self,
        caller: &Caller,
        job: &str,
        ids: Vec<String>,
    ) -> Result<mpsc::Receiver<Asked>, JobsError> {
        let job = self.own(caller, job).await?;
        let (asks, asked) = mpsc::channel(QUEUE);
        {
            let mut state = self.inner.agents.state();
            state.attached.retain(|_, attached| !attached.asks.is_closed());
            state.attached.insert(job, Attached { ids, asks });
        }
        self.inner.agents.changed.notify_waiters();
        Ok(asked)
    }

    /// The connection that its caller was asked to serve.
    pub async fn take_agent(&self, caller: &Caller, job: &str, connection: u64) -> Result<UnixStream, JobsError> {
        let job = self.own(caller, job).await?;
        let gone = || JobsError::Invalid(format!("there is no connection {connection}, or not any more"));
        let mut state = self.inner.agents.state();
        if state.waiting.get(&connection).is_none_or(|(of, _)| *of != job) {
            return Err(gone());
        }
        state.waiting.remove(&connection).map(|(_, stream)| stream).ok_or_else(gone)
    }

    /// A job of the caller's own: steps must not meet an agent of somebody else's.
    async fn own(&self, caller: &Caller, job: &str) -> Result<JobId, JobsError> {
        let row = self.get(caller, job).await?;
        if row.owner == caller.user {
            return Ok(row.id);
        }
        Err(JobsError::Invalid(format!("job {job} is not yours: only who submitted it can give it SSH agents")))
    }
}

/// From a job's process: a connection to an agent of the caller's, or (without `connect`) only whether there is one.
pub async fn dial(data_dir: &Path, job: JobId, id: &str, connect: bool) -> io::Result<UnixStream> {
    let dialing = async {
        let (_dir, path) = short(data_dir)?;
        let mut stream = loop {
            match UnixStream::connect(&path).await {
                Ok(stream) => break stream,
                // A service that starts again is back soon.
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        };
        stream.write_all(&line(&Wanted { job, id: id.to_owned(), connect })?).await?;
        // Byte by byte: what comes after the answer is the agent's.
        let mut answer = Vec::new();
        while answer.last() != Some(&b'\n') && answer.len() < LONGEST as usize {
            answer.push(stream.read_u8().await?);
        }
        let given: Given = serde_json::from_slice(&answer)?;
        given.error.map_or(Ok(stream), |error| Err(io::Error::other(error)))
    };
    let silent = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "the service does not answer"));
    tokio::time::timeout(PATIENCE * 2, dialing).await.unwrap_or_else(silent)
}

/// A path to the socket that fits into a socket's address (108 bytes), however long the folder's is; it holds as long as the
/// folder's descriptor.
fn short(data_dir: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let dir: OwnedFd = std::fs::File::open(data_dir)?.into();
    let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd()));
    Ok((dir, path))
}

fn line<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

async fn read_line<T: serde::de::DeserializeOwned>(stream: &mut BufReader<UnixStream>) -> io::Result<T> {
    let mut line = Vec::new();
    let reading = async { stream.take(LONGEST).read_until(b'\n', &mut line).await };
    let silent = |_| Err(io::Error::from(io::ErrorKind::TimedOut));
    tokio::time::timeout(PATIENCE, reading).await.unwrap_or_else(silent)?;
    Ok(serde_json::from_slice(&line)?)
}

#[cfg(test)]
mod tests {
    use slipway_context::Digest;

    use super::*;
    use crate::jobs::cleaning::tests::Service;
    use crate::jobs::state::JobState;

    async fn service() -> (Service, JobId, Caller, tokio::task::JoinHandle<()>) {
        let service = Service::start().await;
        let job = service.job(Digest::of(b"tree"), JobState::Running).await;
        let row = service.jobs.inner.db.job(job).await.unwrap().unwrap();
        let owner = Caller { user: row.owner, admin: false, namespaces: vec![row.namespace] };
        let jobs = service.jobs.clone();
        let passing = tokio::spawn(async move { drop(jobs.pass_agents_on().await) });
        let socket = service.jobs.inner.data_dir.join(SOCKET);
        while !socket.exists() {
            tokio::task::yield_now().await;
        }
        (service, job, owner, passing)
    }

    #[tokio::test]
    async fn a_step_talks_with_the_callers_agent() {
        let (service, job, owner, passing) = service().await;
        let data_dir = service.jobs.inner.data_dir.clone();
        let mut asked = service.jobs.attach_agents(&owner, &job.to_string(), vec!["default".to_owned()]).await.unwrap();
        dial(&data_dir, job, "default", false).await.unwrap();
        assert_eq!(
            dial(&data_dir, job, "other", false).await.unwrap_err().to_string(),
            "the caller gave no SSH agent `other`"
        );
        let mut step = dial(&data_dir, job, "default", true).await.unwrap();
        let Asked { connection, id } = asked.recv().await.unwrap();
        assert_eq!(id, "default");
        let mut agent = service.jobs.take_agent(&owner, &job.to_string(), connection).await.unwrap();
        step.write_all(b"sign this").await.unwrap();
        step.shutdown().await.unwrap();
        let mut heard = String::new();
        agent.read_to_string(&mut heard).await.unwrap();
        agent.write_all(b"signed").await.unwrap();
        drop(agent);
        let mut answer = String::new();
        step.read_to_string(&mut answer).await.unwrap();
        assert_eq!((heard.as_str(), answer.as_str()), ("sign this", "signed"));
        let again = service.jobs.take_agent(&owner, &job.to_string(), connection).await;
        assert!(again.is_err(), "once");
        passing.abort();
    }

    #[tokio::test]
    async fn connections_that_nobody_serves_are_few() {
        let (service, job, owner, passing) = service().await;
        let data_dir = service.jobs.inner.data_dir.clone();
        let _asked = service.jobs.attach_agents(&owner, &job.to_string(), vec!["default".to_owned()]).await.unwrap();
        for _ in 0..MAX_WAITING {
            // A step that goes away at once leaves it waiting.
            drop(dial(&data_dir, job, "default", true).await.unwrap());
        }
        while service.jobs.inner.agents.state().waiting.len() < MAX_WAITING {
            tokio::task::yield_now().await;
        }
        let error = dial(&data_dir, job, "default", true).await.unwrap_err();
        assert!(error.to_string().contains("are waiting already"), "{error}");
        dial(&data_dir, job, "default", false).await.unwrap();
        passing.abort();
    }

    #[tokio::test]
    async fn nobody_gives_agents_to_somebody_elses_job() {
        let (service, job, owner, passing) = service().await;
        let colleague = Caller { user: "somebody else".to_owned(), ..owner.clone() };
        let stranger = Caller { namespaces: Vec::new(), ..owner };
        for caller in [colleague, stranger] {
            assert!(service.jobs.attach_agents(&caller, &job.to_string(), Vec::new()).await.is_err());
            assert!(service.jobs.take_agent(&caller, &job.to_string(), 1).await.is_err());
        }
        passing.abort();
    }
}
