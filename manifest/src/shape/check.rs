//! A tree against its shape: every key that is unknown, every value of the wrong kind, everything that is missing.

use std::fmt;

use super::{Choice, Field, Form, Kind, Named, Object, Rule};
use crate::{
    problem::{Concern, Place, Report},
    suggest,
    yaml::{self, Node, Scalar, ScalarKind},
};

/// Checks the root of a manifest.
pub(crate) fn check(root: &Node, shape: &'static Object, report: &mut Report) {
    object(root, shape, &At { path: Path::Root, place: root.place, hint: None, concern: Concern::Everybody }, report);
}

/// Where a value is in the manifest, such as `build.app.args`; made a text only for messages.
#[derive(Clone, Copy)]
enum Path<'p> {
    Root,
    Key(&'p Path<'p>, &'p str),
    Item(&'p Path<'p>, usize),
}

/// A value's surroundings.
#[derive(Clone, Copy)]
struct At<'p> {
    path: Path<'p>,
    /// What is pointed at when something is missing in the value: its key, where it has one of its own.
    place: Place,
    hint: Option<&'static str>,
    /// Whom a value of the right kind that means nothing stops.
    concern: Concern,
}

/// Names of this length are cut in messages.
const MAX_KEY: usize = 100;

fn value(node: &Node, kind: &Kind, at: &At<'_>, report: &mut Report) {
    if report.is_full() || (node.is_null() && takes_null(kind)) {
        return;
    }
    match kind {
        Kind::Text => scalar(node, "a string", at, report),
        Kind::Filled(what) => match text(node) {
            Some(text) if text.trim().is_empty() => {
                let hint = at.hint.unwrap_or("write it, or leave the entry out");
                report.error_with(node.place, format!("{at} has no {what}"), Some(hint));
            }
            _ => scalar(node, "a string", at, report),
        },
        Kind::Bool => boolean(node, at, report),
        Kind::Int(from, to) => integer(node, *from, *to, at, report),
        Kind::Word(words) => word(node, words, at, report),
        Kind::Form(form) => form_of(node, form, at, report),
        Kind::List(item) => list(node, item, at, report),
        Kind::Map(named) => map(node, named, at, report),
        Kind::Object(shape) => object(node, shape, at, report),
        Kind::OneOf(choice) => one_of(node, choice, at, report),
        Kind::Either(shape, named) => {
            if node.entries().iter().all(|entry| shape.has(&entry.key)) {
                object(node, shape, at, report);
            } else {
                map(node, named, at, report);
            }
        }
    }
}

/// Whether null is a value of the kind, and not one that is missing.
pub(super) fn takes_null(kind: &Kind) -> bool {
    match kind {
        Kind::Text => true,
        Kind::Object(shape) => shape.may_be_empty(),
        Kind::OneOf(choice) => choice.kinds.iter().any(|kind| matches!(kind, Kind::Text)),
        _ => false,
    }
}

fn scalar(node: &Node, what: &str, at: &At<'_>, report: &mut Report) {
    if !matches!(node.kind, yaml::Kind::Scalar(_)) {
        wrong(node, what, at, report);
    }
}

fn boolean(node: &Node, at: &At<'_>, report: &mut Report) {
    let yaml::Kind::Scalar(scalar) = &node.kind else { return wrong(node, "true or false", at, report) };
    if matches!(scalar.kind, ScalarKind::Bool(_)) {
        return;
    }
    let quoted = matches!(ScalarKind::of_plain(&scalar.text), ScalarKind::Bool(_));
    let hint = quoted.then(|| format!("write {} without quotes", scalar.text));
    report.error_with(node.place, format!("{at} must be true or false, not {}", node.describe()), hint);
}

