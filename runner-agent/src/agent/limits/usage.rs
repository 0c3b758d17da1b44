//! What runs uses: as the container's cgroup counts it (version 2), else as `/proc` tells of our descendants.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::agent::tree;

/// `/proc` counts processors' time in these (`USER_HZ`, 100 on all of Linux's own platforms that engines run on).
const TICK_MS: u64 = 10;

/// What is used at one moment, of `cpu_ms` what has been so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) memory_bytes: u64,
    pub(super) cpu_ms: u64,
    /// Processes and their threads.
    pub(super) pids: u64,
}

/// Where it is read.
pub(super) struct Meter {
    cgroup: Option<PathBuf>,
}

impl Meter {
    pub(super) fn find() -> Self {
        let of = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self { cgroup: own_cgroup(&of, Path::new("/sys/fs/cgroup")) }
    }

    pub(super) fn read(&self) -> io::Result<Usage> {
        let counted = self.cgroup.as_deref().and_then(|cgroup| in_cgroup(cgroup, own_threads()));
        counted.map_or_else(below_us, Ok)
    }
}

/// The folder of our cgroup, if it is the container's alone: what is outside of its namespace of process ids is `0` in there.
fn own_cgroup(of: &str, root: &Path) -> Option<PathBuf> {
    let path = of.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let cgroup = root.join(path);
    let processes = fs::read_to_string(cgroup.join("cgroup.procs")).ok()?;
    (!path.contains("..") && !processes.is_empty() && processes.lines().all(|pid| pid != "0")).then_some(cgroup)
}

/// None: it lacks a controller.
fn in_cgroup(cgroup: &Path, own_threads: u64) -> Option<Usage> {
    let read = |name: &str| fs::read_to_string(cgroup.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let field = |text: &str, name: &str| {
        let values = text.lines().filter_map(|line| line.split_once(' '));
        values.into_iter().find(|(field, _)| *field == name)?.1.trim().parse::<u64>().ok()
    };
    let memory = read("memory.stat")?;
    // What of files is only kept as long as nobody else needs the memory counts for nothing; tmpfs does.
    let files = field(&memory, "file")?.saturating_sub(field(&memory, "shmem").unwrap_or(0));
    let kept = files + field(&memory, "slab_reclaimable").unwrap_or(0);
    Some(Usage {
        memory_bytes: number("memory.current")?.saturating_sub(kept),
        cpu_ms: field(&read("cpu.stat")?, "usage_usec")? / 1000,
        pids: number("pids.current")?.saturating_sub(own_threads),
    })
}

fn below_us() -> io::Result<Usage> {
    let own = fs::read("/proc/self/stat")?;
    // Of those that have ended and were waited for.
    let mut usage = Usage { cpu_ms: cpu_ms(&own, false).unwrap_or(0), ..Usage::default() };
    for pid in tree::descendants()? {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        // One that has gone since is not counted.
        let (Ok(stat), Ok(status)) = (fs::read(folder.join("stat")), fs::read(folder.join("status"))) else { continue };
        let status = String::from_utf8_lossy(&status);
        let number = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name))?;
            value.split_ascii_whitespace().next()?.parse::<u64>().ok()
        };
        usage.cpu_ms += cpu_ms(&stat, true).unwrap_or(0);
        // Memory that is shared would count for each that shares it.
        usage.memory_bytes += number("RssAnon:").unwrap_or(0) * 1024;
        usage.pids += number("Threads:").unwrap_or(1);
    }
    Ok(usage)
}

fn own_threads() -> u64 {
    fs::read_dir("/proc/self/task").map_or(0, |threads| threads.count() as u64)
}

/// Of `/proc/PID/stat` (`proc_pid_stat(5)`, fields 14 to 17): what its children used that it has waited for, and what it did
/// itself.
fn cpu_ms(stat: &[u8], itself: bool) -> Option<u64> {
    let close = stat.iter().rposition(|&byte| byte == b')')?;
    let fields = std::str::from_utf8(stat.get(close + 1..)?).ok()?.split_ascii_whitespace();
    let ticks: Vec<u64> = fields.skip(11).take(4).map_while(|field| field.parse().ok()).collect();
    let [user, system, children_user, children_system] = ticks[..] else { return None };
    let own = if itself { user + system } else { 0 };
    Some((own + children_user + children_system) * TICK_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_of_the_containers_own_is_read() {
        let root = tempfile::tempdir().unwrap();
        let cgroup = root.path().join("build/one");
        fs::create_dir_all(&cgroup).unwrap();
        let write = |name: &str, text: &str| fs::write(cgroup.join(name), text).unwrap();
        let found = || own_cgroup("1:name=systemd:/x\n0::/build/one\n", root.path());
        assert_eq!(found(), None, "it is not seen here");
        write("cgroup.procs", "1\n7\n");
        assert_eq!(found().as_deref(), Some(cgroup.as_path()));
        assert_eq!(in_cgroup(&cgroup, 5), None, "no controllers");
        write("memory.current", "1000000\n");
        write("memory.stat", "anon 200000\nfile 700000\nshmem 100000\n");
        write("cpu.stat", "usage_usec 2500000\nuser_usec 2000000\n");
        write("pids.current", "12\n");
        let expected = Usage { memory_bytes: 400_000, cpu_ms: 2500, pids: 7 };
        assert_eq!(in_cgroup(&cgroup, 5), Some(expected));
        write("cgroup.procs", "1\n0\n");
        assert_eq!(found(), None, "others are in there");
        assert_eq!(own_cgroup("4:memory:/build\n", root.path()), None, "version 1");
    }

    #[test]
    fn processors_time_is_read() {
        let stat = b"42 (a) b) S 1 42 42 0 -1 4194304 95 0 0 0 7 3 20 10 20 0 3 0";
        assert_eq!((cpu_ms(stat, true), cpu_ms(stat, false)), (Some(400), Some(300)));
        assert_eq!(cpu_ms(b"42 (x) S 1", true), None);
        assert!(below_us().is_ok());
    }
}
