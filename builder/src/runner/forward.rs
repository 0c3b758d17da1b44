//! Connections from inside the runner: the agent accepts them on loopback ports, and we make them from here.
//!
//! Each direction of a stream has a window of [`WINDOW`] bytes; what was passed on is given back as credit.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use slipway_runner_agent::{BLOCK, MAX_STREAMS, StreamFrame, ToAgent, WINDOW};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::network::{Connection, Proxy};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a target that reads no more may take for its answer.
const LAST_ANSWER: Duration = Duration::from_secs(10);
/// How long what both ends have done with may be on its way.
const LAST_BYTES: Duration = Duration::from_mins(1);

type Frames = mpsc::Sender<ToAgent>;

/// Where connections to a port lead.
#[derive(Debug, Clone)]
pub enum Lead {
    /// To an address.
    Address(SocketAddr),
    /// To a proxy that asks where.
    Proxy(Proxy),
}

/// The streams of one runner. Dropping it ends them.
#[derive(Debug)]
pub struct Forwarder {
    targets: BTreeMap<u16, Lead>,
    frames: Frames,
    streams: HashMap<u32, Stream>,
    /// For streams until they are over, also those that the agent has forgotten and that have something on its way here.
    room: Arc<Semaphore>,
    /// Streams that there was no room for.
    refused: mpsc::Sender<u32>,
    ended: CancellationToken,
}

#[derive(Debug)]
struct Stream {
    /// Data from inside; the window bounds it. Gone after the stream's end from that side.
    incoming: Option<mpsc::UnboundedSender<Vec<u8>>>,
    /// Bytes from inside that were not yet passed on and given back as credit.
    unread: Arc<Semaphore>,
    /// Bytes that we may send.
    credit: Arc<Semaphore>,
    closed: CancellationToken,
}

impl Forwarder {
    /// To these targets by the port inside.
    pub fn new(targets: BTreeMap<u16, Lead>, frames: Frames) -> Self {
        let room = Arc::new(Semaphore::new(2 * MAX_STREAMS));
        let (refused, mut ids) = mpsc::channel(MAX_STREAMS);
        let resets = frames.clone();
        // Until the forwarder is gone.
        tokio::spawn(async move {
            while let Some(id) = ids.recv().await {
                if resets.send(ToAgent::Stream(StreamFrame::Reset { id })).await.is_err() {
                    return;
                }
            }
        });
        Self { targets, frames, streams: HashMap::new(), room, refused, ended: CancellationToken::new() }
    }

    /// A process inside has connected to a port.
    pub fn open(&mut self, id: u32, port: u16) {
        self.streams.retain(|_, stream| !stream.closed.is_cancelled());
        let Some(room) = Arc::clone(&self.room).try_acquire_owned().ok().filter(|_| !self.streams.contains_key(&id))
        else {
            // There is room for as many as an agent has. It counts up, too; but who has the container may have the agent.
            let _ = self.refused.try_send(id);
            return;
        };
        let closed = self.ended.child_token();
        let (incoming, queue) = mpsc::unbounded_channel();
        let window = || Arc::new(Semaphore::new(WINDOW as usize));
        let (unread, credit) = (window(), window());
        let stream =
            Stream { incoming: Some(incoming), unread: unread.clone(), credit: credit.clone(), closed: closed.clone() };
        self.streams.insert(id, stream);
        let (target, frames) = (self.targets.get(&port).cloned(), self.frames.clone());
        tokio::spawn(async move {
            let _room = room;
            let serve = async {
                let Some(target) = target else { return false };
                let Ok(Ends { read, write, broken, mut rest }) = target.connect(&closed).await else { return false };
                let inward = inward(id, read, &broken, &frames, &credit);
                let outward = outward(id, write, queue, &frames, &unread);
                let (answered, asked) = both(inward, outward).await;
                let whole = answered && asked;
                if whole {
                    // What was written is on its way until nobody is left.
                    let _ = tokio::time::timeout(LAST_BYTES, rest.recv()).await;
                }
                whole
            };
            // Also when the stream was ended from our side; a stream that the agent reset ignores it. After an end it means that
            // nothing more is read.
            if closed.run_until_cancelled(serve).await != Some(true) {
                let _ = frames.send(ToAgent::Stream(StreamFrame::Reset { id })).await;
            }
            closed.cancel();
        });
    }

