//! What was measured: a table for people, `bench.json` for programs.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::cases::{Bytes, Case, Most, Path, Tree};
use crate::contender::Measured;
use crate::exec::LINES;
use crate::print::table;
use crate::stats::Spread;

/// All figures of a run.
#[derive(Debug)]
pub(crate) struct Report {
    path: PathBuf,
    rows: Vec<Row>,
}

/// Slipway beside one peer in one case, as `bench.json` has it.
#[derive(Debug, Serialize)]
struct Row {
    id: &'static str,
    case: &'static str,
    engine: String,
    /// Median, in seconds.
    ours_s: f64,
    peer: String,
    peer_s: f64,
    /// Median of the rounds' ratios: of time, or of bytes where the link is cut.
    ratio: f64,
    /// The lowest and the highest of them.
    spread: [f64; 2],
    /// Median of the rounds' differences in seconds, Slipway's time less the peer's, and the lowest and the highest of them.
    difference_s: f64,
    difference_spread: [f64; 2],
    /// Where lines are timed, how many come in a second.
    ours_lines_s: Option<u64>,
    peer_lines_s: Option<u64>,
    /// Median of what the client sent; null where no link counts.
    ours_bytes: Option<u64>,
    peer_bytes: Option<u64>,
    goal: String,
    met: bool,
    #[serde(skip)]
    shown: Shown,
}

/// What only the table has.
#[derive(Debug)]
struct Shown {
    ours: Spread,
    peer: Spread,
    ratio: Spread,
    difference: Spread,
    sync: Option<Spread>,
}

impl Report {
    /// Of nothing yet, to be saved here.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, rows: Vec::new() }
    }

    /// Adds a case: a row for each peer. A round has what Slipway took, then what each peer took.
    pub(crate) fn add(&mut self, case: &Case, engine: &str, peers: &[&str], rounds: &[Vec<Measured>]) {
        for (place, peer) in peers.iter().enumerate() {
            let pairs = rounds.iter().filter_map(|round| Some((*round.first()?, *round.get(place + 1)?)));
            self.rows.extend(Row::new(case, engine, peer, &pairs.collect::<Vec<_>>()));
        }
    }

    /// Writes the file.
    pub(crate) fn save(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.rows).context("write figures")? + "\n";
        fs::write(&self.path, text).with_context(|| format!("write {}", self.path.display()))
    }

    /// The goals that the medians miss, in words.
    pub(crate) fn missed(&self) -> Vec<String> {
        let missed = self.rows.iter().filter(|row| !row.met);
        missed.map(|row| format!("{} beside {} on {} (goal {})", row.id, row.peer, row.engine, row.goal)).collect()
    }

    /// The rows of an engine.
    pub(crate) fn table(&self, engine: &str) -> String {
        let heading = [
            "id",
            "case",
            "slipway",
            "sync",
            "peer",
            "peer's",
            "ratio",
            "more",
            "up",
            "peer's up",
            "goal: at most",
            "met",
        ];
        let rows: Vec<_> = self.rows.iter().filter(|row| row.engine == engine).map(Row::cells).collect();
        table(&heading, &rows)
    }
}

impl Row {
    /// Nothing if no round was measured.
    fn new(case: &Case, engine: &str, peer: &str, pairs: &[(Measured, Measured)]) -> Option<Self> {
        let of = |number: fn(&(Measured, Measured)) -> Option<f64>| Spread::of(pairs.iter().filter_map(number));
        let bytes = |number: fn(&(Measured, Measured)) -> Option<f64>| of(number).map(|spread| spread.median as u64);
        let (ours, peers) = (of(|(ours, _)| Some(ours.seconds))?, of(|(_, peer)| Some(peer.seconds))?);
        let ratio = if case.path == Path::Cut {
            of(|(ours, peer)| Some(ours.up? as f64 / peer.up? as f64))?
        } else {
            of(|(ours, peer)| Some(ours.seconds / peer.seconds))?
        };
        let ours_bytes = bytes(|(ours, _)| ours.up.map(|up| up as f64));
        let peer_bytes = bytes(|(_, peer)| peer.up.map(|up| up as f64));
        let beside_rsync = case.rsync.filter(|_| peer == "rsync");
        let most = beside_rsync.map_or(case.goal.time, Most::Ratio);
        let difference = of(|(ours, peer)| Some(ours.seconds - peer.seconds))?;
        let (time_met, time_goal) = match most {
            Most::Ratio(most) => (ratio.median <= most, most.to_string()),
            Most::More(most) => (difference.median <= most, format!("{most} s more")),
            Most::Seconds(most) => (ours.median <= most, format!("{most} s")),
        };
        let lines = |time: Spread| (case.tree == Tree::Lines).then(|| (LINES as f64 / time.median) as u64);
        let (bytes_met, bytes_goal) = match case.goal.bytes {
            Bytes::Any => (true, String::new()),
            Bytes::Ratio(most) => {
                let ratio = ours_bytes.zip(peer_bytes).map(|(ours, peer)| ours as f64 / peer as f64);
                (ratio.is_some_and(|ratio| ratio <= most), format!(", bytes {most}"))
            }
            Bytes::AtMost(most) => (ours_bytes.is_some_and(|ours| ours <= most), format!(", {} MB", most as f64 / 1e6)),
        };
        let what = if case.path == Path::Cut { "bytes " } else { "" };
        Some(Self {
            id: case.id,
            case: case.what,
            engine: engine.to_owned(),
            ours_s: rounded(ours.median),
            peer: peer.to_owned(),
            peer_s: rounded(peers.median),
            ratio: rounded(ratio.median),
            spread: [rounded(ratio.min), rounded(ratio.max)],
            difference_s: rounded(difference.median),
            difference_spread: [rounded(difference.min), rounded(difference.max)],
            ours_lines_s: lines(ours),
            peer_lines_s: lines(peers),
            ours_bytes,
            peer_bytes,
            goal: format!("{what}{time_goal}{bytes_goal}"),
            met: time_met && bytes_met,
            shown: Shown { ours, peer: peers, ratio, difference, sync: of(|(ours, _)| ours.sync) },
        })
    }

