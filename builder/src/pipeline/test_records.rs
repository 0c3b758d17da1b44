//! Which tests of a namespace have succeeded, by the digest of all that went into them.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use slipway_context::Digest;

use crate::names::{JobId, Namespace};
use crate::private_file::{create_private_dir, write_private};

/// Records of one namespace; those that nobody asked for go first.
const MAX_RECORDS: usize = 2000;
const MAX_BYTES: u64 = 4096;

/// One test that has succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TestRecord {
    /// The job that ran it.
    pub(super) job: JobId,
    /// When it succeeded, in milliseconds since 1970.
    pub(super) time: i64,
    /// Whether its job keeps artifacts of it.
    #[serde(default)]
    pub(super) artifacts: bool,
}

/// The records of one namespace.
#[derive(Debug, Clone)]
pub(super) struct TestRecords(PathBuf);

impl TestRecords {
    /// Those under this data directory.
    pub(super) fn new(data_dir: &Path, namespace: &Namespace) -> Self {
        Self(data_dir.join("tests").join(namespace.as_str()))
    }

    /// The test with these inputs that succeeded. One that can't be read, or was written by another version, has not.
    pub(super) fn read(&self, inputs: &Digest) -> Option<TestRecord> {
        let file = File::options().read(true).append(true).open(self.file(inputs)).ok()?;
        let mut content = Vec::new();
        (&file).take(MAX_BYTES).read_to_end(&mut content).ok()?;
        let record = serde_json::from_slice(&content).ok()?;
        // It has been asked for; that it stays is not essential.
        let _ = file.set_modified(SystemTime::now());
        Some(record)
    }

    /// Takes the place of the one before.
    pub(super) fn write(&self, inputs: &Digest, record: &TestRecord) -> io::Result<()> {
        create_private_dir(&self.0)?;
        write_private(&self.file(inputs), &serde_json::to_vec(record)?)?;
        self.bound()
    }

    fn bound(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            // Another job may have removed it meanwhile.
            if let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified()) {
                files.push((modified, entry.path()));
            }
        }
        files.sort_unstable();
        for (_, path) in files.iter().take(files.len().saturating_sub(MAX_RECORDS)) {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn file(&self, inputs: &Digest) -> PathBuf {
        self.0.join(format!("{}.json", inputs.hex()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_namespace_has_its_own_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let of = |namespace: &str| TestRecords::new(dir.path(), &namespace.parse().unwrap());
        let (dev, record) = (of("dev"), TestRecord { job: JobId::new(), time: 1, artifacts: false });
        let inputs = |number: usize| Digest::of(number.to_string().as_bytes());
        assert!(dev.read(&inputs(0)).is_none());
        for number in 0..MAX_RECORDS {
            create_private_dir(&dev.0).unwrap();
            let file = File::create(dev.file(&inputs(number))).unwrap();
            serde_json::to_writer(&file, &record).unwrap();
            let age = std::time::Duration::from_secs((MAX_RECORDS - number) as u64 + 10);
            file.set_modified(SystemTime::now() - age).unwrap();
        }
        assert_eq!(dev.read(&inputs(0)), Some(record.clone()));
        assert!(of("ops").read(&inputs(0)).is_none());
        dev.write(&inputs(MAX_RECORDS), &record).unwrap();
        assert!(dev.read(&inputs(1)).is_none(), "the oldest that nobody asked for");
        assert!(dev.read(&inputs(0)).is_some() && dev.read(&inputs(MAX_RECORDS)).is_some());
        fs::write(dev.file(&inputs(0)), "{").unwrap();
        assert!(dev.read(&inputs(0)).is_none(), "of another version");
    }
}
