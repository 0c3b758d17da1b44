//! The processes below ours, as `/proc` tells them.

use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
};

use rustix::process::{Pid, Signal, getpgrp, getpid, kill_process, kill_process_group};

/// What `/proc/PID/stat` says, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    group: i32,
    dead: bool,
}

/// Sends a signal to all descendants of our own process.
pub(crate) fn signal_all(signal: Signal) -> io::Result<usize> {
    let found = below(&processes()?, getpid().as_raw_pid());
    send(&found, signal);
    Ok(found.len())
}

/// All descendants of our own process that live.
pub(crate) fn descendants() -> io::Result<Vec<i32>> {
    Ok(below(&processes()?, getpid().as_raw_pid()).into_iter().map(|process| process.pid).collect())
}

/// Sends a signal to a child, its process group and all its descendants, wherever they have moved.
pub(crate) fn signal_child(child: Pid, signal: Signal) {
    // Without /proc the group is what can be reached.
    let all = processes().unwrap_or_default();
    let mut found = below(&all, child.as_raw_pid());
    found.extend(all.iter().filter(|process| process.pid == child.as_raw_pid()));
    // Each gets the signal once: a second one often means "at once".
    found.retain(|process| process.group != child.as_raw_pid());
    // A failure means that the process is gone, or has become another user's: there's nothing to be done.
    let _ = kill_process_group(child, signal);
    send(&found, signal);
}

/// Groups get the signal as groups, since a process that forks at this moment can't escape that way.
fn send(processes: &[Process], signal: Signal) {
    let own = getpgrp().as_raw_pid();
    let ours_alone = |group: i32| group > 1 && group != own;
    let groups: BTreeSet<i32> = processes.iter().map(|process| process.group).filter(|&g| ours_alone(g)).collect();
    for group in groups.into_iter().filter_map(Pid::from_raw) {
        let _ = kill_process_group(group, signal);
    }
    for process in processes.iter().filter(|process| !ours_alone(process.group)) {
        if let Some(pid) = Pid::from_raw(process.pid) {
            let _ = kill_process(pid, signal);
        }
    }
}

fn processes() -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        if !name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        // One that has gone since is not missed.
        let Ok(stat) = fs::read(std::path::Path::new("/proc").join(name).join("stat")) else { continue };
        found.extend(parse(&stat));
    }
    Ok(found)
}

/// `PID (NAME) STATE PARENT GROUP ...`, where the name may hold anything, parentheses and spaces too.
fn parse(stat: &[u8]) -> Option<Process> {
    let open = stat.iter().position(|&byte| byte == b'(')?;
    let close = stat.iter().rposition(|&byte| byte == b')')?;
    let pid = std::str::from_utf8(stat.get(..open)?).ok()?.trim().parse().ok()?;
    let mut fields = std::str::from_utf8(stat.get(close + 1..)?).ok()?.split_ascii_whitespace();
    let dead = matches!(fields.next()?, "Z" | "X");
    Some(Process { pid, parent: fields.next()?.parse().ok()?, group: fields.next()?.parse().ok()?, dead })
}

/// The living descendants of a process.
fn below(all: &[Process], root: i32) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(*process);
    }
    let mut found = Vec::new();
    let mut next = vec![root];
    while let Some(parent) = next.pop() {
        // Taking each entry out makes this end even if the listing, which is no snapshot, shows a circle.
        let children = children.remove(&parent).unwrap_or_default();
        next.extend(children.iter().map(|child| child.pid));
        found.extend(children.into_iter().filter(|child| !child.dead));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32) -> Process {
        Process { pid, parent, group: pid, dead: false }
    }

    #[test]
    fn names_with_anything_in_them() {
        let stat = b"4242 (a) R 1 ( \xff\n) Z) S 17 4240 4240 0 -1 4194304 95";
        assert_eq!(parse(stat), Some(Process { pid: 4242, parent: 17, group: 4240, dead: false }));
        assert_eq!(parse(b"7 (x) Z 1 7 7"), Some(Process { pid: 7, parent: 1, group: 7, dead: true }));
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"7 (x) S"), None);
    }

    #[test]
    fn only_what_is_below() {
        let all = [process(1, 0), process(2, 1), process(3, 2), process(4, 3), process(5, 1), process(6, 3)];
        let mut found: Vec<i32> = below(&all, 2).iter().map(|process| process.pid).collect();
        found.sort_unstable();
        assert_eq!(found, [3, 4, 6]);
        assert!(below(&all, 6).is_empty());
    }

    #[test]
    fn a_circle_ends() {
        assert_eq!(below(&[process(2, 3), process(3, 2)], 2).len(), 2);
    }

    #[test]
    fn sees_itself() {
        assert!(processes().unwrap().iter().any(|process| process.pid == getpid().as_raw_pid()));
    }
}
