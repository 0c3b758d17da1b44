//! What a path or a pattern finds.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    path::Path,
};

use crate::Artifact;

use super::pattern::{is_pattern, matches};

/// Entries that are looked at for one pattern.
const MAX_ENTRIES: usize = 1_000_000;

/// A file that may be sent: it is a plain one, or a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Below the folder.
    pub(super) path: String,
    /// In the archive.
    pub(super) name: String,
}

/// The files, sorted. `folder` is a real path.
pub(super) fn find(folder: &Path, artifact: &Artifact, problems: &mut Vec<String>) -> Vec<Found> {
    let parts: Vec<&str> = artifact.path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") || artifact.path.starts_with('/') {
        problems.push(format!("`{}` is not within the folder", artifact.path));
        return Vec::new();
    }
    let mut search = Search { folder, looked_at: 0, unreadable: 0, unnamed: 0 };
    // A name that looks like a pattern is one if it is there.
    let literal = parts.join("/");
    let is_literal = !parts.iter().any(|part| is_pattern(part)) || search.is_there(&literal);
    let matched = if is_literal { BTreeSet::from([literal.clone()]) } else { search.matched(&parts) };
    let mut files = BTreeSet::new();
    for path in matched {
        search.add_files(&path, &mut files);
    }
    let fixed = parts.iter().position(|part| is_pattern(part)).filter(|_| !is_literal);
    let fixed = fixed.map(|count| parts.get(..count).unwrap_or_default().join("/"));
    if search.looked_at > MAX_ENTRIES {
        problems.push(format!("`{}`: more than {MAX_ENTRIES} files and folders were looked at", artifact.path));
    }
    for (count, what) in [(search.unreadable, "can't be read"), (search.unnamed, "have names that are not UTF-8")] {
        if count > 0 {
            problems.push(format!("`{}`: {count} files or folders {what}", artifact.path));
        }
    }
    let name = |path: &str| match (&artifact.destination, &fixed) {
        (None, _) => path.to_owned(),
        (Some(to), Some(fixed)) => joined(to, below(path, fixed)),
        (Some(to), None) => {
            let (_, last) = literal.rsplit_once('/').unwrap_or(("", &literal));
            let rest = below(path, &literal);
            if to == "." || to.ends_with('/') { joined(&joined(to, last), rest) } else { joined(to, rest) }
        }
    };
    files.into_iter().map(|path| Found { name: name(&path), path }).collect()
}

/// The path without a folder that it begins with.
fn below<'p>(path: &'p str, folder: &str) -> &'p str {
    path.strip_prefix(folder).unwrap_or(path).trim_start_matches('/')
}

fn joined(folder: &str, path: &str) -> String {
    let folder = if folder == "." { "" } else { folder.trim_end_matches('/') };
    let parts = [folder, path];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

struct Search<'f> {
    folder: &'f Path,
    looked_at: usize,
    unreadable: usize,
    unnamed: usize,
}

impl Search<'_> {
    /// Paths that the components stand for.
    fn matched(&mut self, parts: &[&str]) -> BTreeSet<String> {
        let mut matched = BTreeSet::new();
        let mut seen = HashSet::from([(String::new(), 0)]);
        let mut open = vec![(String::new(), 0)];
        while let Some((path, at)) = open.pop() {
            let mut next = Vec::new();
            match parts.get(at) {
                None => drop(matched.insert(path)),
                // All that is below.
                Some(&"**") if at + 1 == parts.len() => drop(matched.insert(path)),
                Some(&"**") => {
                    let folders = self.entries(&path).into_iter().filter(|(_, is_folder)| *is_folder);
                    next.extend(folders.map(|(name, _)| (joined(&path, &name), at)));
                    next.push((path, at + 1));
                }
                Some(part) if !is_pattern(part) => {
                    let path = joined(&path, part);
                    if self.is_there(&path) {
                        next.push((path, at + 1));
                    }
                }
                Some(part) => {
                    let names = self.entries(&path).into_iter().filter(|(name, _)| matches(part, name));
                    next.extend(names.map(|(name, _)| (joined(&path, &name), at + 1)));
                }
            }
            open.extend(next.into_iter().filter(|state| seen.insert(state.clone())));
        }
        matched
    }

    /// The path itself, or all files in its folder. Links to folders are followed only where the path names them.
    fn add_files(&mut self, path: &str, files: &mut BTreeSet<String>) {
        match fs::metadata(self.folder.join(path)) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                files.insert(path.to_owned());
                return;
            }
            Err(_) => return,
        }
        let mut open = vec![path.to_owned()];
        while let Some(folder) = open.pop() {
            for (name, is_folder) in self.entries(&folder) {
                let path = joined(&folder, &name);
                if is_folder {
                    open.push(path);
                } else if self.is_file_within(&path) {
                    files.insert(path);
                }
            }
        }
    }

    /// What is in a folder, and whether it is one itself; nothing of a folder that is elsewhere.
    fn entries(&mut self, folder: &str) -> Vec<(String, bool)> {
        let path = self.folder.join(folder);
        let Ok(real) = fs::canonicalize(&path) else { return Vec::new() };
        if !real.starts_with(self.folder) || !real.is_dir() {
            return Vec::new();
        }
        let Ok(entries) = fs::read_dir(real) else {
            self.unreadable += 1;
            return Vec::new();
        };
        let mut found = Vec::new();
        for entry in entries.flatten() {
            self.looked_at += 1;
            if self.looked_at > MAX_ENTRIES {
                break;
            }
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            match entry.file_name().into_string() {
                Ok(name) => found.push((name, is_folder)),
                Err(_) => self.unnamed += 1,
            }
        }
        found
    }

    fn is_there(&self, path: &str) -> bool {
        fs::symlink_metadata(self.folder.join(path)).is_ok()
    }

    /// Of what is in a folder that is sent, links that lead elsewhere and what is no plain file are not meant.
    fn is_file_within(&self, path: &str) -> bool {
        let real = fs::canonicalize(self.folder.join(path));
        real.is_ok_and(|real| real.starts_with(self.folder) && real.is_file())
    }
}
