//! The artifacts of tests: from the job into the folders where they belong.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use slipway_commands::each_file;
use slipway_proto::v1::ArtifactsExported;

use crate::client::Client;
use crate::exports::fetch::{What, fetch};
use crate::output;
use crate::submit::Prepared;

/// What stands for more than itself in a pattern.
const WILD: [char; 4] = ['*', '?', '[', '{'];

/// Where the tests that bring something may write, by the tests' names.
#[derive(Debug, Default)]
pub(crate) struct Places(BTreeMap<String, Place>);

/// Where one of them may.
#[derive(Debug, Clone)]
struct Place {
    folder: PathBuf,
    /// What is below one of these is expected.
    below: Vec<PathBuf>,
}

impl Places {
    /// Those of the plan. What the service says of it counts for nothing.
    pub(crate) fn of(prepared: &Prepared) -> Self {
        let tests = prepared.plan.commands.iter().zip(&prepared.commands);
        let place = |(plan, root): (&slipway_manifest::plan::CommandsPlan, &String)| {
            let test = plan.test.clone().filter(|_| !plan.testing.artifacts.is_empty())?;
            let below = plan.testing.artifacts.iter().map(|artifact| match &artifact.destination {
                Some(destination) => plain(destination),
                None => fixed(&artifact.path),
            });
            Some((test, Place { folder: prepared.roots.tree(root)?.dir.clone(), below: below.collect() }))
        };
        Self(tests.filter_map(place).collect())
    }

    /// All of them in one folder.
    pub(crate) fn together(exported: &[ArtifactsExported], folder: &Path) -> Self {
        let place = Place { folder: folder.to_owned(), below: vec![PathBuf::new()] };
        Self(exported.iter().map(|exported| (exported.test.clone(), place.clone())).collect())
    }

    /// Brings what the tests have left. One that fails keeps none of the others from being tried.
    pub(crate) async fn fetch(&self, client: &Client, job: &str, exported: &[ArtifactsExported]) -> Result<()> {
        let mut failed = Ok(());
        for exported in exported {
            let Some(place) = self.0.get(&exported.test) else { continue };
            let ArtifactsExported { test, files, bytes, digest, .. } = exported.clone();
            let (to, folder) = (place.clone(), &place.folder);
            let fetched =
                fetch(client, job, What::Artifacts { test }, (bytes, digest), move |archive| unpack(&to, archive));
            match fetched.await {
                Ok(()) => {
                    let (test, folder) = (&exported.test, folder.display());
                    output::note(format_args!("artifacts of test `{test}` to {folder}: {files} files"));
                }
                Err(error) => {
                    let context = format!("bring the artifacts of test `{}` to {}", exported.test, folder.display());
                    failed = failed.and(Err(error.context(context)));
                }
            }
        }
        failed
    }
}

/// What a pattern finds is below this.
fn fixed(pattern: &str) -> PathBuf {
    let parts = Path::new(pattern).components().take_while(|part| !part.as_os_str().to_string_lossy().contains(WILD));
    parts.filter(|part| matches!(part, Component::Normal(_))).collect()
}

/// A path without what says nothing.
fn plain(path: &str) -> PathBuf {
    Path::new(path).components().filter(|part| !matches!(part, Component::CurDir)).collect()
}

/// Writes the files of an archive below a folder, each whole or not at all, over those that are there. Nothing is written
/// outside of the folder, wherever links in it lead, nor where the test has no artifacts; a link in the place of a file is
/// replaced.
fn unpack(Place { folder, below }: &Place, archive: &mut dyn Read) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let root = folder.canonicalize().with_context(|| format!("find {}", folder.display()))?;
    let mut failed = None;
    // What can't be read is the end of all of it; what can't be written is not.
    each_file(&mut *archive, |path, entry| {
        let written = if below.iter().any(|below| path.starts_with(below)) {
            write(&root, &path, entry)
        } else {
            Err(io::Error::other("the test has no such artifact"))
        };
        if let Err(error) = written {
            failed.get_or_insert(anyhow!("{}: {error}", path.display()));
        }
        Ok(())
    })?;
    // Only what came to its end is known to be whole.
    io::copy(archive, &mut io::sink())?;
    failed.map_or(Ok(()), Err)
}

fn write(root: &Path, path: &Path, entry: &mut tar::Entry<'_, impl Read>) -> io::Result<()> {
    if entry.header().entry_type() != tar::EntryType::Regular {
        return Err(io::Error::other("it is no plain file"));
    }
    let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    // Git runs what it finds there.
    if path.components().any(|part| part.as_os_str().eq_ignore_ascii_case(".git")) {
        return Err(io::Error::other("nothing is written into a `.git` folder"));
    }
    let (Some(parent), Some(name), true) = (path.parent(), path.file_name(), is_plain) else {
        return Err(io::Error::other("it leads out of the folder"));
    };
    let mut dir = root.to_owned();
    for part in parent {
        dir = enter(root, &dir.join(part))?;
    }
    let target = dir.join(name);
    if fs::symlink_metadata(&target).is_ok_and(|metadata| metadata.is_dir()) {
        return Err(io::Error::other("there is a folder in its place"));
    }
    let mode = if entry.header().mode().unwrap_or_default() & 0o111 == 0 { 0o644 } else { 0o755 };
    let permissions = fs::Permissions::from_mode(mode);
    let mut file = tempfile::Builder::new().permissions(permissions).tempfile_in(&dir)?;
    let size = entry.size();
    if io::copy(entry, &mut file)? != size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    file.persist(target)?;
    Ok(())
}

