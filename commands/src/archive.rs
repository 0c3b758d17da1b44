//! Archives of artifacts, read within limits: who makes one may have the container, and with it the agent.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use tar::Entry;

/// Files of one test.
pub const MAX_FILES: usize = 10_000;
/// The longest path (`PATH_MAX`).
const MAX_PATH: u64 = 4096;

/// Gives each entry to `take`, with its path, until one is an error, its own or the archive's.
pub fn each_file<R: Read>(
    archive: R,
    mut take: impl FnMut(PathBuf, &mut Entry<'_, R>) -> io::Result<()>,
) -> io::Result<()> {
    let mut archive = tar::Archive::new(archive);
    let (mut long, mut files) = (None, 0);
    // Raw, since a long name is read whole otherwise, however long.
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        if entry.header().entry_type().is_gnu_longname() {
            if long.is_some() || entry.size() > MAX_PATH {
                return Err(io::Error::other(format!("a name of {} bytes", entry.size())));
            }
            let mut name = Vec::new();
            entry.read_to_end(&mut name)?;
            name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
            long = Some(PathBuf::from(OsString::from_vec(name)));
            continue;
        }
        files += 1;
        if files > MAX_FILES {
            return Err(io::Error::other(format!("more than {MAX_FILES} files")));
        }
        let path = match long.take() {
            Some(path) => path,
            None => entry.path()?.into_owned(),
        };
        take(path, &mut entry)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(archive: impl Read) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        each_file(archive, |path, entry| {
            found.push(format!("{} {}", path.display(), entry.size()));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn names_have_an_end() {
        let long = format!("{}/b", "a".repeat(150));
        let mut archive = tar::Builder::new(Vec::new());
        for path in ["a", &long, "c"] {
            let mut header = tar::Header::new_gnu();
            header.set_size(3);
            archive.append_data(&mut header, path, &b"abc"[..]).unwrap();
        }
        let bytes = archive.into_inner().unwrap();
        assert_eq!(paths(bytes.as_slice()).unwrap(), ["a 3".to_owned(), format!("{long} 3"), "c 3".to_owned()]);
        assert!(paths(&bytes[..700]).is_err(), "cut off");

        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNULongName);
        header.set_size(1 << 40);
        header.set_cksum();
        let error = paths(header.as_bytes().as_slice().chain(io::repeat(b'n'))).unwrap_err();
        assert_eq!(error.to_string(), "a name of 1099511627776 bytes");
    }

    #[test]
    fn files_have_an_end() {
        let mut header = tar::Header::new_gnu();
        header.set_path("a").unwrap();
        header.set_size(0);
        header.set_cksum();
        let bytes = header.as_bytes().repeat(MAX_FILES + 1);
        assert_eq!(paths(bytes.as_slice()).unwrap_err().to_string(), "more than 10000 files");
        assert_eq!(paths(&bytes[512..]).unwrap().len(), MAX_FILES);
    }
}
