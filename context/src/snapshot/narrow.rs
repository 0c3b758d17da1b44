//! Narrowing: only what some paths lead to, found before anything is walked or hashed.
//!
//! `BuildKit` asks for a context with `followpaths`, and a snapshot answers with the entries that these lead to (see
//! [`follow`](crate::follow)). A narrowed scan holds just those entries: the paths are followed on disk, as far as the
//! rules let through what is there, and the walk is filtered by the result.

use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use crate::filter::{Below, Filter, Verdict};
use crate::follow::{FollowError, Kind, TreeReader, follow_links};
use crate::rules::Rules;
use crate::walk::{ListedKind, Root, WalkError, check_target};

/// The filter that the paths amount to; `None` if that is everything. Where it can't be told it is everything, too, which
/// is never wrong: `BuildKit` takes from it what it wants, or says what is wrong with the paths.
pub(super) fn filter(root: &Root, rules: &Rules, paths: &[String]) -> Result<Option<Filter>, WalkError> {
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
    Ok((!bad && !filter.has_include_exceptions()).then_some(filter))
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
}

impl TreeReader for Disk<'_> {
    type Error = WalkError;

    fn lookup(&self, path: &str) -> Result<Option<Kind>, WalkError> {
        let at = Path::new(path);
        let found = match absent(self.root.look_at(at))? {
            Some(found) if found.mode.is_ok() => found.kind,
            _ => return Ok(None),
        };
        let is_directory = matches!(found, ListedKind::Directory);
        let verdict = self.verdict(path, is_directory)?;
        Ok(match found {
            ListedKind::Directory if verdict != Verdict::Prune => Some(Kind::Directory),
            ListedKind::File(_) if verdict == Verdict::Include => Some(Kind::File),
            ListedKind::Symlink(target) if verdict == Verdict::Include => {
                Some(Kind::Symlink(check_target(self.root, at, target)?))
            }
            _ => None,
        })
    }

    fn read_dir(&self, path: &str) -> Result<Option<Vec<String>>, WalkError> {
        let at = Path::new(if path == "." { "" } else { path });
        if path != "." && self.verdict(path, true)? == Verdict::Prune {
            return Ok(None);
        }
        let listed = self.root.open_directory(at).and_then(|directory| self.root.list_in(directory.as_fd(), at));
        // Names that aren't UTF-8 match nothing that can be asked for.
        Ok(absent(listed)?.map(|listed| listed.into_iter().filter_map(|entry| entry.name.into_string().ok()).collect()))
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
