//! Files that are complete or not there.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Writes what there is to read: under another name until all of it is there. What is there and is no plain file
/// (/dev/stdout, a link, a pipe) is written to, not replaced.
pub(crate) fn write(path: &Path, mut content: impl Read) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        // As `fs::write` opens it: a link may lead to a file that was longer.
        return io::copy(&mut content, &mut fs::File::create(path)?).map(drop);
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Nothing in it is secret, and other steps of a pipeline may run as other users.
    let permissions = fs::Permissions::from_mode(0o644);
    let mut file = tempfile::Builder::new().permissions(permissions).tempfile_in(dir)?;
    io::copy(&mut content, &mut file)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken;

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("cut"))
        }
    }

    #[test]
    fn a_file_is_there_when_it_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.tar");
        fs::write(&path, "before").unwrap();
        assert!(write(&path, Read::chain(&b"half"[..], Broken)).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
        write(&path, &b"all"[..]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "all");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_stays_and_nothing_of_the_file_before_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "longer than what comes").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        write(&link, &b"short"[..]).unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "short");
    }
}