    /// A frame of a stream; one of a stream that has ended is late and means nothing.
    pub fn frame(&mut self, frame: StreamFrame) {
        let id = frame.id();
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let ok = match frame {
            StreamFrame::Data { bytes, .. } => {
                // More than the window, or nothing, which costs none: the agent never does that.
                let fits = stream.unread.try_acquire_many(bytes.len() as u32).map(tokio::sync::SemaphorePermit::forget);
                let fits = fits.is_ok() && !bytes.is_empty();
                // Who reads no more may still answer: what comes for it is dropped, and no credit given for more.
                let send = |incoming: &mpsc::UnboundedSender<_>| drop(incoming.send(bytes));
                fits && stream.incoming.as_ref().map(send).is_some()
            }
            StreamFrame::End { .. } => {
                stream.incoming = None;
                true
            }
            StreamFrame::Reset { .. } => false,
            StreamFrame::Window { credit, .. } => {
                let room = (WINDOW as usize).saturating_sub(stream.credit.available_permits());
                stream.credit.add_permits((credit as usize).min(room));
                true
            }
        };
        if !ok {
            stream.closed.cancel();
            self.streams.remove(&id);
        }
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

/// A connection to where it leads.
struct Ends {
    read: Box<dyn AsyncRead + Send + Unpin>,
    write: Box<dyn AsyncWrite + Send + Unpin>,
    /// Cancelled where the end of what is read is none.
    broken: CancellationToken,
    /// Ends when nobody in between has anything left.
    rest: mpsc::Receiver<()>,
}

impl Lead {
    async fn connect(self, closed: &CancellationToken) -> io::Result<Ends> {
        let (broken, (alive, rest)) = (CancellationToken::new(), mpsc::channel(1));
        let (read, write): (Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>) = match self {
            Self::Address(address) => {
                let socket = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await??;
                let _ = socket.set_nodelay(true);
                let (read, write) = socket.into_split();
                (Box::new(read), Box::new(write))
            }
            Self::Proxy(proxy) => {
                let (ours, its) = tokio::io::duplex(BLOCK);
                let connection = Connection { closed: closed.clone(), broken: broken.clone(), alive };
                tokio::spawn(proxy.serve(its, connection));
                let (read, write) = tokio::io::split(ours);
                (Box::new(read), Box::new(write))
            }
        };
        Ok(Ends { read, write, broken, rest })
    }
}

/// Both directions of a connection, from there and to there; each says whether it came to its end. One that broke ends both, but who
/// reads no more may have something to say.
pub(super) async fn both(from: impl Future<Output = bool>, to: impl Future<Output = bool>) -> (bool, bool) {
    let (mut from, mut to) = (pin!(from), pin!(to));
    tokio::select! {
        from = &mut from => (from, from && to.await),
        to = &mut to => {
            let answered =
                if to { from.await } else { tokio::time::timeout(LAST_ANSWER, from).await.unwrap_or_default() };
            (answered, to)
        }
    }
}

/// From the target to the inside; `false` when the connection broke.
async fn inward(
    id: u32,
    mut read: impl AsyncRead + Unpin,
    broken: &CancellationToken,
    frames: &Frames,
    credit: &Semaphore,
) -> bool {
    let mut buffer = vec![0; BLOCK];
    loop {
        let Ok(n) = read.read(&mut buffer).await else { return false };
        if n == 0 && broken.is_cancelled() {
            return false;
        }
        let frame = if n == 0 {
            StreamFrame::End { id }
        } else {
            let Ok(permit) = credit.acquire_many(n as u32).await else { return false };
            permit.forget();
            StreamFrame::Data { id, bytes: buffer[..n].to_vec() }
        };
        if frames.send(ToAgent::Stream(frame)).await.is_err() {
            return false;
        }
        if n == 0 {
            return true;
        }
    }
}

/// From the inside to the target; `false` when the connection broke.
async fn outward(
    id: u32,
    mut write: impl AsyncWrite + Unpin,
    mut queue: mpsc::UnboundedReceiver<Vec<u8>>,
    frames: &Frames,
    unread: &Semaphore,
) -> bool {
    while let Some(bytes) = queue.recv().await {
        if write.write_all(&bytes).await.is_err() {
            return false;
        }
        unread.add_permits(bytes.len());
        let window = StreamFrame::Window { id, credit: bytes.len() as u32 };
        if frames.send(ToAgent::Stream(window)).await.is_err() {
            return false;
        }
    }
    write.shutdown().await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::network::Allowed;

    /// The next frame that the agent gets.
    async fn next(sent: &mut mpsc::Receiver<ToAgent>) -> ToAgent {
        tokio::time::timeout(Duration::from_secs(30), sent.recv()).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn an_agent_that_keeps_to_no_bound_is_reset() {
        let (frames, mut sent) = mpsc::channel(1);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let lead = Lead::Address(listener.local_addr().unwrap());
        let mut forwarder = Forwarder::new(BTreeMap::from([(1, lead)]), frames);
        // Nothing at all costs no window; a number that a stream has opens no second one.
        forwarder.open(1, 1);
        forwarder.open(1, 1);
        assert!(matches!(next(&mut sent).await, ToAgent::Stream(StreamFrame::Reset { id: 1 })));
        forwarder.frame(StreamFrame::Data { id: 1, bytes: Vec::new() });
        assert!(matches!(next(&mut sent).await, ToAgent::Stream(StreamFrame::Reset { id: 1 })));
        // Although it takes no word of all that: as many are under way as there is room for.
        for id in 2..4 * MAX_STREAMS as u32 {
            forwarder.open(id, 1);
            forwarder.frame(StreamFrame::Reset { id });
        }
        assert_eq!(forwarder.room.available_permits(), 0);
        drop(sent);
        let room = Arc::clone(&forwarder.room);
        let free = tokio::time::timeout(Duration::from_secs(30), room.acquire_many(2 * MAX_STREAMS as u32)).await;
        assert!(free.unwrap().is_ok(), "when it is gone, they are");
    }

    #[tokio::test]
    async fn an_answer_comes_although_nobody_reads_the_rest_of_the_question() {
        let (frames, mut sent) = mpsc::channel(64);
        let lead = Lead::Proxy(Proxy::new(Allowed::default(), &[], |_| ()));
        let mut forwarder = Forwarder::new(BTreeMap::from([(1, lead)]), frames);
        forwarder.open(7, 1);
        let head = b"POST http://a.example/ HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n".to_vec();
        forwarder.frame(StreamFrame::Data { id: 7, bytes: head });
        let mut answer = Vec::new();
        let ended = loop {
            match next(&mut sent).await {
                ToAgent::Stream(StreamFrame::Data { bytes, .. }) => answer.extend(bytes),
                ToAgent::Stream(StreamFrame::Window { .. }) => {
                    // Its body, as much as may be under way.
                    for _ in 0..6 {
                        forwarder.frame(StreamFrame::Data { id: 7, bytes: vec![b'x'; BLOCK] });
                        tokio::task::yield_now().await;
                    }
                }
                other => break other,
            }
        };
        assert!(matches!(ended, ToAgent::Stream(StreamFrame::End { id: 7 })), "{ended:?}");
        assert!(answer.starts_with(b"HTTP/1.1 403 "), "{}", String::from_utf8_lossy(&answer));
        // Or the agent would wait for room to send the rest.
        let rest = next(&mut sent).await;
        assert!(matches!(rest, ToAgent::Stream(StreamFrame::Reset { id: 7 })), "{rest:?}");
    }
}
