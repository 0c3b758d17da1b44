//! The command line.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Parser, ValueEnum};

/// Slipway beside its peers, and the memory it takes. Ends with status 1 if that is above the limit.
#[derive(Debug, Parser)]
#[command(name = "slipway-bench", version, max_term_width = 100)]
pub(crate) struct Args {
    /// Only this part; otherwise both
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// How often each speed case runs
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// An engine, as slipwayd takes it (repeatable; memory is measured on the first) [default: buildkitd's socket and
    /// docker://]
    #[arg(long = "engine", value_name = "ADDRESS")]
    engines: Vec<String>,
    /// Where the files' bytes come from; otherwise new ones, so that no engine knows them
    #[arg(long)]
    seed: Option<u64>,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// The peak of anonymous memory of each process
    Memory,
    /// Time, in turn with the peers
    Speed,
}

impl Args {
    /// Whether this part is asked for.
    pub(crate) fn runs(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }

    /// The engines to measure on, in order.
    pub(crate) fn engines(&self) -> Vec<String> {
        if !self.engines.is_empty() {
            return self.engines.clone();
        }
        let buildkitd = std::env::var("BUILDKIT_HOST").ok().filter(|host| !host.is_empty());
        let buildkitd = buildkitd.unwrap_or_else(|| "unix:///run/buildkit/buildkitd.sock".to_owned());
        vec![buildkitd, "docker://".to_owned()]
    }

    /// The seed that is given, or the time.
    pub(crate) fn seed(&self) -> u64 {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_millis() as u64);
        self.seed.unwrap_or_else(now)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn one_part_or_both() {
        let both = Args::parse_from(["bench"]);
        assert!(both.runs(Part::Memory) && both.runs(Part::Speed));
        let one = Args::parse_from(["bench", "--only", "speed", "--engine", "docker://"]);
        assert!(!one.runs(Part::Memory) && one.runs(Part::Speed));
        assert_eq!(one.engines(), ["docker://"]);
    }
}
