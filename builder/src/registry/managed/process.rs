//! A registry process: ours by birth or by adoption.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::process::Child;
use tracing::warn;

use crate::private_file::write_private;

const POLL: Duration = Duration::from_millis(50);
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// A process and proof of which: ids are used again, an id with its start time isn't.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessId {
    pid: i32,
    /// In clock ticks since the machine started.
    start_time: u64,
}

/// A running registry.
#[derive(Debug)]
pub(super) struct Running {
    id: ProcessId,
    handle: OwnedFd,
    /// Kept for one that we started: somebody has to take its exit status.
    child: Option<Child>,
}

/// The file that says which process is the registry.
#[derive(Debug, Clone, Copy)]
pub(super) struct PidFile<'a>(pub(super) &'a Path);

/// A registry that was left running.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) process: ProcessId,
    /// The hash of the settings it was started with, if that is known.
    pub(super) settings: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    process: ProcessId,
    settings: String,
}

// === impl ProcessId ===

impl ProcessId {
    /// The process that has this id now; none if it has ended, a zombie included.
    fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The program's name is in parentheses and may hold anything; what follows the last one is regular.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        // Field 22 of the whole line; the state is field 3.
        let start_time = fields.nth(18)?.parse().ok()?;
        (!matches!(state, "Z" | "X" | "x")).then_some(Self { pid, start_time })
    }

    fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// A handle that stays with this process, whoever gets its id later.
    fn open(self) -> Option<OwnedFd> {
        let handle = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        self.is_alive().then_some(handle)
    }

    /// Whether the process serves this configuration file.
    fn serves(self, config: &Path) -> bool {
        let Ok(command_line) = std::fs::read(format!("/proc/{}/cmdline", self.pid)) else {
            return false;
        };
        let mut arguments = command_line.split(|byte| *byte == 0).skip(1).map(OsStr::from_bytes);
        arguments.next() == Some(OsStr::new("serve")) && arguments.next() == Some(config.as_os_str())
    }
}

// === impl Running ===

impl Running {
    /// One that was just started; none if it has ended already.
    pub(super) fn own(child: Child) -> Option<Self> {
        let id = ProcessId::of(i32::try_from(child.id()?).ok()?)?;
        Some(Self { id, handle: id.open()?, child: Some(child) })
    }

    /// One that an earlier slipwayd started; none if it has ended.
    pub(super) fn adopted(id: ProcessId) -> Option<Self> {
        Some(Self { id, handle: id.open()?, child: None })
    }

    pub(super) fn pid(&self) -> i32 {
        self.id.pid
    }

    /// Waits for its end: that of its last thread, when its port is free again.
    pub(super) async fn ended(&mut self) {
        match &mut self.child {
            // An error means that there is nothing left to wait for.
            Some(child) => drop(child.wait().await),
            None => {
                while !has_ended(&self.handle) {
                    tokio::time::sleep(POLL).await;
                }
            }
        }
    }

    /// Asks it to end, and after the grace makes it.
    pub(super) async fn stop(&mut self, grace: Duration) {
        for (signal, patience) in [(Signal::TERM, grace), (Signal::KILL, KILL_PATIENCE)] {
            match pidfd_send_signal(&self.handle, signal) {
                Err(error) if error != rustix::io::Errno::SRCH => {
                    warn!(registry.pid = self.pid(), error = %error, "signal the registry");
                }
                _ => {}
            }
            if tokio::time::timeout(patience, self.ended()).await.is_ok() {
                return;
            }
        }
        warn!(registry.pid = self.pid(), "the registry doesn't end");
    }
}

/// Whether all threads of a process have ended. (In `/proc` it is a zombie when its first one has, and still has its port.)
fn has_ended(handle: &OwnedFd) -> bool {
    let mut handles = [PollFd::new(handle, PollFlags::IN)];
    // Asked not to wait at all, this answers at once; tokio could wait for it, but only with code that isn't safe Rust.
    poll(&mut handles, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

// === impl PidFile ===

impl PidFile<'_> {
    pub(super) fn write(self, running: &Running, settings: &str) -> io::Result<()> {
        let entry = Entry { process: running.id, settings: settings.to_owned() };
        write_private(self.0, &serde_json::to_vec(&entry)?)
    }

    pub(super) fn remove(self) {
        match std::fs::remove_file(self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!(path = %self.0.display(), error = %error, "remove the registry's pid file");
            }
            _ => {}
        }
    }

    /// The registry that serves this configuration file: the one that the file names, or, when slipwayd died before it could
    /// write that, the one whose arguments say so.
    pub(super) fn find(self, config: &Path) -> Option<Found> {
        let entry = std::fs::read(self.0).ok().and_then(|bytes| serde_json::from_slice::<Entry>(&bytes).ok());
        if let Some(entry) = entry
            && entry.process.is_alive()
            && entry.process.serves(config)
        {
            return Some(Found { process: entry.process, settings: Some(entry.settings) });
        }
        let processes = std::fs::read_dir("/proc").ok()?;
        processes
            .filter_map(|directory| ProcessId::of(directory.ok()?.file_name().to_str()?.parse().ok()?))
            .find(|process| process.serves(config))
            .map(|process| Found { process, settings: None })
    }
}
