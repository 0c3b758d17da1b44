//! What the commands of a section may use: `[limits]`, and other values for some namespaces.
//!
//! The runner's agent keeps them, in the container: the hard caps are the engine's own.

use std::collections::BTreeMap;

use serde::Deserialize;
use slipway_manifest::plan::Section;
use slipway_runner_agent::{Exceeded, Limit, Limits};

use crate::names::Namespace;

/// `[limits]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Seconds that a section may take. Default 3600; 0: any, here and below.
    pub time_s: u64,
    /// Bytes a second that its commands may write, on the average: they wait where they write more. Default 32 MiB.
    pub output_bytes_per_s: u64,
    /// Bytes of memory that its processes may use together. Default 0.
    pub memory_bytes: u64,
    /// Seconds of processors' time that they may use together. Default 0.
    pub cpu_s: u64,
    /// How many processes and threads there may be at one moment. Default 0.
    pub pids: u64,
    /// What is otherwise in some namespaces, by their names.
    pub namespaces: BTreeMap<String, Other>,
}

/// `[limits.namespaces.NAME]`: what is not set is as in `[limits]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Other {
    /// Instead of `time_s`.
    pub time_s: Option<u64>,
    /// Instead of `output_bytes_per_s`.
    pub output_bytes_per_s: Option<u64>,
    /// Instead of `memory_bytes`.
    pub memory_bytes: Option<u64>,
    /// Instead of `cpu_s`.
    pub cpu_s: Option<u64>,
    /// Instead of `pids`.
    pub pids: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            time_s: 3600,
            output_bytes_per_s: 32 << 20,
            memory_bytes: 0,
            cpu_s: 0,
            pids: 0,
            namespaces: BTreeMap::new(),
        }
    }
}

impl Config {
    /// Those of a namespace.
    pub fn of(&self, namespace: &Namespace) -> SectionLimits {
        let other = self.namespaces.get(namespace.as_str()).cloned().unwrap_or_default();
        SectionLimits(Limits {
            time_ms: other.time_s.unwrap_or(self.time_s).saturating_mul(1000),
            output_bytes_per_s: other.output_bytes_per_s.unwrap_or(self.output_bytes_per_s),
            memory_bytes: other.memory_bytes.unwrap_or(self.memory_bytes),
            cpu_ms: other.cpu_s.unwrap_or(self.cpu_s).saturating_mul(1000),
            pids: other.pids.unwrap_or(self.pids),
        })
    }

    /// Names that no namespace can have.
    pub(crate) fn problems(&self) -> Vec<String> {
        let wrong = self.namespaces.keys().filter_map(|name| Some((name, name.parse::<Namespace>().err()?)));
        wrong.map(|(name, error)| format!("limits.namespaces: `{}`: {error}", name.escape_debug())).collect()
    }
}

/// Those of a namespace's sections.
#[derive(Debug, Clone, Copy)]
pub struct SectionLimits(Limits);

impl SectionLimits {
    /// Those of one of them.
    pub fn of_section(&self, section: Section) -> Limits {
        match section {
            // Each has a timeout of its own, and what it waits for has limits.
            Section::Dependencies => Limits { time_ms: 0, ..self.0 },
            _ => self.0,
        }
    }
}

/// What is exceeded, for people.
pub fn said(exceeded: &Exceeded) -> String {
    let Exceeded { limit, allowed, found } = *exceeded;
    let seconds = |ms: u64| format!("{} s", ms as f64 / 1000.0);
    match limit {
        Limit::Time => format!("its limit of time, {}", seconds(allowed)),
        Limit::Memory => format!("its limit of memory, {allowed} bytes, with {found}"),
        Limit::Cpu => format!("its limit of processors' time, {}, with {}", seconds(allowed), seconds(found)),
        Limit::Pids => format!("its limit of {allowed} processes and threads, with {found}"),
    }
}

/// Who can do what about it.
pub fn hint(exceeded: &Exceeded, namespace: &str) -> String {
    let key = match exceeded.limit {
        Limit::Time => "time_s",
        Limit::Memory => "memory_bytes",
        Limit::Cpu => "cpu_s",
        Limit::Pids => "pids",
    };
    format!(
        "an admin can raise `limits.{key}`, or `limits.namespaces.{namespace}.{key}` for this namespace alone, in the service's \
         configuration"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_may_have_its_own() {
        let text =
            "time_s = 60\nmemory_bytes = 1000\n[namespaces.team]\ntime_s = 0\npids = 9\n[namespaces.\"no name\"]\n";
        let source = config::File::from_str(text, config::FileFormat::Toml);
        let config: Config = config::Config::builder().add_source(source).build().unwrap().try_deserialize().unwrap();
        let of = |name: &str| config.of(&name.parse().unwrap()).of_section(Section::Deploy);
        let dev = Limits { time_ms: 60_000, output_bytes_per_s: 32 << 20, memory_bytes: 1000, cpu_ms: 0, pids: 0 };
        assert_eq!(of("dev"), dev);
        let unset = Config::default().of(&"dev".parse().unwrap()).of_section(Section::Test);
        assert_eq!(unset, Limits { time_ms: 3_600_000, memory_bytes: 0, ..dev }, "an hour, where nothing is said");
        assert_eq!(of("team"), Limits { time_ms: 0, pids: 9, ..dev });
        let dependencies = config.of(&"dev".parse().unwrap()).of_section(Section::Dependencies);
        assert_eq!(dependencies, Limits { time_ms: 0, ..dev }, "they have timeouts");
        let problems = config.problems();
        assert!(matches!(&problems[..], [problem] if problem.contains("no name")), "{problems:?}");
    }

    #[test]
    fn what_is_exceeded_is_named_with_its_key() {
        let all = [Limit::Time, Limit::Memory, Limit::Cpu, Limit::Pids];
        let texts = all.map(|limit| {
            let exceeded = Exceeded { limit, allowed: 1500, found: 2000 };
            format!("{} -> {}", said(&exceeded), hint(&exceeded, "dev").split('`').nth(1).unwrap())
        });
        let expected = [
            "its limit of time, 1.5 s -> limits.time_s",
            "its limit of memory, 1500 bytes, with 2000 -> limits.memory_bytes",
            "its limit of processors' time, 1.5 s, with 2 s -> limits.cpu_s",
            "its limit of 1500 processes and threads, with 2000 -> limits.pids",
        ];
        assert_eq!(texts, expected);
    }
}
