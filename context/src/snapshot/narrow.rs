//! Narrowing: only what some paths lead to, found before anything is walked or hashed.
//!
//! `BuildKit` asks for a context with `followpaths`, and a snapshot answers with the entries that these lead to (see
//! [`follow`](crate::follow)). A narrowed scan holds just those entries: the paths are followed on disk, as far as the
//! rules let through what is there, and the walk is filtered by the result.

use std::io;
use std::path::Path;

use crate::filter::{Below, Filter, Verdict};
use crate::follow::{FollowError, TreeReader, follow_links};
use crate::rules::Rules;
use crate::walk::{Listed, ListedKind, Root, WalkError, check_target};

/// What some paths amount to.
#[derive(Debug)]
pub(super) struct Narrowed {
    pub(super) filter: Filter,
    /// The paths and what they lead to; they may hold wildcards.
    pub(super) targets: Vec<String>,
}

/// What the paths amount to; `None` if that is everything. Where it can't be told it is everything, too, which
/// is never wrong: `BuildKit` takes from it what it wants, or says what is wrong with the paths.
pub(super) fn narrow(root: &Root, rules: &Rules, paths: &[String]) -> Result<Option<Narrowed>, WalkError> {
    if paths.is_empty() {
        return Ok(None);
    }
    let targets = match follow_links(&Disk { root, rules }, paths) {
        Ok(Some(targets)) => targets,
        Ok(None) | Err(FollowError::TooFar { .. } | FollowError::Filter(_)) => return Ok(None),
        Err(FollowError::Tree(error)) => return Err(error),
    };
    let Ok(filter) = Filter::new::<_, &str>(&targets, &[]) else { return Ok(None) };
    // A bad pattern shows when something is compared with it; no entry has this name, so it is compared with all.
    let bad = filter.judge("\0", false, None).is_err();
    Ok((!bad && !filter.has_include_exceptions()).then_some(Narrowed { filter, targets }))
}

/// What the rules leave of a directory on disk.
struct Disk<'a> {
    root: &'a Root,
    rules: &'a Rules,
}

// === impl Disk ===

impl Disk<'_> {
    /// What the rules say of a path; `Prune`, too, where they say so of a directory above it. Every name but the last is
    /// taken for a directory's.
    fn verdict(&self, path: &str, is_directory: bool) -> Result<Verdict, WalkError> {
        let mut above: Option<Below> = None;
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            let is_directory = is_directory || end < path.len();
            let judged = self.rules.filter().judge(&path[..end], is_directory, above.as_ref());
            let (verdict, below) = judged.map_err(|error| self.rules.locate(error))?;
            if verdict == Verdict::Prune || end == path.len() {
                return Ok(verdict);
            }
            above = Some(below);
        }
        Ok(Verdict::Prune)
    }

    /// The target of an entry, if it is a symlink that the rules leave.
    fn target(&self, path: &str, entry: Listed) -> Result<Option<String>, WalkError> {
        match entry.kind {
            ListedKind::Symlink(target) if self.verdict(path, false)? == Verdict::Include => {
                absent(check_target(self.root, Path::new(path), target))
            }
            _ => Ok(None),
        }
    }
}

impl TreeReader for Disk<'_> {
    type Error = WalkError;

    fn link(&self, path: &str) -> Result<Option<String>, WalkError> {
        match absent(self.root.look_at(Path::new(path)))? {
            Some(found) => self.target(path, found),
            None => Ok(None),
        }
    }

    fn links(&self, path: &str, wanted: &mut dyn FnMut(&str) -> bool) -> Result<Vec<(String, String)>, WalkError> {
        let (at, prefix) = if path == "." { ("", String::new()) } else { (path, format!("{path}/")) };
        if path != "." && self.verdict(path, true)? == Verdict::Prune {
            return Ok(Vec::new());
        }
        let at = Path::new(at);
        let listed = self.root.open_directory(at).and_then(|directory| self.root.list_in(directory, at));
        let mut links = Vec::new();
        for entry in absent(listed)?.into_iter().flat_map(|(listed, _)| listed) {
            // Names that aren't UTF-8 match nothing that can be asked for.
            let Some(name) = entry.name.to_str().filter(|name| wanted(name)).map(str::to_owned) else { continue };
            if let Some(target) = self.target(&format!("{prefix}{name}"), entry)? {
                links.push((name, target));
            }
        }
        Ok(links)
    }
}

/// `None` for what isn't there, or isn't where no symlink leads.
fn absent<T>(result: Result<T, WalkError>) -> Result<Option<T>, WalkError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(WalkError::Vanished { .. } | WalkError::Changed { .. } | WalkError::Escapes { .. }) => Ok(None),
        Err(WalkError::Read { source, .. })
            if matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidFilename) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
