//! Resolving a path as if a directory were the root of the file system.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// As many links as Linux follows.
const MAX_LINKS: usize = 40;

const ROOT: &str = "/";
const PARENT: &str = "..";

/// The path below `root` that `name` leads to when symlinks can't leave `root`; `None` if there is nothing.
///
/// It guards against surprise, not against an attacker who changes the tree meanwhile: both are the caller's own.
pub(super) fn resolve(root: &Path, name: &str) -> Option<PathBuf> {
    let mut waiting: VecDeque<OsString> = VecDeque::from([OsString::from(name)]);
    let mut below = PathBuf::new();
    let mut links = 0;
    while let Some(next) = waiting.pop_front() {
        if next == ROOT {
            below.clear();
            continue;
        }
        if next == PARENT {
            // Exact, not just lexical: what is popped has been resolved.
            below.pop();
            continue;
        }
        let path = root.join(&below).join(&next);
        if !fs::symlink_metadata(&path).ok()?.is_symlink() {
            below.push(next);
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return None;
        }
        for component in fs::read_link(&path).ok()?.components().rev() {
            match component {
                Component::Normal(part) => waiting.push_front(part.to_owned()),
                Component::ParentDir => waiting.push_front(PARENT.into()),
                Component::RootDir => waiting.push_front(ROOT.into()),
                Component::CurDir | Component::Prefix(_) => {}
            }
        }
    }
    Some(root.join(below))
}
