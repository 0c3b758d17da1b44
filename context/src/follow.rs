//! Finding what the sources of a COPY mean: fsutil's `FollowLinks` over a read-only tree.
//!
//! `BuildKit` asks for a context with `followpaths`, the paths that its COPY and ADD steps name. They may hold wildcards
//! and lead through symlinks; resolved, they become include patterns. Links stay inside the tree: an absolute target
//! starts at its root, and `..` stops there.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::filter::{Filter, FilterError};
use crate::pattern::{glob, path};
use crate::tree::{DirectoryStore, Kept, MerkleTree};

/// Longest path looked at. Links can make paths grow, and the tree is not ours.
const MAX_PATH: usize = 4096;

/// How much may be done. A path looked at costs [`PATH`], a name compared with a wildcard 1.
const MAX_COST: usize = 100_000 * PATH;
const PATH: usize = 100;

/// A tree that can be looked into.
pub trait TreeReader {
    /// Why it can't be.
    type Error;

    /// The target of the symlink at a clean relative path; `None` if there is none. Symlinks in the middle aren't followed.
    fn link(&self, path: &str) -> Result<Option<String>, Self::Error>;

    /// The symlinks in the directory at a clean relative path (`.` is the root), names and targets, in byte order: those
    /// that are `wanted`, which is asked for the name of every entry.
    fn links(&self, path: &str, wanted: &mut dyn FnMut(&str) -> bool) -> Result<Vec<(String, String)>, Self::Error>;
}

/// What `BuildKit` asks for in one call of file sync.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilterRequest {
    /// `include-patterns`.
    pub include_patterns: Vec<String>,
    /// `exclude-patterns`.
    pub exclude_patterns: Vec<String>,
    /// `followpaths`.
    pub follow_paths: Vec<String>,
}

/// Why a request can't be answered.
#[derive(Debug, thiserror::Error)]
pub enum FollowError<E> {
    /// The tree could not be read.
    #[error("read the tree")]
    Tree(#[source] E),
    /// Symlinks and wildcards lead to more than any real tree needs.
    #[error("symlinks behind `{path}` lead too far")]
    TooFar {
        /// The path asked for.
        path: String,
    },
    /// A pattern is bad.
    #[error(transparent)]
    Filter(#[from] FilterError),
}

// === impl FilterRequest ===

impl FilterRequest {
    /// The filter that answers the request for `tree`.
    pub fn resolve<S: DirectoryStore>(&self, tree: &MerkleTree<S>) -> Result<Filter, FollowError<S::Error>> {
        // Every path is looked up from the root.
        self.resolve_in(&MerkleTree { root: tree.root, store: Kept::new(&tree.store) })
    }

    fn resolve_in<T: TreeReader>(&self, tree: &T) -> Result<Filter, FollowError<T::Error>> {
        let mut include = self.include_patterns.clone();
        if !self.follow_paths.is_empty()
            && let Some(targets) = follow_links(tree, &self.follow_paths)?
        {
            include.extend(targets);
            include = without_children(include).unwrap_or_default();
        }
        Ok(Filter::new(&include, &self.exclude_patterns)?)
    }
}

/// The paths and what they lead to, sorted, without those below another; `None` if the root is among them.
pub fn follow_links<T: TreeReader>(
    tree: &T,
    paths: &[impl AsRef<str>],
) -> Result<Option<Vec<String>>, FollowError<T::Error>> {
    let mut resolver = Resolver { tree, resolved: BTreeSet::new(), cost: 0 };
    for path in paths {
        resolver.follow(path.as_ref())?;
    }
    Ok(without_children(resolver.resolved.into_iter().collect()))
}

struct Resolver<'t, T> {
    tree: &'t T,
    resolved: BTreeSet<String>,
    cost: usize,
}

// === impl Resolver ===

impl<T: TreeReader> Resolver<'_, T> {
    fn follow(&mut self, asked: &str) -> Result<(), FollowError<T::Error>> {
        // A list instead of recursion, for links can form long chains. Order matters: a link is followed only the first
        // time, with what comes behind it then.
        let mut waiting: Vec<(String, Rc<str>)> = vec![(asked.to_owned(), "".into())];
        while let Some((start, rest)) = waiting.pop() {
            let next = path::join(".", &path::join(&start, &rest));
            let mut current = ".".to_owned();
            let mut rest = next.as_str();
            loop {
                self.cost += PATH;
                let (first, behind) = rest.split_once('/').unwrap_or((rest, ""));
                current = path::join(&current, first);
                rest = behind;
                let targets = self.targets(&current).map_err(FollowError::Tree)?;
                if self.cost > MAX_COST || next.len() > MAX_PATH {
                    return Err(FollowError::TooFar { path: asked.to_owned() });
                }
                if targets.is_empty() && !rest.is_empty() {
                    continue;
                }
                if self.resolved.insert(current) {
                    let rest: Rc<str> = rest.into();
                    waiting.extend(targets.into_iter().rev().map(|target| (target, rest.clone())));
                }
                break;
            }
        }
        Ok(())
    }

    /// Where the symlinks that a path names lead to.
    fn targets(&mut self, at: &str) -> Result<Vec<String>, T::Error> {
        if at == "." || at == "/" {
            return Ok(Vec::new());
        }
        let (directory, pattern) = (path::dir(at), path::base(at));
        if !glob::has_wildcard(pattern) {
            return Ok(self.tree.link(at)?.map(|target| from_root(&directory, &target)).into_iter().collect());
        }
        let cost = &mut self.cost;
        let links = self.tree.links(&directory, &mut |name| {
            *cost += 1;
            *cost <= MAX_COST && glob::matches(pattern, name) == Ok(true)
        })?;
        Ok(links.into_iter().map(|(_, target)| from_root(&directory, &target)).collect())
    }
}

/// Where a symlink in this directory leads to.
fn from_root(directory: &str, target: &str) -> String {
    if target.starts_with('/') {
        return path::clean(target);
    }
    // Below the root, so that `..` ends there.
    path::join("/", &path::join(directory, &path::clean(target)))
}

/// The list without paths below the one kept before; `None` if the root is in it.
fn without_children(paths: Vec<String>) -> Option<Vec<String>> {
    let mut kept: Vec<String> = Vec::with_capacity(paths.len());
    for path in paths {
        if path == "." {
            return None;
        }
        let last = kept.last().map_or("", String::as_str);
        if !path.strip_prefix(last).is_some_and(|rest| rest.starts_with('/')) {
            kept.push(path);
        }
    }
    Some(kept)
}

#[cfg(test)]
mod tests;
