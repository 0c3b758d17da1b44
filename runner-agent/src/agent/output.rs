//! A command's output: one thread for each of its pipes.

use std::{
    io::{self, PipeReader, PipeWriter, Read},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, Sender},
    },
    time::{Duration, Instant},
};

use crate::{BLOCK, FromAgent, Output, OutputStream};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{Errno, ioctl_fionread},
};

use crate::agent::{lock, outbox::Outbox, spawn, supervisor::Event};

/// How long a pipe that somebody still holds is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// A pipe that is being read.
pub(crate) struct Pump {
    /// The lock makes reading and counting one step.
    source: Mutex<Source>,
    passed: AtomicU64,
    ended: AtomicBool,
}

struct Source {
    pipe: PipeReader,
    read: u64,
}

impl Pump {
    /// Makes a pipe, reads it in a thread as soon as it may `begin` (never, if the sender goes without a word), and
    /// gives the end for the command.
    pub(crate) fn start(
        index: u32,
        stream: OutputStream,
        outbox: &Arc<Outbox>,
        events: &Sender<Event>,
        begin: Receiver<()>,
    ) -> io::Result<(Arc<Self>, PipeWriter)> {
        let (pipe, writer) = io::pipe()?;
        // A second handle, so that waiting for data needs no lock.
        let watched = pipe.try_clone()?;
        let pump = Arc::new(Self {
            source: Mutex::new(Source { pipe, read: 0 }),
            passed: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        spawn("output", {
            let (pump, outbox, events) = (Arc::clone(&pump), Arc::clone(outbox), events.clone());
            move || {
                if begin.recv().is_ok() {
                    pump.run(index, stream, &watched, &outbox);
                }
                pump.ended.store(true, Ordering::Release);
                let _ = events.send(Event::OutputEnded);
            }
        })?;
        Ok((pump, writer))
    }

    fn run(&self, index: u32, stream: OutputStream, watched: &PipeReader, outbox: &Outbox) {
        loop {
            // The lock below must not be held while nothing comes, so an interrupted wait is begun again.
            match poll(&mut [PollFd::new(watched, PollFlags::IN)], None) {
                Ok(1..) => {}
                Ok(0) | Err(Errno::INTR | Errno::AGAIN) => continue,
                Err(_) => return,
            }
            let mut bytes = vec![0; BLOCK];
            let count = {
                let mut source = lock(&self.source);
                match source.pipe.read(&mut bytes) {
                    Ok(0) => return,
                    Ok(count) => {
                        source.read += count as u64;
                        count
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) => return,
                }
            };
            bytes.truncate(count);
            // On a closed channel it reads on and drops: a process that is being ended must not block on its output.
            outbox.carry(&FromAgent::Output(Output { index, stream, bytes }));
            self.passed.fetch_add(count as u64, Ordering::Release);
            outbox.pace.pass(count, |rate| {
                outbox.warn(format!("output is slowed down to {rate} bytes a second (limits.output_bytes_per_s)"));
            });
        }
    }

    pub(crate) fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// How many bytes have been written into the pipe so far.
    fn written(&self) -> u64 {
        let source = lock(&self.source);
        source.read + ioctl_fionread(&source.pipe).unwrap_or(0)
    }
}

/// The wait for the output of processes that have ended.
pub(crate) struct Drain {
    until: Instant,
    pumps: Vec<(Arc<Pump>, u64)>,
}

impl Drain {
    /// Starts to wait; all that has been written by now will be passed on, however long that takes.
    pub(crate) fn start(pumps: &[Arc<Pump>]) -> Self {
        let pumps = pumps.iter().map(|pump| (Arc::clone(pump), pump.written())).collect();
        Self { until: Instant::now() + PATIENCE, pumps }
    }

    /// Whether the pipes have ended, or have had their time and all that was in them is passed on.
    pub(crate) fn is_done(&self) -> bool {
        let late = Instant::now() >= self.until;
        self.pumps
            .iter()
            .all(|(pump, written)| pump.ended() || (late && pump.passed.load(Ordering::Acquire) >= *written))
    }

    /// When to look again, if nothing happens before.
    pub(crate) fn look_again(&self) -> Instant {
        self.until.max(Instant::now() + Duration::from_millis(10))
    }
}
