//! A slow connection in between: a user-space proxy with a rate for each direction and a delay, since the kernels of small
//! machines have no netem.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What the link is like.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Each way.
    pub bytes_per_second: u64,
    /// One way.
    pub delay: Duration,
}

impl Shape {
    /// 50 Mbit/s and 20 ms: an office far away.
    pub const FAR: Self = Self { bytes_per_second: 50_000_000 / 8, delay: Duration::from_millis(20) };
    /// As fast as it goes.
    pub const NONE: Self = Self { bytes_per_second: 10_000_000_000, delay: Duration::ZERO };
}

/// A link that works for as long as the process.
#[derive(Debug, Clone)]
pub struct Link {
    ways: Arc<[Way; 2]>,
}

#[derive(Debug)]
struct Way {
    shape: Shape,
    /// When the link has passed on all that it got.
    free: Mutex<Instant>,
    bytes: AtomicU64,
}

/// Where a link leads.
#[derive(Debug, Clone)]
enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

trait Socket: Read + Write + Send + Sized + 'static {
    fn twin(&self) -> io::Result<Self>;
    fn end(&self, how: Shutdown);
}

impl Socket for TcpStream {
    fn twin(&self) -> io::Result<Self> {
        self.set_nodelay(true)?;
        self.try_clone()
    }
    fn end(&self, how: Shutdown) {
        let _ = self.shutdown(how);
    }
}

impl Socket for UnixStream {
    fn twin(&self) -> io::Result<Self> {
        self.try_clone()
    }
    fn end(&self, how: Shutdown) {
        let _ = self.shutdown(how);
    }
}

impl Link {
    fn new(shape: Shape) -> Self {
        let way = || Way { shape, free: Mutex::new(Instant::now()), bytes: AtomicU64::new(0) };
        Self { ways: Arc::new([way(), way()]) }
    }

    /// From a TCP address of its own to another one.
    pub fn to_tcp(target: SocketAddr, shape: Shape) -> (SocketAddr, Self) {
        Self::listen_tcp(Target::Tcp(target), shape)
    }

    /// From a TCP address of its own to a unix socket.
    pub fn to_unix(target: &Path, shape: Shape) -> (SocketAddr, Self) {
        Self::listen_tcp(Target::Unix(target.to_owned()), shape)
    }

    /// From a unix socket of its own to another one.
    pub fn unix_to_unix(listen: &Path, target: &Path, shape: Shape) -> Self {
        let listener = UnixListener::bind(listen).expect("listen on a unix socket");
        let (link, target) = (Self::new(shape), Target::Unix(target.to_owned()));
        let accepting = link.clone();
        std::thread::spawn(move || listener.incoming().flatten().for_each(|socket| accepting.join(socket, &target)));
        link
    }

    fn listen_tcp(target: Target, shape: Shape) -> (SocketAddr, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen on the loopback");
        let address = listener.local_addr().expect("an address");
        let link = Self::new(shape);
        let accepting = link.clone();
        std::thread::spawn(move || listener.incoming().flatten().for_each(|socket| accepting.join(socket, &target)));
        (address, link)
    }

    /// Bytes that went to the target so far.
    pub fn sent(&self) -> u64 {
        self.ways[0].bytes.load(Ordering::Relaxed)
    }

    fn join(&self, near: impl Socket, target: &Target) {
        match target {
            Target::Tcp(address) => self.pass(near, TcpStream::connect(address)),
            Target::Unix(path) => self.pass(near, UnixStream::connect(path)),
        }
    }

    fn pass<A: Socket, B: Socket>(&self, near: A, far: io::Result<B>) {
        let Ok(far) = far else { return near.end(Shutdown::Both) };
        let (near_twin, far_twin) = (near.twin().expect("a socket"), far.twin().expect("a socket"));
        carry(self.ways.clone(), 0, near, far_twin);
        carry(self.ways.clone(), 1, far, near_twin);
    }
}

impl Way {
    /// When these bytes are over there.
    fn arrival(&self, bytes: usize) -> Instant {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let busy = Duration::from_nanos(bytes as u64 * 1_000_000_000 / self.shape.bytes_per_second);
        *free = (*free).max(Instant::now()) + busy;
        *free + self.shape.delay
    }
}

/// One direction of one connection. What is under way is bounded, as in a real link's buffers.
fn carry(ways: Arc<[Way; 2]>, way: usize, mut from: impl Socket, mut to: impl Socket) {
    let (queue, arriving) = sync_channel::<(Instant, Vec<u8>)>(64);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(bytes @ 1..) = from.read(&mut buffer) {
            let at = ways[way].arrival(bytes);
            if queue.send((at, buffer[..bytes].to_vec())).is_err() {
                break;
            }
        }
        from.end(Shutdown::Read);
    });
    std::thread::spawn(move || {
        for (at, bytes) in arriving {
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                return to.end(Shutdown::Both);
            }
        }
        to.end(Shutdown::Write);
    });
}
