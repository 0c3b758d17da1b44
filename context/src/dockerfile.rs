//! What a Dockerfile can use of its context, and which images it starts from, told from its text alone.
//!
//! The CLI sends only what a build can use; the service looks at the base images to decide whether a build can be skipped.
//! Both ask [`analyse`], which follows what `BuildKit` does (`frontend/dockerfile/dockerfile2llb`): only stages that the
//! target needs count, and the paths are those that it puts into `followpaths`.
//!
//! Whatever the text alone can't tell makes the answer wider, never wrong: [`ContextPaths::All`] where paths are open, an
//! [`Unknown`] where the result may differ although everything that can be known beforehand is equal. Mistakes in the
//! Dockerfile are left to `BuildKit`.
//!
//! | module | does |
//! |---|---|
//! | `syntax` | the `# syntax=` directive |
//! | `lines` | one line for each instruction, without here-documents |
//! | `heredoc` | which here-documents a line begins |
//! | `words` | splits what ENV, ARG and `--mount` hold |
//! | `expand` | variables and quotes in a word |
//! | `scope` | which variables have which value |
//! | `stages` | stages, and what they need from each other |
//! | `interpret` | goes through the stages that count |
//! | `steps` | which steps run again after a change |

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::Change;

mod expand;
mod heredoc;
mod interpret;
mod lines;
mod scope;
mod stages;
mod steps;
mod syntax;
#[cfg(test)]
mod tests;
mod words;

pub use steps::{Changes, Step, Why, rebuilt};
pub use syntax::{Frontend, frontend};

/// The most paths that are worth naming one by one.
const MAX_PATHS: usize = 1000;

/// A Dockerfile and how it is built.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Its text.
    pub text: &'a str,
    /// The stage to build; the last one if unset.
    pub target: Option<&'a str>,
    /// Build arguments; without a value where it is not known yet.
    pub args: &'a BTreeMap<String, Option<String>>,
    /// The platforms to build for; none: the engine's own, whatever that is.
    pub platforms: &'a [String],
}

/// What a Dockerfile needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Analysis {
    /// What it can use of its context, ONBUILD triggers of base images aside.
    pub context_paths: ContextPaths,
    /// The images that it starts from or takes files from, by name, without `scratch`.
    pub base_images: Vec<BaseImage>,
    /// Part of it can't be told from the text: there may be more base images.
    pub opaque: bool,
    /// The image of the frontend that builds it, when it names one: an official one.
    pub frontend: Option<String>,
    /// Why equal inputs may not give equal images; empty when they do.
    pub unknown: Vec<Unknown>,
    /// Every name that any ARG in it declares; `None` if the text can't be read.
    pub declared_args: Option<BTreeSet<String>>,
}

/// What can be used of a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextPaths {
    /// All of it, or it can't be told.
    All {
        /// Why.
        reason: String,
    },
    /// What these lead to, as `BuildKit`'s `followpaths`: clean, relative, in byte order; may hold wildcards.
    Only(Vec<String>),
}

/// An image that a Dockerfile names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseImage {
    /// As written, variables replaced.
    pub name: String,
    /// The line that names it first.
    pub line: usize,
    /// A stage starts from it, so that its ONBUILD triggers run. Else files are taken from it.
    pub from: bool,
}

/// Something that can't be known before the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// What.
    pub reason: String,
    /// Where.
    pub line: usize,
}

/// Larger Dockerfiles, in bytes, are not looked into; nor are those with more instructions.
const MAX_TEXT: usize = 256 << 10;
const MAX_INSTRUCTIONS: usize = 1000;

/// How many bytes of variables are set and copied at most.
const MAX_COPIED: usize = 64 << 20;

/// More reasons than anyone reads.
const MAX_UNKNOWN: usize = 100;

/// What a Dockerfile needs, as far as its text tells.
pub fn analyse(input: &Input<'_>) -> Analysis {
    let mut found = Found::default();
    let text = input.text.strip_prefix('\u{feff}').unwrap_or(input.text);
    let frontend = syntax::frontend(text, input.args);
    match &frontend {
        syntax::Frontend::BuiltIn | syntax::Frontend::Official(_) => {}
        syntax::Frontend::Other(name) => found.opaque(1, format!("the frontend `{name}` is not known")),
    }
    let mut declared = None;
    if text.len() > MAX_TEXT {
        // What one tenant sends must not keep the service busy.
        found.opaque(1, "it is too large to be looked into");
        return found.finish(None, None);
    }
    let plain = lines::plain(text);
    match plain.as_ref().map_err(Clone::clone).and_then(stages::Dockerfile::parse) {
        Ok(dockerfile) => {
            declared = Some(dockerfile.declared_args());
            if input.platforms.is_empty() {
                interpret::interpret(&dockerfile, input, None, &mut found);
            }
            for platform in input.platforms {
                interpret::interpret(&dockerfile, input, Some(platform), &mut found);
            }
        }
        Err(problem) => found.opaque(problem.line, problem.reason),
    }
    let frontend = match frontend {
        syntax::Frontend::Official(name) => Some(name),
        syntax::Frontend::BuiltIn | syntax::Frontend::Other(_) => None,
    };
    found.finish(frontend, declared)
}

