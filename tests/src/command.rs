//! `slipway` and other programs, event by event.

use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use rustix::process::Signal;
use serde_json::Value;

use crate::process;
use crate::service::tail;
use crate::wait::{LONG, SOON};

/// A program that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    pid: i32,
    what: String,
    log: Option<PathBuf>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Seen {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    events: Vec<Value>,
    status: Option<i32>,
}

/// A program that has ended.
#[derive(Debug)]
pub struct Run {
    what: String,
    log: Option<PathBuf>,
    /// Its exit status; 128 and the signal's number when one ended it.
    pub status: i32,
    /// What it wrote.
    pub stdout: Vec<u8>,
    /// What it wrote to the other stream.
    pub stderr: String,
    /// Lines of stdout that are JSON objects.
    pub events: Vec<Value>,
}

/// Starts a program. `log` is shown when something fails.
///
/// # Panics
/// When it can't be started.
pub fn start(command: Command, log: Option<PathBuf>) -> Running {
    start_reading(Stdio::null(), command, log)
}

/// The same, which reads this.
///
/// # Panics
/// When it can't be started.
pub fn start_reading(stdin: Stdio, mut command: Command, log: Option<PathBuf>) -> Running {
    let what = format!("{command:?}");
    let what = what.split_once("slipway\"").map_or(what.clone(), |(_, rest)| format!("slipway{rest}"));
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("start {what}: {error}; run `make setup`"));
    let shared = Arc::new(Shared::default());
    let pid = i32::try_from(child.id()).expect("a process id");
    let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let (for_out, for_err, for_end) = (shared.clone(), shared.clone(), shared.clone());
    let readers = [
        std::thread::spawn(move || {
            for_out.read_lines(out, |seen, line| {
                seen.stdout.extend_from_slice(line);
                seen.events.extend(serde_json::from_slice(line).ok().filter(Value::is_object));
            });
        }),
        std::thread::spawn(move || for_err.read_lines(err, |seen, line| seen.stderr.extend_from_slice(line))),
    ];
    std::thread::spawn(move || {
        for reader in readers {
            drop(reader.join());
        }
        let status = child.wait().expect("wait for a program");
        let status = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        for_end.seen().status = Some(status);
        for_end.changed.notify_all();
    });
    Running { pid, what, log, shared }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_lines(&self, from: impl Read, mut take: impl FnMut(&mut Seen, &[u8])) {
        let (mut from, mut line) = (BufReader::new(from), Vec::new());
        while from.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
            take(&mut self.seen(), &line);
            self.changed.notify_all();
            line.clear();
        }
    }
}

impl Running {
    /// The first event (seen already or still to come) that `is` likes.
    ///
    /// # Panics
    /// When the program ends without it, or takes too long.
    pub fn event(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let mut looked = 0;
        self.until(what, SOON, |seen| {
            let found = seen.events[looked..].iter().find(|event| is(event)).cloned();
            looked = seen.events.len();
            found
        })
    }

    /// The event that a command's output holds this text.
    pub fn says(&self, text: &str) -> Value {
        self.event(&format!("output with `{text}`"), |event| {
            event["text"].as_str().is_some_and(|said| said.contains(text))
        })
    }

    /// The first event's job.
    pub fn job(&self) -> String {
        let event = self.event("a job's first event", |event| event["job"].is_string());
        event["job"].as_str().expect("a string").to_owned()
    }

    fn until<T>(&self, what: &str, limit: Duration, mut look: impl FnMut(&Seen) -> Option<T>) -> T {
        let end = Instant::now() + limit;
        let mut seen = self.shared.seen();
        loop {
            if let Some(found) = look(&seen) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            if seen.status.is_some() || left.is_zero() {
                let run = self.take(&mut seen);
                panic!("{} did not show: {what}\n{}", self.what, run.story());
            }
            seen = self.shared.changed.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        process::signal(self.pid, signal);
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        self.shared.seen().status.is_none()
    }

    /// Waits for its end.
    pub fn finish(self) -> Run {
        self.until("its end", LONG, |seen| seen.status);
        self.take(&mut self.shared.seen())
    }

    fn take(&self, seen: &mut Seen) -> Run {
        Run {
            what: self.what.clone(),
            log: self.log.clone(),
            status: seen.status.unwrap_or(-1),
            stdout: std::mem::take(&mut seen.stdout),
            stderr: String::from_utf8_lossy(&seen.stderr).into_owned(),
            events: std::mem::take(&mut seen.events),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_running() {
            process::kill(self.pid);
        }
    }
}

impl Run {
    /// It has to have ended with this status.
    ///
    /// # Panics
    /// When it has not, with all that is known.
    pub fn expect(self, status: i32) -> Self {
        assert!(self.status == status, "{} ended with {}, not {status}\n{}", self.what, self.status, self.story());
        self
    }

    /// It has to have succeeded.
    pub fn ok(self) -> Self {
        self.expect(0)
    }

    /// What it wrote, as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Events of a type.
    pub fn all(&self, kind: &str) -> Vec<&Value> {
        self.events.iter().filter(|event| event["type"] == kind).collect()
    }

    /// The last event of a type.
    ///
    /// # Panics
    /// When there is none.
    pub fn last(&self, kind: &str) -> &Value {
        self.all(kind).pop().unwrap_or_else(|| panic!("{}: no event {kind}\n{}", self.what, self.story()))
    }

    /// The job of the events.
    pub fn job(&self) -> String {
        self.last("job.done")["job"].as_str().expect("a job's id").to_owned()
    }

    /// What commands wrote to a stream: all events' text or data, joined.
    pub fn output(&self, stream: &str) -> Vec<u8> {
        let logs = self.all("command.log").into_iter().filter(|event| event["stream"] == stream);
        logs.flat_map(|event| match (event["text"].as_str(), event["data"].as_str()) {
            (Some(text), _) => text.as_bytes().to_vec(),
            (None, data) => base64::engine::general_purpose::STANDARD.decode(data.unwrap_or("-")).expect("base64"),
        })
        .collect()
    }

    /// What commands wrote to stdout, as text.
    pub fn said(&self) -> String {
        String::from_utf8(self.output("stdout")).expect("UTF-8")
    }

    /// All that is known, for a failure's text.
    pub fn story(&self) -> String {
        let end = |text: &str| text[text.floor_char_boundary(text.len().saturating_sub(6000))..].to_owned();
        let log = self.log.as_deref().map(tail).unwrap_or_default();
        format!("--- stdout\n{}\n--- stderr\n{}\n--- slipwayd\n{log}", end(&self.out()), end(&self.stderr))
    }
}
