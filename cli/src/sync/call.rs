//! One call of the sync: one thread reads, others compress, and the connection takes frames as fast as it can.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Instant;

use slipway_context::Digest;
use slipway_proto::v1::{
    SyncCheck, SyncOpen, SyncRequest, SyncResponse, sync_request::Kind, sync_response::Kind as Answer,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

use super::bar::Bar;
use super::blobs::{Blobs, Item};
use super::compress::{Balance, History, Level};
use super::frames::{Frame, Gone};
use super::pace::Pace;
use super::plan::Plan;
use super::read::{ReadError, read};
use super::{Client, LONG_CALL, Status, SyncError, is_transient};

/// Frames that are being compressed, or are ready: on a small machine two keep ahead of most links.
const COMPRESSORS: usize = 3;

/// Why a call ended before everything was there.
#[derive(Debug)]
pub(super) enum Stop {
    /// The connection broke.
    Cut(Status),
    /// There is no use in trying again.
    Failed(SyncError),
}

impl From<SyncError> for Stop {
    fn from(error: SyncError) -> Self {
        Self::Failed(error)
    }
}

/// What all calls of one sync share.
#[derive(Debug)]
pub(super) struct Calls<'a> {
    pub(super) client: &'a Client,
    pub(super) job: &'a str,
    pub(super) blobs: Arc<Blobs>,
    pub(super) plan: Plan,
    pub(super) level: Arc<Level>,
    pub(super) bar: Bar,
    /// What the link takes: the same one, most likely, as in the call before.
    pub(super) pace: Pace,
}

impl Calls<'_> {
    /// Sends `first`, asks, and sends what is asked for until nothing is. The second value: whether the service was there.
    pub(super) async fn call(&mut self, first: Vec<Item>) -> (Result<(), Stop>, bool) {
        let (requests, stream) = mpsc::channel(1);
        let (tell, heard) = mpsc::channel(4);
        let mut context = self.client.context();
        let listen = async {
            match context.sync(ReceiverStream::new(stream)).await {
                Err(status) => drop(tell.send(Err(status)).await),
                Ok(answers) => {
                    let mut answers = answers.into_inner();
                    loop {
                        let next = answers.message().await.transpose();
                        let next = next.unwrap_or_else(|| Err(Status::unavailable("the service ended the sync")));
                        let last = next.is_err();
                        if tell.send(next).await.is_err() || last {
                            break;
                        }
                    }
                }
            }
            // The other side has the last word.
            pending::<()>().await;
        };
        self.bar.begin_call();
        self.pace.begin_call();
        let mut talk = Talk {
            calls: self,
            requests,
            heard,
            history: History::default(),
            balance: Balance::default(),
            listened: false,
        };
        let talked = tokio::select! {
            talked = talk.talk(first) => talked,
            () = listen => Ok(()),
        };
        (talked, talk.listened)
    }
}

/// Our side of one call.
struct Talk<'a, 'b> {
    calls: &'a mut Calls<'b>,
    requests: mpsc::Sender<SyncRequest>,
    heard: mpsc::Receiver<Result<SyncResponse, Status>>,
    history: History,
    balance: Balance,
    listened: bool,
}

type Compressed = ((u64, u64), Kind);

impl Talk<'_, '_> {
    async fn talk(&mut self, first: Vec<Item>) -> Result<(), Stop> {
        let open = SyncOpen { job: self.calls.job.to_owned(), scanned_bytes: self.calls.blobs.scanned_bytes() };
        self.say(Kind::Open(open)).await?;
        let mut items = first;
        loop {
            tracing::info!(blobs = items.len(), "syncing");
            self.send(items).await?;
            self.say(Kind::Check(SyncCheck {})).await?;
            let Some(missing) = self.answer().await? else { return Ok(()) };
            items = self.calls.plan.answer(&missing)?;
        }
    }

    async fn say(&mut self, kind: Kind) -> Result<(), Stop> {
        if self.requests.send(SyncRequest { kind: Some(kind) }).await.is_ok() { Ok(()) } else { self.end().await }
    }

    /// The answer to a check: what is missing, or nothing.
    async fn answer(&mut self) -> Result<Option<Vec<Digest>>, Stop> {
        let mut missing = Vec::new();
        loop {
            match self.hear().await? {
                Answer::Stored(_) => {}
                Answer::Committed(_) => return Ok(None),
                Answer::Missing(part) => {
                    for digest in &part.digests {
                        let unknown = |_| SyncError::Unknown { digest: hex::encode(digest) };
                        missing.push(Digest::try_from(digest.as_slice()).map_err(unknown)?);
                    }
                    if part.last {
                        return Ok(Some(missing));
                    }
                }
            }
        }
    }