fn integer(node: &Node, from: i64, to: i64, at: &At<'_>, report: &mut Report) {
    let Some(value) = node.int() else {
        let hint = text(node).filter(|text| matches!(ScalarKind::of_plain(text), ScalarKind::Int(_)));
        let hint = hint.map(|text| format!("write {text} without quotes"));
        let what = match &node.kind {
            yaml::Kind::Scalar(Scalar { kind: ScalarKind::Float(_), text }) => format!("`{}`", cut(text)),
            _ => node.describe().to_owned(),
        };
        report.error_with(node.place, format!("{at} must be a whole number, not {what}"), hint);
        return;
    };
    if value < from || value > to {
        let bounds = if to == i64::MAX { format!("{from} or more") } else { format!("from {from} to {to}") };
        meaningless(node, format!("{at} must be {bounds}, not {value}"), None::<String>, at, report);
    }
}

fn word(node: &Node, words: &[&'static str], at: &At<'_>, report: &mut Report) {
    let known = names(words.iter(), "or");
    let Some(text) = text(node) else { return wrong(node, &known, at, report) };
    if !text.is_empty() && !words.contains(&text) {
        let hint = suggest::nearest(text, words.iter().copied()).map(|word| format!("did you mean `{word}`?"));
        meaningless(node, format!("{at} must be {known}, not `{}`", cut(text)), hint, at, report);
    }
}

fn form_of(node: &Node, form: &Form, at: &At<'_>, report: &mut Report) {
    let hint = form.hint.or(at.hint);
    match &node.kind {
        yaml::Kind::Scalar(Scalar { kind, text }) if *kind != ScalarKind::Null => {
            if !(form.matches)(text) {
                meaningless(node, format!("{at} must be {}, not `{}`", form.what, cut(text)), hint, at, report);
            }
        }
        _ => wrong(node, form.what, &At { hint, ..*at }, report),
    }
}

fn list(node: &Node, item: &Kind, at: &At<'_>, report: &mut Report) {
    let yaml::Kind::Sequence(items) = &node.kind else { return wrong(node, "a list", at, report) };
    for (index, node) in items.iter().enumerate() {
        value(node, item, &At { path: Path::Item(&at.path, index), place: node.place, hint: None, ..*at }, report);
    }
}

fn map(node: &Node, named: &Named, at: &At<'_>, report: &mut Report) {
    let yaml::Kind::Mapping(entries) = &node.kind else { return wrong(node, "a mapping", at, report) };
    for entry in entries {
        let at = At { path: Path::Key(&at.path, &entry.key), place: entry.key_place, hint: None, ..*at };
        match named.filled {
            Some(hint) if entry.value.is_null() => {
                report.error_with(entry.key_place, format!("{at} is empty"), Some(hint));
            }
            _ => value(&entry.value, &named.value, &at, report),
        }
    }
}

fn object(node: &Node, shape: &'static Object, at: &At<'_>, report: &mut Report) {
    if !node.is_null() && !matches!(node.kind, yaml::Kind::Mapping(_)) {
        return wrong(node, "a mapping", at, report);
    }
    for entry in node.entries() {
        match shape.fields.iter().find(|field| field.key == entry.key) {
            None => unknown(&entry.key, entry.key_place, shape, at, report),
            // Null is as if it weren't there; what is needed and empty is reported below.
            Some(field) if entry.value.is_null() || (field.required && is_blank(&entry.value)) => {}
            Some(field) => {
                let path = Path::Key(&at.path, field.key);
                let concern = if field.concern == Concern::Everybody { at.concern } else { field.concern };
                let at = At { path, place: entry.value.place, hint: field.hint, concern };
                value(&entry.value, &field.kind, &at, report);
            }
        }
    }
    for field in shape.fields.iter().filter(|field| field.required) {
        if node.get(field.key).is_none_or(is_blank) {
            missing(field, at, report);
        }
    }
    let (keys, needed): (&[&str], bool) = match shape.rule {
        Rule::Any => return,
        Rule::One(keys) => (keys, true),
        Rule::AtMostOne(keys) => (keys, false),
    };
    let there: Vec<&&str> =
        keys.iter().filter(|key| node.get(key).is_some_and(|value| text(value) != Some(""))).collect();
    if there.len() > 1 {
        let message = format!("{at} has {}: only one of them can count", names(there.into_iter(), "and"));
        report.error(at.place, message);
    } else if there.is_empty() && needed {
        report.error(at.place, format!("{at} needs one of {}", names(keys.iter(), "and")));
    }
}

fn one_of(node: &Node, choice: &Choice, at: &At<'_>, report: &mut Report) {
    let fits = |kind: &&Kind| match &node.kind {
        yaml::Kind::Scalar(_) => {
            matches!(kind, Kind::Text | Kind::Filled(_) | Kind::Bool | Kind::Int(..) | Kind::Word(_) | Kind::Form(_))
        }
        yaml::Kind::Sequence(_) => matches!(kind, Kind::List(_)),
        yaml::Kind::Mapping(_) => matches!(kind, Kind::Map(_) | Kind::Object(_) | Kind::Either(..)),
    };
    let hint = choice.hint.or(at.hint);
    match choice.kinds.iter().find(fits) {
        // A boolean or a form that is written wrongly may have been meant to be any of them.
        Some(Kind::Bool) if !matches!(node.kind, yaml::Kind::Scalar(Scalar { kind: ScalarKind::Bool(_), .. })) => {
            wrong(node, choice.what, &At { hint, ..*at }, report);
        }
        Some(Kind::Form(form)) if text(node).is_some_and(|text| !(form.matches)(text)) => {
            let message = format!("{at} must be {}, not `{}`", choice.what, cut(text(node).unwrap_or_default()));
            meaningless(node, message, hint.or(form.hint), at, report);
        }
        Some(kind) => value(node, kind, &At { hint: None, ..*at }, report),
        None => wrong(node, choice.what, &At { hint, ..*at }, report),
    }
}

/// Of the right kind, but nothing that is understood.
fn meaningless(node: &Node, message: String, hint: Option<impl Into<String>>, at: &At<'_>, report: &mut Report) {
    report.concerning(at.concern, |report| report.error_with(node.place, message, hint));
}

fn wrong(node: &Node, what: &str, at: &At<'_>, report: &mut Report) {
    report.error_with(node.place, format!("{at} must be {what}, not {}", node.describe()), at.hint);
}

fn missing(field: &Field, at: &At<'_>, report: &mut Report) {
    report.error_with(at.place, format!("{at} has no `{}`", field.key), field.hint);
}

fn unknown(key: &str, place: Place, shape: &Object, at: &At<'_>, report: &mut Report) {
    if report.is_full() {
        return;
    }
    let parent = match at.path {
        Path::Root => String::new(),
        _ => format!(" in {at}"),
    };
    let hint = suggest::hint(key, shape.fields.iter().map(|field| field.key));
    report.error_with(place, format!("unknown key `{}`{parent}", cut(key)), hint);
}

/// Nothing, or nothing but white space.
fn is_blank(node: &Node) -> bool {
    match &node.kind {
        yaml::Kind::Scalar(scalar) => scalar.kind == ScalarKind::Null || scalar.text.trim().is_empty(),
        yaml::Kind::Sequence(items) => items.is_empty(),
        yaml::Kind::Mapping(_) => false,
    }
}

/// The text of a scalar; of null the empty one.
fn text(node: &Node) -> Option<&str> {
    match &node.kind {
        yaml::Kind::Scalar(Scalar { kind: ScalarKind::Null, .. }) => Some(""),
        yaml::Kind::Scalar(scalar) => Some(&scalar.text),
        _ => None,
    }
}

fn names<'a>(names: impl Iterator<Item = &'a &'a str>, word: &str) -> String {
    let mut names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    let last = names.pop().unwrap_or_default();
    if names.is_empty() { last } else { format!("{} {word} {last}", names.join(", ")) }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_KEY).collect()
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path {
            Path::Root => f.write_str("the manifest"),
            path => write!(f, "`{path}`"),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(Self::Root, key) => f.write_str(&cut(key)),
            Self::Key(parent, key) => write!(f, "{parent}.{}", cut(key)),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}
