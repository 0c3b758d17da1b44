//! What is measured: one line of this table each.

use crate::exec::LINES;

/// A case.
#[derive(Debug)]
pub(crate) struct Case {
    /// As `--only` and `bench.json` name it.
    pub(crate) id: &'static str,
    /// What has happened since the build before.
    pub(crate) what: &'static str,
    pub(crate) tree: Tree,
    pub(crate) change: Change,
    pub(crate) path: Path,
    pub(crate) on: On,
    /// Slipway may skip what the registry has; otherwise `OKTETO_SMART_BUILDS_ENABLED=false`.
    pub(crate) skip: bool,
    pub(crate) goal: Goal,
    /// Beside rsync too: slipway's time may be this many times rsync's.
    pub(crate) rsync: Option<f64>,
}

/// What is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tree {
    /// 7,500 files, 80 MB, of real packages.
    Source,
    /// 50,000 files of up to 4 KB.
    Many,
    /// One file of 100 MB.
    Large,
    /// 2 GB, of which the Dockerfile copies a folder of 5 MB.
    Wide,
    /// A Dockerfile of one line.
    OneLine,
    /// A Dockerfile with 20 times `RUN true`.
    Chain,
    /// Four services of 500 small files each, one built from another, two for themselves.
    Services,
    /// A command that writes one line, which is timed from the client's start.
    Exec,
    /// A command that writes many lines, which are timed from the first to the last.
    Lines,
}

/// The engines that a case is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Any,
    /// A standalone buildkitd.
    Buildkitd,
    Docker,
}

/// What happens to the tree before each build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Other bytes, which neither engine nor service has seen. All other changes follow a build that isn't timed.
    New,
    /// As `New`, for a service that is new as well.
    First,
    Nothing,
    /// Removed, and written again: the same bytes at the same place, new times.
    Checkout,
    /// A line more in a small file.
    Line,
    /// A byte more in the middle of the file.
    Byte,
}

/// How the client reaches the service or the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// Directly; nobody counts bytes.
    Loopback,
    /// Over a link that counts.
    Counted,
    /// Over a link of 50 Mbit/s, 20 ms each way.
    Slow,
    /// The same, cut at half of the bytes of a sync that isn't cut, which is the peer.
    Cut,
}

/// What it is to show.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Goal {
    pub(crate) time: Most,
    pub(crate) bytes: Bytes,
}

/// What time Slipway may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Most {
    /// This many times the peer's; of a path that is cut, its bytes.
    Ratio(f64),
    /// So many seconds more than the peer.
    More(f64),
    /// So many seconds, whatever the peer takes.
    Seconds(f64),
}

/// What may go up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bytes {
    Any,
    /// This many times the peer's.
    Ratio(f64),
    AtMost(u64),
}

const fn ratio(ratio: f64) -> Goal {
    Goal { time: Most::Ratio(ratio), bytes: Bytes::Any }
}

const BASE: Case = Case {
    id: "",
    what: "",
    tree: Tree::Source,
    change: Change::Nothing,
    path: Path::Loopback,
    on: On::Any,
    skip: true,
    goal: ratio(1.0),
    rsync: None,
};

const ONE_LINE: Case = Case { what: "one line, nothing changed", tree: Tree::OneLine, ..BASE };

