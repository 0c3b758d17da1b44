//! The `# syntax=` directive: which frontend builds the file (`BuildKit`, `parser.DetectSyntax`).

use std::collections::{BTreeMap, BTreeSet};

/// The argument that stands above the directive.
const ARG: &str = "BUILDKIT_SYNTAX";

/// Who reads the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frontend {
    /// The one in the engine.
    BuiltIn,
    /// An image of the official one.
    Official(String),
    /// Anything else.
    Other(String),
}

/// The frontend that the text, or an argument, names. An argument without a value isn't known yet.
pub fn frontend(text: &str, args: &BTreeMap<String, Option<String>>) -> Frontend {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let name = match args.get(ARG) {
        Some(Some(name)) => name.trim().to_owned(),
        Some(None) => return Frontend::Other(format!("${ARG}")),
        None => match directive(text) {
            Some(value) => value,
            None => return Frontend::BuiltIn,
        },
    };
    let name = name.split(' ').next().unwrap_or_default();
    if name.is_empty() {
        return Frontend::BuiltIn;
    }
    if is_official(name) { Frontend::Official(name.to_owned()) } else { Frontend::Other(name.to_owned()) }
}

fn is_official(name: &str) -> bool {
    let rest = name.strip_prefix("docker.io/").or_else(|| name.strip_prefix("index.docker.io/")).unwrap_or(name);
    rest.strip_prefix("docker/dockerfile").is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '@']))
}

fn directive(text: &str) -> Option<String> {
    let text = match text.split_once('\n') {
        Some((first, rest)) if first.starts_with("#!") => rest,
        None if text.starts_with("#!") => "",
        _ => text,
    };
    // A file in another language may name its frontend in its own kind of comment.
    ["#", "//"].into_iter().find_map(|comment| directive_in(text, comment))
}

fn directive_in(text: &str, comment: &str) -> Option<String> {
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        let (key, value) = line.strip_prefix(comment)?.trim_start().split_once('=')?;
        let (key, value) = (key.trim_end().to_ascii_lowercase(), value.trim());
        if value.is_empty() || !matches!(key.as_str(), "syntax" | "escape" | "check") || !seen.insert(key.clone()) {
            return None;
        }
        if key == "syntax" {
            return Some(value.to_owned());
        }
    }
    None
}
