//! The agent itself: starts the job's commands, reports what they do, and lets nothing outlive its channel.
//!
//! ```text
//! stdin  -> channel::read  -> supervisor (main thread: starts, reaps, ends)  -> outbox -> channel::write -> stdout
//!                          \-> forward (one pair of threads per connection) -/      /
//!                               output (one thread per command's stream) ----------/
//! ```

mod channel;
mod collect;
mod command;
mod env_file;
mod forward;
mod home;
mod limits;
mod login;
mod outbox;
mod output;
mod pace;
mod supervisor;
mod tree;

use std::{
    io::Write,
    process::ExitCode,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
};

use rustix::process::DumpableBehavior;
use signal_hook::{
    consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use self::{
    forward::Forward,
    outbox::Outbox,
    supervisor::{Event, Supervisor},
};

/// Threads only copy blocks that are on the heap.
const STACK: usize = 128 * 1024;

/// Is the agent until its channel ends: the process's standard input and output, its signals and its children are its own.
pub fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            diagnose(&format!("start: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> std::io::Result<ExitCode> {
    // A session of its own keeps commands from joining a process group that isn't theirs. PID 1 mostly leads one already.
    let _ = rustix::process::setsid();
    // PID 1 gets all orphans; anywhere else they must be asked for (any pid turns it on).
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    // Or a command of the same user could write to our channel, `/proc/1/fd/1` (`proc(5)`, `ptrace(2)`).
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let (events, inbox) = mpsc::channel();
    let mut signals = Signals::new([SIGCHLD, SIGTERM, SIGINT, SIGHUP])?;
    let outbox = Arc::new(Outbox::default());
    let forward = Arc::new(Forward::new(Arc::clone(&outbox)));
    spawn("signals", {
        let events = events.clone();
        move || signals.forever().try_for_each(|signal| events.send(Event::Signal(signal))).unwrap_or_default()
    })?;
    spawn("write", {
        let (outbox, events) = (Arc::clone(&outbox), events.clone());
        move || channel::write(&outbox, &events)
    })?;
    spawn("read", {
        let (forward, events) = (Arc::clone(&forward), events.clone());
        move || channel::read(&forward, &events)
    })?;
    Ok(ExitCode::from(Supervisor::new(outbox, forward, events, inbox).run()))
}

/// Starts a thread; without one (the container's limit of processes) there's an error, not a panic.
fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(work).map(drop)
}

/// Nothing is left half-changed under our locks, so a panic elsewhere doesn't spoil them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stderr is for the agent's own troubles; that it can't be written is none worth dying for.
fn diagnose(message: &str) {
    let _ = writeln!(std::io::stderr(), "slipway-runner-agent: {message}");
}
