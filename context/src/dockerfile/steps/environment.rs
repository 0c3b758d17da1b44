//! What steps see besides files, as far as it differs from before.

use std::collections::{BTreeMap, BTreeSet};

use parse_dockerfile::Instruction;

use super::written::Line;
use crate::dockerfile::expand::Value;
use crate::dockerfile::scope::Scope;
use crate::dockerfile::stages::Dockerfile;
use crate::dockerfile::words;

/// What differs of the environment that steps see.
#[derive(Debug, Clone, Default)]
pub(super) struct Environment {
    /// Names of variables.
    pub(super) variables: BTreeSet<String>,
    /// What to call the first difference that every RUN sees.
    pub(super) first: Option<String>,
    /// What to call it that the user is another one.
    pub(super) user: Option<String>,
}

/// What is known of arguments, the same for all lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arguments<'a> {
    pub(super) escape: char,
    /// Those that are given.
    pub(super) given: &'a BTreeMap<String, Option<String>>,
    /// Those that were given otherwise.
    pub(super) changed: &'a BTreeSet<String>,
    /// The global scope, and what differs in it.
    pub(super) global: &'a Scope,
    pub(super) globals: &'a BTreeSet<String>,
}

/// The names of the global scope that have other values than before.
pub(super) fn changed_globals(
    before: &Dockerfile<'_>,
    now: &Dockerfile<'_>,
    given: &BTreeMap<String, Option<String>>,
    changed: &BTreeSet<String>,
) -> BTreeSet<String> {
    let defaults = |dockerfile: &Dockerfile<'_>| {
        let args = dockerfile.global.iter();
        args.flat_map(|arg| words::arg(&arg.arguments.value, dockerfile.escape)).collect::<Vec<_>>()
    };
    let (now, before) = (defaults(now), BTreeMap::from_iter(defaults(before)));
    let names: BTreeSet<&str> = now.iter().map(|(name, _)| name.as_str()).collect();
    let gone = before.iter().filter(|(name, default)| {
        let had = changed.contains(*name) || default.is_some() && !given.contains_key(*name);
        had && !names.contains(name.as_str())
    });
    let mut differ: BTreeSet<String> = gone.map(|(name, _)| name.clone()).collect();
    for (name, default) in &now {
        let same = before.get(name).and_then(Option::as_ref) == default.as_ref();
        let derived = default.as_ref().is_some_and(|default| names_any(default, &differ).is_some());
        if changed.contains(name) || !given.contains_key(name) && (!same || derived) {
            differ.insert(name.clone());
        }
    }
    differ
}

/// The first of these names that stands in a text as `$name` or `${name…}`.
pub(super) fn names_any<'t>(text: &'t str, names: &BTreeSet<String>) -> Option<&'t str> {
    let mut found = text.match_indices('$').map(|(at, _)| {
        let rest = text[at + 1..].trim_start_matches('{');
        let end = rest.find(|character: char| !character.is_ascii_alphanumeric() && character != '_');
        &rest[..end.unwrap_or(rest.len())]
    });
    found.find(|name| names.contains(*name))
}

// === impl Arguments ===

impl Arguments<'_> {
    /// Whether an ARG gives a variable a value, or gave one before.
    fn has_value(&self, name: &str, default: Option<&str>) -> bool {
        default.is_some()
            || self.given.contains_key(name)
            || self.changed.contains(name)
            || self.globals.contains(name)
            || !matches!(self.global.lookup(name), Value::Unset)
    }
}

// === impl Environment ===

impl Environment {
    /// What a copy costs, in bytes.
    pub(super) fn size(&self) -> usize {
        self.variables.iter().map(|name| 100 + name.len()).sum()
    }

    /// What a line sets to something else: where it is another one, or what it names is.
    pub(super) fn set(&mut self, instruction: &Instruction<'_>, line: &Line, args: Arguments<'_>, is_new: bool) {
        match instruction {
            Instruction::Arg(arg) => {
                for (name, default) in words::arg(&arg.arguments.value, args.escape) {
                    let differs = match default.as_deref() {
                        _ if args.changed.contains(&name) => true,
                        _ if args.given.contains_key(&name) => false,
                        Some(default) => names_any(default, &self.variables).is_some(),
                        None => args.globals.contains(&name),
                    };
                    if differs || is_new && args.has_value(&name, default.as_deref()) {
                        self.variable(name, "argument");
                    }
                }
            }
            Instruction::Env(env) => {
                for (name, value) in words::env(&env.arguments.value, args.escape).unwrap_or_default() {
                    if is_new || names_any(&value, &self.variables).is_some() {
                        self.variable(name, "variable");
                    }
                }
            }
            Instruction::User(_) => {
                let differs = is_new || names_any(&line.text, &self.variables).is_some();
                self.user = differs.then(|| format!("`{}` changed", line.first));
            }
            _ if is_new => self.differs(|| format!("`{}` changed", line.first)),
            _ => {}
        }
    }

    /// A line is not there any more.
    pub(super) fn gone(&mut self, line: &Line, args: Arguments<'_>) {
        let (word, rest) = line.text.split_once(' ').unwrap_or((&line.text, ""));
        let what = || format!("`{}` is gone", line.first);
        let names: Vec<String> = match word.to_ascii_lowercase().as_str() {
            "user" => {
                self.user.get_or_insert_with(what);
                return;
            }
            "env" => words::env(rest, args.escape).unwrap_or_default().into_iter().map(|(name, _)| name).collect(),
            "arg" => {
                let mut all = words::arg(rest, args.escape);
                all.retain(|(name, default)| args.has_value(name, default.as_deref()));
                if all.is_empty() {
                    return;
                }
                all.into_iter().map(|(name, _)| name).collect()
            }
            _ => Vec::new(),
        };
        self.differs(what);
        self.variables.extend(names);
    }

    fn variable(&mut self, name: String, kind: &str) {
        self.differs(|| format!("{kind} `{name}` changed"));
        self.variables.insert(name);
    }

    fn differs(&mut self, what: impl FnOnce() -> String) {
        self.first.get_or_insert_with(what);
    }
}
