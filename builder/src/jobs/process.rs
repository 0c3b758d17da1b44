//! A job's process: started by the service, and independent of it from then on.
//!
//! The file `lock` in the job's folder is locked (flock) before the process starts and given to it as its standard input, so
//! that exactly as long as it lives somebody holds the lock, whatever happens to the service. The process writes its id and
//! start time to `process.json`; a file `cancel` asks it to end (and may hold a grace period, in
//! milliseconds), and a SIGTERM tells it to look.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use super::spec::JobDir;

/// The held lock of a job's folder: whoever has it may run the job or write its events.
#[derive(Debug)]
pub struct JobLock(File);

impl JobLock {
    /// Takes the lock, unless somebody holds it.
    pub fn try_take(dir: &JobDir) -> io::Result<Option<Self>> {
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).read(true).open(dir.path().join("lock"))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Who runs a job.
#[derive(Debug, Serialize, Deserialize)]
struct ProcessId {
    pid: i32,
    /// Clock ticks after boot, from `/proc/<pid>/stat`: a reused id is not ours.
    started: u64,
}

/// Starts `slipwayd <args> run-job` for this job; the lock goes with it.
pub fn start(dir: &JobDir, data_dir: &Path, args: &[OsString], lock: JobLock) -> io::Result<tokio::process::Child> {
    let log = OpenOptions::new().create(true).append(true).open(dir.path().join("process.log"))?;
    let mut command = Command::new(own_binary()?);
    command
        .args(args)
        .arg("run-job")
        .arg(dir.path())
        .current_dir(data_dir)
        .stdin(Stdio::from(lock.0))
        .stdout(Stdio::null())
        .stderr(Stdio::from(log))
        // A group of its own: Ctrl-C in the service's terminal is not meant for the job.
        .process_group(0);
    tokio::process::Command::from(command).kill_on_drop(false).spawn()
}

/// Our binary, also after an upgrade has replaced it on disk (then the kernel marks the link's target as deleted).
fn own_binary() -> io::Result<std::path::PathBuf> {
    let path = std::env::current_exe()?;
    if path.exists() { Ok(path) } else { Ok("/proc/self/exe".into()) }
}

/// Called by the process itself, before it does anything else.
pub fn register(dir: &JobDir) -> io::Result<()> {
    let pid = rustix::process::getpid().as_raw_pid();
    dir.write("process.json", &ProcessId { pid, started: start_time(pid)? })
}

/// Asks the job's process to end, its commands within this grace period or that of the job. Nothing happens when there is none:
/// who starts the job looks for the request first.
pub fn cancel(dir: &JobDir, grace: Option<Duration>) -> io::Result<()> {
    let path = dir.path().join("cancel");
    match grace {
        Some(grace) => fs::write(path, grace.as_millis().to_string())?,
        // What somebody has said before stays.
        None => drop(OpenOptions::new().create(true).append(true).open(path)?),
    }
    let Ok(process) = dir.read::<ProcessId>("process.json") else { return Ok(()) };
    if start_time(process.pid).ok() != Some(process.started) {
        return Ok(());
    }
    let Some(pid) = Pid::from_raw(process.pid) else { return Ok(()) };
    match rustix::process::kill_process(pid, Signal::TERM) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether somebody asked the job to end.
pub fn is_cancelled(dir: &JobDir) -> bool {
    dir.path().join("cancel").exists()
}

/// How long commands may take to end, if whoever asked the job to end has said so.
pub fn asked_grace(dir: &JobDir) -> Option<Duration> {
    let text = fs::read_to_string(dir.path().join("cancel")).ok()?;
    text.parse().ok().map(Duration::from_millis)
}

/// Field 22 of `/proc/<pid>/stat` (`proc_pid_stat(5)`); the second field is in parentheses and may hold anything.
fn start_time(pid: i32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(") ").map(|(_, rest)| rest).unwrap_or_default();
    let field = after_name.split(' ').nth(19).and_then(|field| field.parse().ok());
    field.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/<pid>/stat has no start time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let data = tempfile::tempdir().unwrap();
        let dir = JobDir::new(data.path(), crate::names::JobId::new());
        fs::create_dir_all(dir.path()).unwrap();
        let lock = JobLock::try_take(&dir).unwrap().unwrap();
        assert!(JobLock::try_take(&dir).unwrap().is_none());
        drop(lock);
        assert!(JobLock::try_take(&dir).unwrap().is_some());
    }

    #[test]
    fn a_reused_process_id_is_left_alone() {
        let data = tempfile::tempdir().unwrap();
        let dir = JobDir::new(data.path(), crate::names::JobId::new());
        fs::create_dir_all(dir.path()).unwrap();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let started = start_time(pid).unwrap();
        dir.write("process.json", &ProcessId { pid, started: started + 1 }).unwrap();
        assert!(!is_cancelled(&dir));
        cancel(&dir, None).unwrap();
        assert!(is_cancelled(&dir) && asked_grace(&dir).is_none());
        assert!(child.try_wait().unwrap().is_none(), "another process with its id must live");
        dir.write("process.json", &ProcessId { pid, started }).unwrap();
        cancel(&dir, Some(Duration::from_millis(1500))).unwrap();
        cancel(&dir, None).unwrap();
        assert_eq!(asked_grace(&dir), Some(Duration::from_millis(1500)));
        assert!(!child.wait().unwrap().success());
    }
}