    fn cells(&self) -> Vec<String> {
        let time = |spread: Spread, lines: Option<u64>| match lines {
            Some(lines) => format!("{spread}, {lines} lines/s"),
            None => spread.to_string(),
        };
        let mega = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), |up| format!("{:.3}", up as f64 / 1e6));
        vec![
            self.id.to_owned(),
            self.case.to_owned(),
            time(self.shown.ours, self.ours_lines_s),
            self.shown.sync.map_or_else(|| "-".to_owned(), |sync| format!("{:.2}", sync.median)),
            self.peer.clone(),
            time(self.shown.peer, self.peer_lines_s),
            self.shown.ratio.to_string(),
            self.shown.difference.to_string(),
            mega(self.ours_bytes),
            mega(self.peer_bytes),
            self.goal.clone(),
            if self.met { "yes" } else { "NO" }.to_owned(),
        ]
    }
}

/// To a tenth of a millisecond.
fn rounded(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use crate::cases::CASES;

    use super::*;

    fn took(seconds: f64, up: Option<u64>) -> Measured {
        Measured { seconds, up, sync: None }
    }

    fn row(id: &str, peer: &str, rounds: &[(Measured, Measured)]) -> Row {
        let case = CASES.iter().find(|case| case.id == id).unwrap();
        Row::new(case, "e", peer, rounds).unwrap()
    }

    #[test]
    fn a_row_has_the_median_of_the_ratios_and_the_goal_of_the_case() {
        let rounds = [(1.0, 10.0), (3.0, 10.0), (2.0, 10.0)].map(|(ours, peer)| (took(ours, None), took(peer, None)));
        let row = row("nochange", "buildctl", &rounds);
        let json = serde_json::to_value(&row).unwrap();
        let expected = serde_json::json!({
            "id": "nochange", "case": "nothing changed", "engine": "e", "ours_s": 2.0, "peer": "buildctl", "peer_s": 10.0,
            "ratio": 0.2, "spread": [0.1, 0.3],
            "difference_s": -8.0, "difference_spread": [-9.0, -7.0], "ours_lines_s": null, "peer_lines_s": null, "ours_bytes": null, "peer_bytes": null, "goal": "0.25", "met": true,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn bytes_can_miss_a_goal_that_time_meets() {
        let rounds = |ours| [(took(1.0, Some(ours)), took(10.0, Some(100)))];
        assert!(row("cold-slow", "buildctl", &rounds(35)).met);
        assert!(!row("cold-slow", "buildctl", &rounds(36)).met);
        assert!(!row("cold-slow", "buildctl", &[(took(1.0, None), took(10.0, None))]).met);
        assert!(row("insert-slow", "buildctl", &rounds(2_000_000)).met);
        assert!(!row("insert-slow", "buildctl", &rounds(2_000_001)).met);
    }

    #[test]
    fn of_a_cut_link_the_bytes_are_compared() {
        let row = row("cut50", "slipway, uncut", &[(took(50.0, Some(103)), took(10.0, Some(100)))]);
        assert!(row.met && (row.ratio - 1.03).abs() < 1e-9, "{row:?}");
        assert_eq!(row.goal, "bytes 1.05");
    }

    #[test]
    fn a_goal_may_be_so_much_more_time_and_not_times_as_much() {
        let rounds = |ours| [(took(ours, None), took(0.1, None))];
        let row = row("exec", "buildctl", &rounds(0.35));
        assert!(row.met && row.goal == "0.25 s more" && row.ours_lines_s.is_none(), "{row:?}");
        assert!(!self::row("exec", "buildctl", &rounds(0.36)).met);
    }

    #[test]
    fn only_goals_that_are_missed_are_named() {
        let mut report = Report::new(PathBuf::new());
        let case = CASES.iter().find(|case| case.id == "nochange").unwrap();
        // One slow round of three misses nothing.
        let rounds = |slow: usize| -> Vec<_> {
            (0..3).map(|round| vec![took(if round < slow { 9.0 } else { 1.0 }, None), took(10.0, None)]).collect()
        };
        report.add(case, "near", &["buildctl"], &rounds(1));
        assert!(report.missed().is_empty());
        report.add(case, "far", &["buildctl"], &rounds(2));
        assert_eq!(report.missed(), ["nochange beside buildctl on far (goal 0.25)"]);
    }

    #[test]
    fn lines_have_a_rate() {
        let row = |ours| row("lines", "docker run", &[(took(ours, None), took(0.5, None))]);
        let fast = row(2.0);
        assert_eq!((fast.ours_lines_s, fast.peer_lines_s, fast.met), (Some(250_000), Some(1_000_000), true));
        assert!(fast.cells()[2].ends_with(", 250000 lines/s") && !row(50.1).met, "{fast:?}");
    }

    #[test]
    fn rsync_has_a_goal_of_its_own() {
        let rounds = [(took(2.0, None), took(1.0, None))];
        assert!(row("nochange-50k", "rsync", &rounds).met);
        assert!(!row("nochange-50k", "buildctl", &rounds).met);
    }
}
