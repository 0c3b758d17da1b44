//! A link between a client and a service: a TCP proxy in this process, which counts bytes, and can be as slow and as
//! far as a link between two sites, and be cut.
//!
//! ```text
//! client ─ TCP ─► listener ─► Lane up   (rate of the whole link, delay, count) ─► service (TCP or a unix socket)
//!                         ◄─ Lane down (the same)                              ◄─
//! ```

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::task::{JoinHandle, JoinSet};

use self::lane::{Lane, carry};

mod lane;

/// What the kernel keeps of what a client has sent and the link hasn't taken yet: little, or a slow link would look as
/// if it had taken it.
const RECEIVE_BUFFER: u32 = 128 << 10;
const WAITING: u32 = 128;

/// How fast and how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// In each direction, for all connections together; otherwise nothing is delayed.
    pub(crate) bytes_a_second: Option<u64>,
    /// In each direction.
    pub(crate) delay: Duration,
}

impl Shape {
    /// As fast as it goes.
    pub(crate) const OPEN: Self = Self { bytes_a_second: None, delay: Duration::ZERO };
    /// 50 Mbit/s, 20 ms each way.
    pub(crate) const SLOW: Self = Self { bytes_a_second: Some(50_000_000 / 8), delay: Duration::from_millis(20) };
}

/// Where a link leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Target {
    /// Of an engine's address.
    pub(crate) fn engine(address: &str) -> Result<Self> {
        if let Some(path) = address.strip_prefix("unix://") {
            return Ok(Self::Unix(path.into()));
        }
        match address.strip_prefix("tcp://").map(str::parse) {
            Some(Ok(address)) => Ok(Self::Tcp(address)),
            _ => bail!("{address}: a link needs unix://PATH or tcp://IP:PORT"),
        }
    }

    async fn connect(&self) -> std::io::Result<Halves> {
        Ok(match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let (read, write) = stream.into_split();
                (Box::new(read), Box::new(write))
            }
            Self::Unix(path) => {
                let (read, write) = UnixStream::connect(path).await?.into_split();
                (Box::new(read), Box::new(write))
            }
        })
    }
}

type Halves = (Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>);

/// A link. Dropping it ends all of its connections.
#[derive(Debug)]
pub(crate) struct Link {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    target: Target,
    shape: Mutex<Shape>,
    up: Lane,
    down: Lane,
}

impl Link {
    /// Listens on a port of loopback.
    pub(crate) fn start(target: Target, shape: Shape) -> Result<Self> {
        let socket = TcpSocket::new_v4().context("open a link")?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER).context("open a link")?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).context("open a link")?;
        let listener = socket.listen(WAITING).context("open a link")?;
        let address = listener.local_addr().context("open a link")?;
        let state = State { target, shape: Mutex::new(shape), up: Lane::default(), down: Lane::default() };
        let state = Arc::new(state);
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((client, _)) = listener.accept() => {
                        connections.spawn(Arc::clone(&shared).serve(client));
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self { address, state, task })
    }

    /// Where clients find it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The shape of connections from now on.
    pub(crate) fn shape(&self, shape: Shape) {
        *locked(&self.state.shape) = shape;
    }

    /// Counts from nought again, and cuts every connection once this many bytes have come from clients.
    pub(crate) fn count(&self, cut_after: Option<u64>) {
        self.state.up.count(cut_after);
        self.state.down.count(None);
    }

    /// Bytes that came from clients.
    pub(crate) fn up(&self) -> u64 {
        self.state.up.counted()
    }

    /// Whether it was cut since it counts.
    pub(crate) fn was_cut(&self) -> bool {
        self.state.up.was_cut()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    /// A connection from its start to its end, whichever side ends it.
    async fn serve(self: Arc<Self>, client: TcpStream) {
        let shape = *locked(&self.shape);
        let cut = self.up.until_cut();
        let connection = async {
            // The handshake, which loopback has done already.
            tokio::time::sleep(shape.delay * 2).await;
            let _ = client.set_nodelay(true);
            let (to_target, to_client) = (self.target.connect().await?, client.into_split());
            tokio::try_join!(
                carry(to_client.0, to_target.1, &self.up, shape),
                carry(to_target.0, to_client.1, &self.down, shape)
            )
        };
        tokio::select! {
            // That one side failed is what the other side sees as well.
            _ = connection => {}
            () = cut.cancelled() => {}
        }
    }
}

/// A panic elsewhere leaves nothing half done in what we keep.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
