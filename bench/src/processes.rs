//! Processes of this machine, as `/proc` shows them.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long they may take to end by themselves.
const PATIENCE: Duration = Duration::from_secs(10);

/// Anonymous memory that the process has now, in KiB; none of one that has ended.
pub(crate) fn anonymous_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?.trim().strip_suffix(" kB")?.parse().ok()
}

/// The process of a job of the service in this folder: `slipwayd … run-job <dir>`.
pub(crate) fn job(folder: &Path) -> Option<u32> {
    naming(folder).into_iter().find(Process::is_job).map(|process| process.pid)
}

/// Ends all that name this folder: jobs first, which nobody else would end, then those that can end well, then by force.
pub(crate) fn end(folder: &Path) {
    for job in naming(folder).iter().filter(|process| process.is_job()) {
        job.signal(Signal::KILL);
    }
    for process in naming(folder) {
        process.signal(Signal::TERM);
    }
    let start = Instant::now();
    while start.elapsed() < PATIENCE && !naming(folder).is_empty() {
        sleep(Duration::from_millis(20));
    }
    for process in naming(folder) {
        process.signal(Signal::KILL);
    }
}

/// A running process. Those that have ended and were not waited for have no command line, and are none.
#[derive(Debug)]
struct Process {
    pid: u32,
    command_line: Vec<u8>,
}

impl Process {
    fn is_job(&self) -> bool {
        self.command_line.split(|&byte| byte == 0).any(|arg| arg == b"run-job")
    }

    /// One that has ended meanwhile is as good.
    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }
}

/// All whose command line has this folder's path in it.
fn naming(folder: &Path) -> Vec<Process> {
    let folder = folder.as_os_str().as_bytes();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let process = |pid| Some(Process { pid, command_line: fs::read(format!("/proc/{pid}/cmdline")).ok()? });
    let names = |process: &Process| process.command_line.windows(folder.len()).any(|part| part == folder);
    pids.filter(|&pid| pid != std::process::id()).filter_map(process).filter(names).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn our_own_memory_is_seen() {
        assert!(anonymous_kib(std::process::id()).unwrap() > 0);
        assert_eq!(anonymous_kib(u32::MAX), None);
    }

    #[test]
    fn who_names_the_folder_is_ended_and_nobody_else() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let run = |dir: &Path| Command::new("tail").arg("-qf").arg(dir.join("x")).spawn().unwrap();
        for folder in [dir.path(), other.path()] {
            fs::write(folder.join("x"), []).unwrap();
        }
        let (mut ours, mut theirs) = (run(dir.path()), run(other.path()));
        while naming(dir.path()).is_empty() || naming(other.path()).is_empty() {
            sleep(Duration::from_millis(5));
        }
        end(dir.path());
        assert!(!ours.wait().unwrap().success());
        assert!(theirs.try_wait().unwrap().is_none());
        theirs.kill().unwrap();
        theirs.wait().unwrap();
    }
}
