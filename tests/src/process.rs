//! Processes of this machine, containers' included.

use std::fs;
use std::process::Child;

use rustix::process::{Pid, Signal};

/// A running process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its command line.
    pub argv: Vec<String>,
}

/// A child that is killed when it is dropped.
#[derive(Debug)]
pub struct Server(pub Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All that run now. Those that ended and were not waited for have no command line, and are left out.
pub fn all() -> Vec<Process> {
    let pids = fs::read_dir("/proc").expect("read /proc").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let process = |pid: i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|line| !line.is_empty())?;
        let line = line.strip_suffix(&[0]).unwrap_or(&line);
        let argv = line.split(|byte| *byte == 0).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
        Some(Process { pid, argv })
    };
    pids.filter_map(process).collect()
}

/// Those with exactly this command line.
pub fn running(argv: &[&str]) -> Vec<Process> {
    all().into_iter().filter(|process| process.argv == argv).collect()
}

/// Those whose command line mentions this text.
pub fn mentioning(text: &str) -> Vec<Process> {
    all().into_iter().filter(|process| process.argv.iter().any(|arg| arg.contains(text))).collect()
}

/// Whether the process runs.
pub fn is_alive(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

/// The memory of a process that is no file's, in bytes (`RssAnon`); none of one that has gone.
pub fn anonymous_memory(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// Sends a signal; a process that has gone meanwhile is as good.
pub fn signal(pid: i32, signal: Signal) {
    let pid = Pid::from_raw(pid).expect("a process id");
    match rustix::process::kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => panic!("signal process {}: {error}", pid.as_raw_pid()),
    }
}

/// kill -9.
pub fn kill(pid: i32) {
    signal(pid, Signal::KILL);
}

/// A number of seconds to sleep that no other process sleeps: what `pgrep -fx "sleep N"` finds is ours.
pub fn unique_seconds() -> String {
    let id = u64::from_be_bytes(crate::random(8).try_into().expect("eight bytes"));
    format!("9{:05}.{:06}", id % 100_000, id / 100_000 % 1_000_000)
}