    /// The next thing that the service says.
    async fn hear(&mut self) -> Result<Answer, Stop> {
        let heard = tokio::time::timeout(LONG_CALL, self.heard.recv()).await;
        let heard = heard.unwrap_or_else(|_| Some(Err(Status::deadline_exceeded("no answer"))));
        self.take(heard)
    }

    fn take(&mut self, heard: Option<Result<SyncResponse, Status>>) -> Result<Answer, Stop> {
        let client = self.calls.client;
        let status = match heard.unwrap_or_else(|| Err(Status::unavailable("the sync ended"))) {
            Ok(SyncResponse { kind: Some(answer) }) => {
                self.listened = true;
                if let Answer::Stored(stored) = &answer {
                    self.calls.pace.stored(stored.bytes, Instant::now());
                    self.calls.bar.at(stored.bytes);
                }
                return Ok(answer);
            }
            Ok(SyncResponse { kind: None }) => {
                let error = client.malformed("an answer of the sync that this version does not know");
                return Err(Stop::Failed(error.into()));
            }
            Err(status) => status,
        };
        // What is damaged on its way is sent again.
        let again = is_transient(&status) || status.code() == tonic::Code::DataLoss;
        Err(if again { Stop::Cut(status) } else { Stop::Failed(client.error(&status).into()) })
    }

    /// The call takes nothing more: why?
    async fn end<T>(&mut self) -> Result<T, Stop> {
        loop {
            self.hear().await?;
        }
    }

    /// Sends blobs.
    async fn send(&mut self, items: Vec<Item>) -> Result<(), Stop> {
        if items.is_empty() {
            return Ok(());
        }
        self.calls.bar.more(items.iter().map(|item| item.size).sum());
        let (frames, mut queue) = mpsc::channel::<Frame>(1);
        let (blobs, before) = (Arc::clone(&self.calls.blobs), self.calls.pace.begun());
        let sink = move |frame| frames.blocking_send(frame).map_err(|_| Gone);
        let reading = tokio::task::spawn_blocking(move || read(&blobs, &items, before, sink));
        let requests = self.requests.clone();
        let (mut compressing, mut ready, mut more) = (VecDeque::new(), None::<Compressed>, true);
        while more || ready.is_some() || !compressing.is_empty() {
            let (since, waits_for_link) = (Instant::now(), ready.is_some());
            let may_go = ready.is_some() && self.calls.pace.may_send();
            let heard = &mut self.heard;
            tokio::select! {
                permit = requests.reserve(), if may_go => {
                    let Ok(permit) = permit else { return self.end().await };
                    if let Some(((begun, complete), kind)) = ready.take() {
                        self.calls.pace.sent(begun, complete, size(&kind), Instant::now());
                        permit.send(SyncRequest { kind: Some(kind) });
                        self.balance.sent(&self.calls.level);
                    }
                }
                frame = queue.recv(), if more && compressing.len() < COMPRESSORS => match frame {
                    None => more = false,
                    Some(frame) => {
                        let (level, marks) = (Arc::clone(&self.calls.level), frame.marks());
                        let work = self.history.next(frame.bytes);
                        compressing.push_back(tokio::task::spawn_blocking(move || (marks, level.compress(work))));
                    }
                },
                done = first(&mut compressing), if ready.is_none() && !compressing.is_empty() => {
                    ready = Some(done.map_err(SyncError::Panicked)?);
                }
                heard = heard.recv() => match self.take(heard)? {
                    Answer::Stored(_) => {}
                    Answer::Missing(_) | Answer::Committed(_) => {
                        let error = self.calls.client.malformed("an answer that nobody asked for");
                        return Err(Stop::Failed(error.into()));
                    }
                },
            }
            if waits_for_link {
                self.balance.waited_for_link(since.elapsed());
            } else {
                self.balance.waited_for_frames(since.elapsed());
            }
        }
        match reading.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(ReadError::Sync(error))) => Err(error.into()),
            Ok(Err(ReadError::Gone)) => self.end().await,
            Err(panicked) => Err(SyncError::Panicked(panicked).into()),
        }
    }
}

/// The oldest task's result.
async fn first(tasks: &mut VecDeque<JoinHandle<Compressed>>) -> Result<Compressed, tokio::task::JoinError> {
    let Some(task) = tasks.front_mut() else { return pending().await };
    let done = task.await;
    tasks.pop_front();
    done
}

fn size(kind: &Kind) -> usize {
    match kind {
        Kind::ZstdFrame(frame) | Kind::RawFrame(frame) => frame.len(),
        Kind::Open(_) | Kind::Check(_) => 0,
    }
}