/// All of them, in the order in which they run.
pub(crate) const CASES: [Case; 18] = [
    Case { id: "nochange", what: "nothing changed", goal: ratio(0.25), ..BASE },
    Case { id: "nochange-noskip", what: "nothing changed, no skip", skip: false, goal: ratio(1.1), ..BASE },
    Case { id: "fresh", what: "fresh checkout", change: Change::Checkout, goal: ratio(0.25), ..BASE },
    Case {
        id: "fresh-noskip",
        what: "fresh checkout, no skip",
        change: Change::Checkout,
        skip: false,
        goal: ratio(0.4),
        ..BASE
    },
    Case { id: "onefile", what: "one small file changed", change: Change::Line, goal: ratio(1.1), ..BASE },
    Case { id: "cold", what: "never seen", change: Change::New, goal: ratio(1.15), ..BASE },
    Case {
        id: "cold-slow",
        what: "never seen, slow link",
        change: Change::New,
        path: Path::Slow,
        goal: Goal { time: Most::Ratio(0.5), bytes: Bytes::Ratio(0.35) },
        ..BASE
    },
    Case {
        id: "fresh-slow",
        what: "fresh checkout, slow link",
        change: Change::Checkout,
        path: Path::Slow,
        goal: Goal { time: Most::Ratio(0.1), bytes: Bytes::Ratio(0.01) },
        ..BASE
    },
    Case {
        id: "insert-slow",
        what: "a byte into 100 MB, slow link",
        tree: Tree::Large,
        change: Change::Byte,
        path: Path::Slow,
        goal: Goal { time: Most::Ratio(0.3), bytes: Bytes::AtMost(2_000_000) },
        ..BASE
    },
    Case {
        id: "narrow",
        what: "5 MB copied of 2 GB, first time",
        tree: Tree::Wide,
        change: Change::First,
        path: Path::Counted,
        goal: Goal { time: Most::Ratio(1.0), bytes: Bytes::Ratio(1.0) },
        ..BASE
    },
    Case {
        id: "nochange-50k",
        what: "50,000 files, nothing changed",
        tree: Tree::Many,
        goal: ratio(0.25),
        rsync: Some(3.0),
        ..BASE
    },
    Case {
        id: "cut50",
        what: "never seen, slow link cut at half",
        change: Change::New,
        path: Path::Cut,
        goal: ratio(1.05),
        ..BASE
    },
    Case { id: "oneline-buildctl", on: On::Buildkitd, goal: ratio(0.7), ..ONE_LINE },
    Case { id: "oneline-buildx", on: On::Docker, goal: ratio(0.25), ..ONE_LINE },
    Case {
        id: "run20",
        what: "20 steps that do nothing, none of them cached",
        tree: Tree::Chain,
        change: Change::New,
        on: On::Buildkitd,
        goal: ratio(1.1),
        ..BASE
    },
    Case {
        id: "bake",
        what: "four services, never seen",
        tree: Tree::Services,
        change: Change::New,
        on: On::Docker,
        goal: ratio(1.0),
        ..BASE
    },
    Case {
        id: "exec",
        what: "a command's first byte",
        tree: Tree::Exec,
        goal: Goal { time: Most::More(0.25), bytes: Bytes::Any },
        ..BASE
    },
    Case {
        id: "lines",
        what: "a command's 500,000 lines",
        tree: Tree::Lines,
        // Ten thousand a second.
        goal: Goal { time: Most::Seconds(LINES as f64 / 1e4), bytes: Bytes::Any },
        ..BASE
    },
];

impl Case {
    /// Whether a build that isn't timed comes before those that are.
    pub(crate) fn has_warm_up(&self) -> bool {
        !matches!(self.change, Change::New | Change::First)
    }

    /// Whether it can run on this engine: a link to Docker Engine's BuildKit would have all of Docker's API on it, and
    /// nobody uses that over a slow one.
    pub(crate) fn runs_on(&self, engine: &str) -> bool {
        let docker = engine.starts_with("docker://");
        let on = match self.on {
            On::Any => true,
            On::Buildkitd => !docker,
            On::Docker => docker,
        };
        on && (self.path == Path::Loopback || !docker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let mut ids: Vec<_> = CASES.iter().map(|case| case.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), CASES.len());
        assert!(ids.iter().all(|id| !id.is_empty()));
    }

    #[test]
    fn bytes_are_bounded_only_where_they_are_counted() {
        assert!(CASES.iter().all(|case| case.goal.bytes == Bytes::Any || case.path != Path::Loopback));
    }
}
