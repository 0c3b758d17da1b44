//! The command line.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;
use clap::builder::PossibleValuesParser;

use crate::cases::CASES;

/// What `--only` calls the part that is no case.
const MEMORY: &str = "memory";

/// Slipway beside its peers, and the memory it takes. Ends with status 1 if that is above the limit or a build failed,
/// and with `--strict` if a goal is missed.
#[derive(Debug, Parser)]
#[command(name = "slipway-bench", version, max_term_width = 100)]
pub(crate) struct Args {
    /// Only these cases; otherwise all of them, and memory
    #[arg(long, value_name = "ID", value_delimiter = ',', value_parser = PossibleValuesParser::new(parts()))]
    only: Vec<String>,
    /// How often each case runs
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// An engine, as slipwayd takes it (repeatable; memory is measured on the first) [default: buildkitd's socket and
    /// docker://]
    #[arg(long = "engine", value_name = "ADDRESS")]
    engines: Vec<String>,
    /// Where the files' bytes come from; otherwise new ones, so that no engine knows them
    #[arg(long)]
    seed: Option<u64>,
    /// A goal that the median misses is a failure too: exit status 1
    #[arg(long)]
    pub(crate) strict: bool,
}

fn parts() -> Vec<&'static str> {
    CASES.iter().map(|case| case.id).chain([MEMORY]).collect()
}

impl Args {
    /// Whether this case is asked for.
    pub(crate) fn runs(&self, id: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == id)
    }

    /// Whether memory is.
    pub(crate) fn runs_memory(&self) -> bool {
        self.runs(MEMORY)
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

    /// Whether those engines were named: then each of them has to be there.
    pub(crate) fn engines_are_named(&self) -> bool {
        !self.engines.is_empty()
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
    fn some_or_all() {
        let all = Args::parse_from(["bench"]);
        assert!(all.runs_memory() && all.runs("cold"));
        let some = Args::parse_from(["bench", "--only", "cold,cut50", "--engine", "docker://"]);
        assert!(!some.runs_memory() && some.runs("cold") && some.runs("cut50") && !some.runs("narrow"));
        assert_eq!(some.engines(), ["docker://"]);
        Args::try_parse_from(["bench", "--only", "warm"]).unwrap_err();
    }
}
