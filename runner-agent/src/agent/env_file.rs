//! The file in which a command leaves variables for those after it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::MAX_ENV_FILE;
use rustix::fs::OFlags;

/// Where a file can be made in most images, whatever their user; a minimal one may lack `/tmp`.
pub(crate) const PLACES: [&str; 4] = ["/tmp", "/dev/shm", "/var/tmp", "/run"];

/// A command's variables file; removed when dropped.
pub(crate) struct EnvFile {
    path: PathBuf,
}

impl EnvFile {
    /// Makes an empty file that only our user may read; in the working directory if nowhere else.
    pub(crate) fn create(index: u32, cwd: &Path) -> io::Result<Self> {
        let mut last = None;
        for place in PLACES.iter().map(Path::new).chain([cwd]) {
            for attempt in 0..100 {
                let path = place.join(format!(".okteto-env-{}-{index}-{attempt}", std::process::id()));
                // Never a file that is there already, nor what a link points at.
                match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                    Ok(_) => return Ok(Self { path }),
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => {
                        last = Some(error);
                        break;
                    }
                }
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::AlreadyExists.into()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the command left in it. A file that it removed is as good as an empty one.
    pub(crate) fn read(&self) -> Result<Vec<u8>, String> {
        // The command may have put anything there: opening must not wait, as it would for a pipe.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.to_string()),
        };
        read_regular(&file)
    }
}

impl Drop for EnvFile {
    fn drop(&mut self) {
        // It's in a container that goes away; what can't be removed stays.
        let _ = fs::remove_file(&self.path);
    }
}

fn read_regular(file: &File) -> Result<Vec<u8>, String> {
    if !file.metadata().map_err(|error| error.to_string())?.is_file() {
        return Err("not a regular file".to_owned());
    }
    let mut content = Vec::new();
    file.take(MAX_ENV_FILE as u64 + 1).read_to_end(&mut content).map_err(|error| error.to_string())?;
    if content.len() > MAX_ENV_FILE {
        return Err(format!("larger than {MAX_ENV_FILE} bytes"));
    }
    Ok(content)
}
