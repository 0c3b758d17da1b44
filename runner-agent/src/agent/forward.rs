//! Connections to the job's side: what connects to a forwarded port in here is a stream there.

mod stream;

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{FromAgent, MAX_STREAMS, NotListening, StreamFrame};

use self::stream::Stream;
use crate::agent::{lock, outbox::Outbox, spawn};

/// The listeners and the open streams.
pub(crate) struct Forward {
    outbox: Arc<Outbox>,
    streams: Mutex<HashMap<u32, Arc<Stream>>>,
    closed: Condvar,
    next: AtomicU32,
}

impl Forward {
    pub(crate) fn new(outbox: Arc<Outbox>) -> Self {
        Self { outbox, streams: Mutex::default(), closed: Condvar::new(), next: AtomicU32::new(1) }
    }

    /// Listens on the ports; gives those that it listens on and those that it can't.
    pub(crate) fn listen(self: &Arc<Self>, ports: &[u16]) -> (Vec<u16>, Vec<NotListening>) {
        let (mut listening, mut not_listening) = (Vec::new(), Vec::new());
        for &port in ports {
            match self.listen_at((Ipv4Addr::LOCALHOST, port).into()) {
                Ok(()) => listening.push(port),
                Err(error) => {
                    not_listening.push(NotListening { port, error: error.to_string() });
                    continue;
                }
            }
            // Without IPv6 nobody can want it; a port that is taken there hides ours from those who prefer IPv6.
            if let Err(error) = self.listen_at((Ipv6Addr::LOCALHOST, port).into())
                && error.kind() == io::ErrorKind::AddrInUse
            {
                self.outbox.warn(format!("port {port} of [::1] is not forwarded: {error}"));
            }
        }
        (listening, not_listening)
    }

    fn listen_at(self: &Arc<Self>, address: SocketAddr) -> io::Result<()> {
        let listener = TcpListener::bind(address)?;
        let forward = Arc::clone(self);
        spawn("listen", move || forward.accept(&listener, address.port()))
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener, port: u16) {
        loop {
            match listener.accept() {
                Ok((socket, _)) => self.open(socket, port),
                // Too many open files, or a connection that has gone: a pause is all that helps.
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn open(self: &Arc<Self>, socket: TcpStream, port: u16) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let stream = Arc::new(Stream::new(id, socket));
        // One that doesn't fit waits, and those after it in the listener's queue.
        let full = |streams: &mut HashMap<_, _>| streams.len() >= MAX_STREAMS;
        let streams = self.closed.wait_while(lock(&self.streams), full);
        streams.unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(&stream));
        // Not `say`: a process that connects all the time has to wait for the channel as others do.
        self.outbox.carry(&FromAgent::StreamOpen { id, port });
        let send = {
            let (forward, stream) = (Arc::clone(self), Arc::clone(&stream));
            spawn("send", move || stream.send(&forward))
        };
        let pass_on = {
            let (forward, stream) = (Arc::clone(self), Arc::clone(&stream));
            spawn("pass-on", move || stream.pass_on(&forward))
        };
        if send.and(pass_on).is_err() {
            self.reset(&stream);
        }
    }

    /// Takes a frame from the job's side; never waits.
    pub(crate) fn receive(&self, frame: StreamFrame) {
        let Some(stream) = lock(&self.streams).get(&frame.id()).cloned() else { return };
        match frame {
            StreamFrame::Data { bytes, .. } => {
                if !stream.queue(bytes) {
                    self.reset(&stream);
                }
            }
            StreamFrame::End { .. } => stream.ended(),
            StreamFrame::Reset { .. } => {
                if !stream.not_read() {
                    stream.abort();
                    self.remove(stream.id);
                }
            }
            StreamFrame::Window { credit, .. } => stream.credit(credit),
        }
    }

    /// Breaks a stream off and says so, once.
    fn reset(&self, stream: &Stream) {
        if stream.abort() {
            self.outbox.say(&FromAgent::Stream(StreamFrame::Reset { id: stream.id }));
        }
        self.remove(stream.id);
    }

    fn remove(&self, id: u32) {
        lock(&self.streams).remove(&id);
        self.closed.notify_all();
    }
}
