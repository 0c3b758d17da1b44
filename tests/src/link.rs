//! A slow or faulty connection in between: a user-space proxy with a rate for each direction and a delay, since the kernels
//! of small machines have no netem; it can be cut, and can flip a bit.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
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
    /// Raised by every cut: connections that are older end.
    cuts: Arc<AtomicU64>,
    /// Nobody is there.
    down: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Way {
    shape: Shape,
    /// When the link has passed on all that it got.
    free: Mutex<Instant>,
    bytes: AtomicU64,
    /// The byte of which a bit is flipped, counted as `bytes` is; 0: none.
    flip: AtomicU64,
    flipped: AtomicU64,
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
        let way = || Way {
            shape,
            free: Mutex::new(Instant::now()),
            bytes: AtomicU64::new(0),
            flip: AtomicU64::new(0),
            flipped: AtomicU64::new(0),
        };
        Self { ways: Arc::new([way(), way()]), cuts: Arc::default(), down: Arc::default() }
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

    /// Ends every connection; what was under way is lost. New ones are taken.
    pub fn cut(&self) {
        self.cuts.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends every connection, and takes no new one until [`Link::up`].
    pub fn down(&self) {
        self.down.store(true, Ordering::Relaxed);
        self.cut();
    }

    /// Takes connections again.
    pub fn up(&self) {
        self.down.store(false, Ordering::Relaxed);
    }

    /// How many bits were flipped.
    pub fn flipped(&self) -> u64 {
        self.ways[0].flipped.load(Ordering::Relaxed)
    }

    /// Flips a bit of the byte that comes after so many more on the way to the target.
    pub fn flip_after(&self, bytes: u64) {
        self.ways[0].flip.store(self.sent() + bytes, Ordering::Relaxed);
    }

    fn join(&self, near: impl Socket, target: &Target) {
        if self.down.load(Ordering::Relaxed) {
            return near.end(Shutdown::Both);
        }
        match target {
            Target::Tcp(address) => self.pass(near, TcpStream::connect(address)),
            Target::Unix(path) => self.pass(near, UnixStream::connect(path)),
        }
    }

    fn pass<A: Socket, B: Socket>(&self, near: A, far: io::Result<B>) {
        let Ok(far) = far else { return near.end(Shutdown::Both) };
        let (near_twin, far_twin) = (near.twin().expect("a socket"), far.twin().expect("a socket"));
        carry(self.clone(), 0, near, far_twin);
        carry(self.clone(), 1, far, near_twin);
    }
}

impl Way {
    /// Takes bytes; gives the moment when they are over there.
    fn take(&self, bytes: &mut [u8]) -> Instant {
        let before = self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let flip = self.flip.load(Ordering::Relaxed).checked_sub(before).and_then(|at| usize::try_from(at).ok());
        if let Some(byte) = flip.filter(|at| before + *at as u64 > 0).and_then(|at| bytes.get_mut(at)) {
            *byte ^= 1;
            self.flipped.fetch_add(1, Ordering::Relaxed);
        }
        let bytes = bytes.len();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let busy = Duration::from_nanos(bytes as u64 * 1_000_000_000 / self.shape.bytes_per_second);
        *free = (*free).max(Instant::now()) + busy;
        *free + self.shape.delay
    }
}

/// One direction of one connection. What is under way is bounded, as in a real link's buffers.
fn carry(link: Link, way: usize, mut from: impl Socket, mut to: impl Socket) {
    let (queue, arriving) = sync_channel::<(Instant, Vec<u8>)>(64);
    let cuts = link.cuts.load(Ordering::Relaxed);
    let watched = (from.twin().expect("a socket"), to.twin().expect("a socket"));
    let reading = link.clone();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(bytes @ 1..) = from.read(&mut buffer) {
            let at = reading.ways[way].take(&mut buffer[..bytes]);
            if queue.send((at, buffer[..bytes].to_vec())).is_err() {
                break;
            }
        }
        from.end(Shutdown::Read);
    });
    let (ended, over) = sync_channel::<()>(1);
    std::thread::spawn(move || {
        for (at, bytes) in arriving {
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                return to.end(Shutdown::Both);
            }
        }
        to.end(Shutdown::Write);
        drop(ended);
    });
    std::thread::spawn(move || {
        while over.recv_timeout(Duration::from_millis(20)) == Err(RecvTimeoutError::Timeout) {
            if link.cuts.load(Ordering::Relaxed) != cuts {
                watched.0.end(Shutdown::Both);
                watched.1.end(Shutdown::Both);
                break;
            }
        }
    });
}