impl ContextPaths {
    /// Whether a path is one of these, or below one that holds no wildcard. Clean relative paths only.
    pub fn covers(paths: &[String], asked: &str) -> bool {
        paths.iter().any(|path| {
            path == asked
                || !crate::pattern::glob::has_wildcard(path)
                    && asked.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('/'))
        })
    }

    /// Whether what changed may be part of a context that holds what these lead to; none: all of it.
    pub fn hold(paths: &[String], change: &Change) -> bool {
        paths.is_empty() || paths.iter().any(|path| steps::takes(path, change))
    }

    /// Whether this could be one of the paths of [`ContextPaths::Only`].
    pub fn is_clean(path: &str) -> bool {
        !path.is_empty()
            && path != "."
            && path.len() <= crate::tree::MAX_PATH
            && !path.contains('\0')
            && crate::pattern::path::join(".", &crate::pattern::path::join("/", path)) == path
    }
}

/// What was found so far.
#[derive(Debug, Default)]
struct Found {
    all: Option<String>,
    paths: BTreeSet<String>,
    images: BTreeMap<String, BaseImage>,
    opaque: bool,
    unknown: Vec<Unknown>,
    /// Bytes of variables.
    copied: usize,
}

// === impl Found ===

impl Found {
    /// A path of the context, as `BuildKit` cleans it.
    fn path(&mut self, path: &str, line: usize) {
        use crate::pattern::path::join;
        let path = join(".", &join("/", path));
        if path == "." {
            self.everything(line, "it uses the whole context");
        } else if ContextPaths::is_clean(&path) {
            self.paths.insert(path);
        } else {
            self.everything(line, "it names a path that is no path");
        }
    }

    fn everything(&mut self, line: usize, reason: &str) {
        self.all.get_or_insert_with(|| format!("line {line}: {reason}"));
    }

    fn image(&mut self, name: String, line: usize, from: bool) {
        if name == "scratch" {
            return;
        }
        let image = self.images.entry(name.clone()).or_insert(BaseImage { name, line, from });
        image.from |= from;
    }

    /// The result may differ although all that is known is equal.
    fn unknown(&mut self, line: usize, reason: impl Into<String>) {
        let unknown = Unknown { reason: reason.into(), line };
        if self.unknown.len() < MAX_UNKNOWN && !self.unknown.contains(&unknown) {
            self.unknown.push(unknown);
        }
    }

    /// Neither the paths nor the result are known.
    fn opaque(&mut self, line: usize, reason: impl Into<String>) {
        self.opaque = true;
        let reason = reason.into();
        self.everything(line, &reason);
        self.unknown(line, reason);
    }

    /// Counts bytes of variables; `false` if there are too many of them to go on.
    fn spend(&mut self, bytes: usize, line: usize) -> bool {
        self.copied += bytes;
        if self.is_spent() {
            self.opaque(line, "it has too many variables to be looked into");
        }
        !self.is_spent()
    }

    /// What one instruction uses; what it costs is still counted.
    fn take(&mut self) -> Result<Self, Unknown> {
        if self.is_spent() {
            return Err(self
                .unknown
                .pop()
                .unwrap_or(Unknown { reason: "it has too many variables".to_owned(), line: 1 }));
        }
        let copied = self.copied;
        Ok(std::mem::replace(self, Self { copied, ..Self::default() }))
    }

    fn is_spent(&self) -> bool {
        self.copied > MAX_COPIED
    }

    fn finish(self, frontend: Option<String>, declared_args: Option<BTreeSet<String>>) -> Analysis {
        let context_paths = match self.all {
            Some(reason) => ContextPaths::All { reason },
            None if self.paths.len() > MAX_PATHS => ContextPaths::All { reason: "it uses very many paths".to_owned() },
            None => ContextPaths::Only(self.paths.into_iter().collect()),
        };
        let (opaque, unknown) = (self.opaque, self.unknown);
        let base_images = self.images.into_values().collect();
        Analysis { context_paths, base_images, opaque, frontend, unknown, declared_args }
    }
}
