//! Events to tree: aliases, merges, duplicate keys and limits.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
};

use granit_parser::{ErrorKind, Event, ScalarStyle, ScanError, Span, Tag};

use super::{
    MAX_BYTES, MAX_DEPTH, MAX_NODES, MAX_TEXT,
    continuation::{self, Moved},
    hints,
    node::{Entry, Kind, Node, Scalar, ScalarKind, Weight},
};
use crate::problem::{Place, Report};

/// Reads the first document, as yaml.v2 does. `None`: it is empty, or not YAML, which is then in the report.
pub(crate) fn load(text: &str, report: &mut Report) -> Option<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > MAX_BYTES {
        report.error(Place::new(1, 1), format!("the file is larger than {} KiB", MAX_BYTES / 1024));
        return None;
    }
    let mut tree = tree(text, &Moved::default(), report);
    if matches!(tree, Err(Failure { cause: Cause::Continuation, .. }))
        && let Some((text, moved)) = continuation::moved(text)
    {
        report.clear();
        let another = self::tree(&text, &moved, report);
        // What comes after a quote that was forgotten is beside the point: the place where the text can't go on tells more.
        if !matches!(another, Err(Failure { cause: Cause::Syntax | Cause::Continuation, .. })) {
            tree = another;
        }
    }
    let failure = match tree {
        Ok(root) => return root,
        Err(failure) => failure,
    };
    let hint = hints::of(&failure.message);
    report.error_with(failure.place, failure.message, hint);
    None
}

/// The tree of a text, some of whose lines were moved.
fn tree(text: &str, moved: &Moved, report: &mut Report) -> Result<Option<Node>, Failure> {
    let mut loader =
        Loader { report, moved, stack: Vec::new(), anchors: HashMap::new(), root: None, total: Weight::default() };
    let mut documents = 0;
    for event in continuation::parser(text) {
        match event {
            // What follows the first document is not read, so that its mistakes don't count either.
            Err(_) if documents > 0 => break,
            Err(error) => return Err(syntax_error(&error, moved)),
            Ok((Event::DocumentStart(..), span)) if documents > 0 => {
                loader.report.warn(loader.place_of(span), "only the first YAML document of the file is read");
                break;
            }
            Ok((Event::DocumentEnd, _)) => documents += 1,
            Ok((event, span)) => loader.event(event, span)?,
        }
    }
    Ok(loader.root)
}

/// Why there is no tree.
struct Failure {
    place: Place,
    message: String,
    cause: Cause,
}

/// What kind of failure it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// A line of a text in quotes begins at the left.
    Continuation,
    /// A quote is not closed.
    Unclosed,
    /// Anything else that is no YAML.
    Syntax,
    /// A limit of ours.
    Limit,
}

impl From<(Place, String)> for Failure {
    fn from((place, message): (Place, String)) -> Self {
        Self { place, message, cause: Cause::Limit }
    }
}

struct Loader<'r> {
    report: &'r mut Report,
    moved: &'r Moved,
    /// Collections that are open.
    stack: Vec<Open>,
    /// `None`: still open.
    anchors: HashMap<usize, Option<Rc<Node>>>,
    root: Option<Node>,
    /// Nodes made so far, copies of aliases included; the nodes of the finished tree are among them.
    total: Weight,
}

struct Open {
    place: Place,
    anchor: usize,
    content: OpenContent,
}

enum OpenContent {
    Sequence(Vec<Node>),
    Mapping { entries: Vec<Pair>, key: Option<Key> },
}

/// A key that waits for its value.
struct Key {
    text: Option<String>,
    merge: bool,
    place: Place,
}

struct Pair {
    key: Key,
    value: Node,
}

