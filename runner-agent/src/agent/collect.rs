//! Files for the job's process: what patterns find below a folder, as an archive.

mod find;
mod pattern;

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    time::UNIX_EPOCH,
};

use crate::{BLOCK, Collect, Collected, FromAgent};
use rustix::fs::OFlags;

use crate::agent::outbox::Outbox;

use self::find::{Found, find};

/// Bytes of all names, which go into one frame.
const MAX_NAMES: usize = 2 * 1024 * 1024;
/// Problems that are told.
const MAX_PROBLEMS: usize = 20;

/// Sends the archive, and then what is in it.
pub(crate) fn send(collect: &Collect, outbox: &Outbox) {
    let collected = pack(collect, Frames { outbox, block: Vec::new() });
    outbox.say(&FromAgent::Collected(collected));
}

/// Bytes as frames.
struct Frames<'o> {
    outbox: &'o Outbox,
    block: Vec<u8>,
}

impl Write for Frames<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(bytes.get(..count).unwrap_or_default());
        if self.block.len() == BLOCK {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        let block = std::mem::take(&mut self.block);
        if block.is_empty() || self.outbox.carry(&FromAgent::Artifacts(block)) {
            Ok(())
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
}

/// Writes the archive. It is whole even where files can't be read, or change meanwhile.
fn pack(collect: &Collect, out: impl Write) -> Collected {
    let mut packing = Packing {
        archive: tar::Builder::new(out),
        names: HashSet::new(),
        name_bytes: 0,
        bytes: 0,
        collected: Collected::default(),
        limits: (collect.max_files, collect.max_bytes),
    };
    let packed = packing.all(collect).and_then(|()| packing.archive.into_inner()?.flush());
    let mut collected = packing.collected;
    if let Err(error) = packed {
        collected.problems.push(error.to_string());
    }
    collected
}

struct Packing<W: Write> {
    archive: tar::Builder<W>,
    /// In the archive: of two files with one name the first counts.
    names: HashSet<String>,
    name_bytes: usize,
    bytes: u64,
    collected: Collected,
    limits: (usize, u64),
}

impl<W: Write> Packing<W> {
    fn all(&mut self, collect: &Collect) -> io::Result<()> {
        let folder = match fs::canonicalize(&collect.folder) {
            Ok(folder) => folder,
            Err(error) => {
                self.problem(format!("{}: {error}", collect.folder.display()));
                return Ok(());
            }
        };
        for artifact in &collect.artifacts {
            let mut problems = Vec::new();
            let mut is_there = false;
            for found in find(&folder, artifact, &mut problems) {
                is_there = true;
                if !self.add(&folder, &found)? {
                    return Ok(());
                }
            }
            for problem in problems {
                self.problem(problem);
            }
            if !is_there {
                self.collected.unmatched.push(artifact.path.clone());
            }
        }
        Ok(())
    }

    /// `false`: a limit is reached. An error is one of the archive.
    fn add(&mut self, folder: &Path, found: &Found) -> io::Result<bool> {
        let Found { path, name } = found;
        if self.names.contains(name) {
            return Ok(true);
        }
        let (file, metadata) = match open(folder, path) {
            Ok(opened) => opened,
            Err(error) => {
                self.problem(format!("`{path}` is left out: {error}"));
                return Ok(true);
            }
        };
        let size = metadata.len();
        let (max_files, max_bytes) = self.limits;
        let limit = if self.collected.files.len() >= max_files || self.name_bytes + name.len() > MAX_NAMES {
            Some(format!("more than {} files", self.collected.files.len()))
        } else if self.bytes.saturating_add(size) > max_bytes {
            Some(format!("more than {max_bytes} bytes"))
        } else {
            None
        };
        if let Some(limit) = limit {
            self.problem(format!("`{path}` and what comes after it are left out: {limit}"));
            return Ok(false);
        }
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(size);
        header.set_mode(if metadata.mode() & 0o111 == 0 { 0o644 } else { 0o755 });
        let modified = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        header.set_mtime(modified.map_or(0, |since| since.as_secs()));
        let mut content = Exactly { file, left: size, short: false };
        self.archive.append_data(&mut header, name, &mut content)?;
        if content.short {
            self.problem(format!("`{path}` changed while it was read: its end is missing"));
        }
        self.bytes += size;
        self.name_bytes += name.len();
        self.names.insert(name.clone());
        self.collected.files.push((name.clone(), size));
        Ok(true)
    }

    fn problem(&mut self, problem: String) {
        if self.collected.problems.len() < MAX_PROBLEMS {
            self.collected.problems.push(problem);
        }
    }
}

/// A plain file within the folder, wherever links lead.
fn open(folder: &Path, path: &str) -> Result<(File, fs::Metadata), String> {
    let real = fs::canonicalize(folder.join(path)).map_err(|error| error.to_string())?;
    if !real.starts_with(folder) {
        return Err("it leads out of the test's folder".to_owned());
    }
    // Opening must not wait, as it would for a pipe, nor follow what has become a link since.
    let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(real).map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if metadata.is_file() { Ok((file, metadata)) } else { Err("it is no plain file".to_owned()) }
}

/// As many bytes as were announced, whatever becomes of the file.
struct Exactly {
    file: File,
    left: u64,
    short: bool,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most).filter(|buffer| !buffer.is_empty()) else { return Ok(0) };
        let count = if self.short {
            0
        } else {
            match self.file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
                // What can't be read counts as cut off: the archive goes on.
                read => read.unwrap_or(0),
            }
        };
        self.short |= count == 0;
        let count = if self.short {
            buffer.fill(0);
            buffer.len()
        } else {
            count
        };
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::Artifact;

    fn collect(folder: &Path, artifacts: &[(&str, Option<&str>)]) -> Collect {
        let artifact =
            |&(path, to): &(&str, Option<&str>)| Artifact { path: path.to_owned(), destination: to.map(str::to_owned) };
        let artifacts = artifacts.iter().map(artifact).collect();
        Collect { folder: folder.to_owned(), artifacts, max_files: 100, max_bytes: 1000 }
    }

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for path in ["out/a.xml", "out/b.txt", "out/deep/er/c.xml", "odd[1].xml", "top.xml", ".hidden/d.xml"] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, path.file_name().unwrap().as_encoded_bytes()).unwrap();
        }
        dir
    }

    fn packed(collect: &Collect) -> (String, Collected) {
        let mut bytes = Vec::new();
        let collected = pack(collect, &mut bytes);
        let mut names = Vec::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let name = entry.path().unwrap().display().to_string();
            assert_eq!(entry.size(), text.len() as u64);
            names.push(name);
        }
        let told: Vec<&String> = collected.files.iter().map(|(name, _)| name).collect();
        assert_eq!(names.iter().collect::<Vec<_>>(), told);
        (names.join(" "), collected)
    }

    #[test]
    fn paths_and_patterns_and_where_they_go() {
        let dir = tree();
        for (path, to, expected) in [
            ("out/a.xml", None, "out/a.xml"),
            ("out/a.xml", Some("r.xml"), "r.xml"),
            ("out/a.xml", Some("r/"), "r/a.xml"),
            ("out/a.xml", Some("."), "a.xml"),
            ("out", None, "out/a.xml out/b.txt out/deep/er/c.xml"),
            ("out", Some("new"), "new/a.xml new/b.txt new/deep/er/c.xml"),
            ("out", Some("new/"), "new/out/a.xml new/out/b.txt new/out/deep/er/c.xml"),
            ("out/*.xml", None, "out/a.xml"),
            ("out/*.xml", Some("r"), "r/a.xml"),
            ("out/**/*.xml", Some("r"), "r/a.xml r/deep/er/c.xml"),
            ("**/c.xml", None, "out/deep/er/c.xml"),
            ("out/**", Some("."), "a.xml b.txt deep/er/c.xml"),
            ("o?t/[a-b].*", None, "out/a.xml out/b.txt"),
            ("odd[1].xml", None, "odd[1].xml"),
            ("**/*.xml", None, ".hidden/d.xml odd[1].xml out/a.xml out/deep/er/c.xml top.xml"),
            (
                ".",
                Some("all"),
                "all/.hidden/d.xml all/odd[1].xml all/out/a.xml all/out/b.txt all/out/deep/er/c.xml all/top.xml",
            ),
        ] {
            let (names, collected) = packed(&collect(dir.path(), &[(path, to)]));
            assert_eq!(names, expected, "{path} {to:?}");
            assert_eq!((collected.unmatched, collected.problems), (Vec::new(), Vec::<String>::new()), "{path}");
        }
        let (names, collected) = packed(&collect(dir.path(), &[("out/*.xml", None), ("no*", None), ("out", None)]));
        assert_eq!(names, "out/a.xml out/b.txt out/deep/er/c.xml", "each once");
        assert_eq!(collected.unmatched, ["no*"]);
        assert_eq!(packed(&collect(&dir.path().join("gone"), &[("a", None)])).1.problems.len(), 1);
    }

    #[test]
    fn nothing_outside_of_the_folder_is_sent() {
        let dir = tree();
        let folder = dir.path().join("out");
        symlink("../top.xml", folder.join("up.xml")).unwrap();
        symlink("..", folder.join("up")).unwrap();
        symlink("/etc", folder.join("etc")).unwrap();
        symlink("a.xml", folder.join("same.xml")).unwrap();
        symlink("deep", folder.join("link")).unwrap();
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, folder.join("pipe"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        for (path, expected) in [
            ("*.xml", "a.xml same.xml"),
            ("up.xml", ""),
            ("up/top.xml", ""),
            ("../top.xml", ""),
            ("etc/passwd", ""),
            ("etc", ""),
            ("pipe", ""),
            ("link/er/c.xml", "link/er/c.xml"),
            (".", "a.xml b.txt deep/er/c.xml same.xml"),
        ] {
            assert_eq!(packed(&collect(&folder, &[(path, None)])).0, expected, "{path}");
        }
    }

    #[test]
    fn what_is_too_much_is_left_out_and_said() {
        let dir = tree();
        let few = Collect { max_files: 2, ..collect(dir.path(), &[("out", None)]) };
        let (names, collected) = packed(&few);
        assert_eq!(names, "out/a.xml out/b.txt");
        assert_eq!(collected.problems, ["`out/deep/er/c.xml` and what comes after it are left out: more than 2 files"]);
        let small = Collect { max_bytes: 7, ..collect(dir.path(), &[("out", None)]) };
        assert_eq!(packed(&small).0, "out/a.xml");
    }

    #[test]
    fn a_file_that_got_shorter_breaks_no_archive() {
        let dir = tree();
        let file = File::open(dir.path().join("top.xml")).unwrap();
        let mut content = Exactly { file, left: 20, short: false };
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).unwrap();
        assert_eq!((bytes.len(), content.short), (20, true));
        assert!(bytes.starts_with(b"top.xml\0"));
    }
}