/// A folder below the root, which is made where it is not there.
fn enter(root: &Path, dir: &Path) -> io::Result<PathBuf> {
    match fs::symlink_metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir(dir)?;
            Ok(dir.to_owned())
        }
        Ok(metadata) if metadata.is_dir() => Ok(dir.to_owned()),
        Ok(metadata) if metadata.is_symlink() => {
            let real = dir.canonicalize()?;
            let within = real.starts_with(root) && real.is_dir();
            if within { Ok(real) } else { Err(io::Error::other("a link leads out of the folder")) }
        }
        Ok(_) => Err(io::Error::other("there is a file in the place of a folder")),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn archive(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, kind, text) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_size(if kind.is_file() { text.len() as u64 } else { 0 });
            header.set_mode(0o755);
            if kind.is_symlink() {
                header.set_link_name(text).unwrap();
            }
            // As no tool of good will writes it.
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            archive.append(&header, if kind.is_file() { text.as_bytes() } else { b"" }).unwrap();
        }
        archive.into_inner().unwrap()
    }

    #[test]
    fn the_folder_is_never_left_and_the_rest_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, beside) = (dir.path().join("in"), dir.path().join("beside"));
        fs::create_dir_all(folder.join("real")).unwrap();
        fs::create_dir(&beside).unwrap();
        symlink(&beside, folder.join("out")).unwrap();
        symlink("real", folder.join("within")).unwrap();
        symlink("../beside/victim", folder.join("file")).unwrap();
        fs::write(beside.join("victim"), "as it was").unwrap();
        fs::write(folder.join("old"), "much longer than the new one").unwrap();
        let regular = tar::EntryType::Regular;
        let bytes = archive(&[
            ("../beside/victim", regular, "no"),
            ("/tmp/slipway-victim", regular, "no"),
            ("a/../../beside/victim", regular, "no"),
            ("out/victim", regular, "no"),
            ("new", tar::EntryType::Symlink, "../beside"),
            ("new/victim", regular, "new"),
            ("real", regular, "no"),
            ("within/x", regular, "x"),
            ("file", regular, "file"),
            ("old", regular, "old"),
            ("deep/er/y", regular, "y"),
            ("deep/.Git/hooks/post-checkout", regular, "no"),
        ]);
        let error = unpack(&anywhere(&folder), &mut bytes.as_slice()).unwrap_err();
        assert_eq!(error.to_string(), "../beside/victim: it leads out of the folder");
        assert_eq!(fs::read_to_string(beside.join("victim")).unwrap(), "as it was");
        assert_eq!(fs::read_dir(&beside).unwrap().count(), 1);
        let read = |path: &str| fs::read_to_string(folder.join(path)).unwrap();
        assert_eq!(
            (read("real/x"), read("file"), read("old"), read("deep/er/y")),
            ("x".into(), "file".into(), "old".into(), "y".into())
        );
        assert!(!folder.join("file").is_symlink() && folder.join("new").is_dir() && !folder.join("new").is_symlink());
        assert_eq!(fs::metadata(folder.join("old")).unwrap().permissions().mode() & 0o777, 0o755);
        assert!(!Path::new("/tmp/slipway-victim").exists() && !folder.join("deep/.Git").exists());
    }

    fn anywhere(folder: &Path) -> Place {
        Place { folder: folder.to_owned(), below: vec![PathBuf::new()] }
    }

    #[test]
    fn only_what_the_plan_has_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let below = vec![fixed("./reports/**/*.xml"), plain("./out/cover"), fixed("one.txt")];
        assert_eq!(below, ["reports", "out/cover", "one.txt"].map(PathBuf::from));
        let place = Place { folder: dir.path().to_owned(), below };
        let deep = format!("reports/{}/a.xml", "d".repeat(120));
        let mut archive = tar::Builder::new(Vec::new());
        for path in ["reports/a.xml", "out/cover/index.html", "one.txt", &deep, "Makefile", "reportsx", "out/x"] {
            let mut header = tar::Header::new_gnu();
            header.set_size(1);
            archive.append_data(&mut header, path, &b"x"[..]).unwrap();
        }
        let bytes = archive.into_inner().unwrap();
        let error = unpack(&place, &mut bytes.as_slice()).unwrap_err();
        assert_eq!(error.to_string(), "Makefile: the test has no such artifact");
        for path in ["reports/a.xml", "out/cover/index.html", "one.txt", &deep] {
            assert!(dir.path().join(path).is_file(), "{path}");
        }
        assert!(!dir.path().join("Makefile").exists() && !dir.path().join("reportsx").exists());

        for (pattern, expected) in [("**/x", ""), ("a/b*/c", "a"), ("a/b/", "a/b"), ("/abs/x", "abs/x")] {
            assert_eq!(fixed(pattern), Path::new(expected), "{pattern}");
        }
    }

    #[test]
    fn a_file_is_whole_or_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "before").unwrap();
        let bytes = archive(&[("a", tar::EntryType::Regular, &"after".repeat(1000))]);
        assert!(unpack(&anywhere(dir.path()), &mut &bytes[..2000]).is_err());
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "before");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