impl Loader<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Failure> {
        let place = self.place_of(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let kind = scalar_kind(&text, style, tag.as_deref(), place, self.report);
                // Only an untagged plain `<<` merges; quoted it is a key like others.
                let merge = style == ScalarStyle::Plain && tag.is_none() && text == "<<";
                let weight = Weight { nodes: 1, text: text.len(), depth: 1 };
                let node = Node { place, kind: Kind::Scalar(Scalar { text: text.into_owned(), kind }), weight };
                self.count(place, weight)?;
                self.keep_anchor(anchor, &node)?;
                self.place_node(node, merge);
                Ok(())
            }
            Event::SequenceStart(_, anchor, _) => self.open(place, anchor, OpenContent::Sequence(Vec::new())),
            Event::MappingStart(_, anchor, _) => {
                self.open(place, anchor, OpenContent::Mapping { entries: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(id) => match self.anchors.get(&id) {
                Some(Some(target)) => {
                    let target = Rc::clone(target);
                    self.count(place, target.weight)?;
                    self.place_node((*target).clone(), false);
                    Ok(())
                }
                _ => Err((place, "an alias can't stand inside what it refers to".to_owned()).into()),
            },
            _ => Ok(()),
        }
    }

    fn place_of(&self, span: Span) -> Place {
        self.moved.place(&span.start)
    }

    fn open(&mut self, place: Place, anchor: usize, content: OpenContent) -> Result<(), Failure> {
        if self.stack.len() >= MAX_DEPTH {
            return Err((place, format!("nested deeper than {MAX_DEPTH} levels")).into());
        }
        self.count(place, Weight { nodes: 1, text: 0, depth: 1 })?;
        if anchor != 0 {
            self.anchors.insert(anchor, None);
        }
        self.stack.push(Open { place, anchor, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Failure> {
        // The parser closes only what it opened.
        let Some(Open { place, anchor, content }) = self.stack.pop() else { return Ok(()) };
        let kind = match content {
            OpenContent::Sequence(items) => Kind::Sequence(items),
            OpenContent::Mapping { entries, .. } => Kind::Mapping(self.merged(entries)),
        };
        let mut weight = Weight { nodes: 1, text: 0, depth: 1 };
        match &kind {
            Kind::Scalar(_) => {}
            Kind::Sequence(items) => items.iter().for_each(|item| weight.hold(item.weight)),
            Kind::Mapping(entries) => {
                for entry in entries {
                    weight.text += entry.key.len();
                    weight.hold(entry.value.weight);
                }
            }
        }
        if weight.depth > MAX_DEPTH {
            return Err((place, format!("nested deeper than {MAX_DEPTH} levels through its aliases")).into());
        }
        let node = Node { place, kind, weight };
        self.keep_anchor(anchor, &node)?;
        self.place_node(node, false);
        Ok(())
    }

    /// Puts a finished node where the tree is open.
    fn place_node(&mut self, node: Node, merge: bool) {
        match self.stack.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(OpenContent::Sequence(items)) => items.push(node),
            Some(OpenContent::Mapping { entries, key }) => {
                if let Some(key) = key.take() {
                    entries.push(Pair { key, value: node });
                    return;
                }
                let place = node.place;
                let text = match node.kind {
                    Kind::Scalar(scalar) => Some(scalar.text),
                    Kind::Sequence(_) | Kind::Mapping(_) => {
                        self.report.error(place, "a key must be a string");
                        None
                    }
                };
                *key = Some(Key { text, merge, place });
            }
        }
    }

    /// The entries of a mapping, with what `<<` brings. As in yaml.v2 the later of two counts, whether it is an own key or
    /// comes from a `<<`; in a list of mappings the first.
    fn merged(&mut self, pairs: Vec<Pair>) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::with_capacity(pairs.len());
        let mut index: HashMap<String, usize> = HashMap::new();
        let mut own: HashMap<String, Place> = HashMap::new();
        for Pair { key, value } in pairs {
            if key.merge {
                for entry in self.merge_sources(key.place, value) {
                    if let Some(place) = own.get(&entry.key) {
                        let message = format!("`<<` replaces `{}` of line {}", entry.key, place.line);
                        let hint = "put `<<` before the keys that are to win";
                        self.report.warn_with(key.place, message, Some(hint));
                    }
                    put(&mut entries, &mut index, entry);
                }
                continue;
            }
            let Some(text) = key.text else { continue };
            if let Some(first) = own.get(&text) {
                self.report.error(key.place, format!("duplicate key `{text}`, first on line {}", first.line));
                continue;
            }
            own.insert(text.clone(), key.place);
            put(&mut entries, &mut index, Entry { key: text, key_place: key.place, value });
        }
        entries
    }

    /// What one `<<` brings.
    fn merge_sources(&mut self, place: Place, value: Node) -> Vec<Entry> {
        let sources = match value.kind {
            Kind::Mapping(entries) => return entries,
            Kind::Sequence(items) => items,
            Kind::Scalar(_) => {
                self.report.error(place, "`<<` must be given a mapping or a list of mappings");
                return Vec::new();
            }
        };
        let mut seen: HashSet<String> = HashSet::new();
        let mut entries = Vec::new();
        for source in sources {
            match source.kind {
                Kind::Mapping(inherited) => {
                    entries.extend(inherited.into_iter().filter(|entry| seen.insert(entry.key.clone())));
                }
                _ => self.report.error(place, "`<<` must be given a mapping or a list of mappings"),
            }
        }
        entries
    }

    fn keep_anchor(&mut self, anchor: usize, node: &Node) -> Result<(), Failure> {
        if anchor != 0 {
            // A copy counts: anchors inside anchors would otherwise multiply what is kept.
            self.count(node.place, node.weight)?;
            self.anchors.insert(anchor, Some(Rc::new(node.clone())));
        }
        Ok(())
    }

    /// Refuses what would be too much before it is made.
    fn count(&mut self, place: Place, weight: Weight) -> Result<(), Failure> {
        self.total.hold(weight);
        if self.total.nodes > MAX_NODES {
            return Err((place, format!("more than {MAX_NODES} values, with aliases expanded")).into());
        }
        if self.total.text > MAX_TEXT {
            let limit = MAX_TEXT / 1024 / 1024;
            return Err((place, format!("more than {limit} MiB of text, with aliases expanded")).into());
        }
        Ok(())
    }
}

/// Adds an entry, or replaces the one of its key.
fn put(entries: &mut Vec<Entry>, index: &mut HashMap<String, usize>, entry: Entry) {
    if let Some(at) = index.get(&entry.key) {
        entries[*at] = entry;
    } else {
        index.insert(entry.key.clone(), entries.len());
        entries.push(entry);
    }
}

impl Weight {
    fn hold(&mut self, inner: Weight) {
        self.nodes = self.nodes.saturating_add(inner.nodes);
        self.text = self.text.saturating_add(inner.text);
        self.depth = self.depth.max(inner.depth + 1);
    }
}

fn scalar_kind(text: &str, style: ScalarStyle, tag: Option<&Tag>, place: Place, report: &mut Report) -> ScalarKind {
    let plain = ScalarKind::of_plain(text);
    let Some(tag) = tag else {
        return if style == ScalarStyle::Plain { plain } else { ScalarKind::Text };
    };
    let number = matches!(plain, ScalarKind::Int(_) | ScalarKind::Float(_));
    match (tag.suffix_in_namespace("tag:yaml.org,2002:").as_deref(), plain) {
        // The tag says what it is, quotes or not.
        (Some("bool"), ScalarKind::Bool(_)) | (Some("null"), ScalarKind::Null) => plain,
        (Some("int" | "float"), _) if number => plain,
        // A tag of somebody's own is a string to yaml.v2.
        (Some("str" | "timestamp") | None, _) => ScalarKind::Text,
        (Some(_), _) => {
            let tag = tag.to_string();
            let tag = tag.strip_prefix("tag:yaml.org,2002:").map_or_else(|| tag.clone(), |core| format!("!!{core}"));
            report.error(place, format!("the tag `{tag}` does not fit here"));
            ScalarKind::Text
        }
    }
}

fn syntax_error(error: &ScanError, moved: &Moved) -> Failure {
    let cause = match error.kind() {
        _ if continuation::is_cause(error) => Cause::Continuation,
        ErrorKind::UnclosedQuotedScalar => Cause::Unclosed,
        _ => Cause::Syntax,
    };
    Failure { place: moved.place(error.marker()), message: format!("not valid YAML: {}", error.info()), cause }
}
