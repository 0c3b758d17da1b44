//! Limits of processes, as `docker build --ulimit` takes them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::InvalidOption;

/// The names that there are (`getrlimit(2)`, in Docker's words).
const NAMES: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// A soft and a hard limit; -1: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// What counts.
    pub soft: i64,
    /// How far a process may raise it.
    pub hard: i64,
}

/// `NAME=SOFT[:HARD]`; without a hard limit it is the soft one.
pub(super) fn parse(text: &str) -> Result<(String, Ulimit), InvalidOption> {
    let form = || InvalidOption(format!("`{}` is not of the form NAME=SOFT[:HARD]", text.escape_debug()));
    let (name, limits) = text.split_once('=').ok_or_else(form)?;
    if !NAMES.contains(&name) {
        let names = NAMES.join(", ");
        return Err(InvalidOption(format!("`{}` is no limit: there are {names}", name.escape_debug())));
    }
    let number = |text: &str| text.parse::<i64>().ok().filter(|number| *number >= -1).ok_or_else(form);
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let limit = Ulimit { soft: number(soft)?, hard: number(hard)? };
    let above = limit.hard != -1 && (limit.soft == -1 || limit.soft > limit.hard);
    if above {
        return Err(InvalidOption(format!("`{text}`: the soft limit is above the hard one")));
    }
    Ok((name.to_owned(), limit))
}

impl fmt::Display for Ulimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.soft, self.hard)
    }
}
