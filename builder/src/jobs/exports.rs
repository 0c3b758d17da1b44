//! Archives of builds that their caller asked for: files until they are fetched, or for some hours. Those of tests' artifacts
//! stay for a day.

use std::fs::{self, File};
use std::io::{ErrorKind, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use slipway_context::Digest;

use super::{Jobs, JobsError, io};
use crate::auth::Caller;
use crate::names::JobId;

/// How long they wait for their caller.
const KEEP: Duration = Duration::from_hours(3);
/// How long artifacts of tests are there for everybody.
const KEEP_ARTIFACTS: Duration = Duration::from_hours(24);
const ARTIFACTS: &str = "artifacts";

/// Where those of a job are.
pub fn dir(data_dir: &Path, job: JobId) -> PathBuf {
    all(data_dir).join(job.to_string())
}

/// One of them.
pub fn file(dir: &Path, service: &str, index: usize) -> PathBuf {
    // A service's name may hold what a file's may not.
    dir.join(format!("{}.{index}", Digest::of(service.as_bytes()).hex()))
}

/// The artifacts of a test.
pub fn artifacts(dir: &Path, test: &str) -> PathBuf {
    dir.join(format!("{}.{ARTIFACTS}", Digest::of(test.as_bytes()).hex()))
}

fn all(data_dir: &Path) -> PathBuf {
    data_dir.join("exports")
}

impl Jobs {
    /// An archive that a build of the job made, from an offset on.
    pub async fn open_export(
        &self,
        caller: &Caller,
        job: &str,
        (service, index): (&str, u32),
        offset: u64,
    ) -> Result<File, JobsError> {
        let path = self.export(caller, job, service, index).await?;
        open(&path, offset).map_err(|error| match error.kind() {
            ErrorKind::NotFound => JobsError::NoExport { service: service.to_owned(), job: job.to_owned() },
            _ => io("read an archive")(error),
        })
    }

    /// The artifacts of a test of the job, from an offset on.
    pub async fn open_artifacts(&self, caller: &Caller, job: &str, test: &str, offset: u64) -> Result<File, JobsError> {
        let row = self.get(caller, job).await?;
        let path = artifacts(&dir(&self.inner.data_dir, row.id), test);
        open(&path, offset).map_err(|error| match error.kind() {
            ErrorKind::NotFound => JobsError::NoArtifacts { test: test.to_owned(), job: job.to_owned() },
            _ => io("read artifacts")(error),
        })
    }

    /// Removes an archive; one that has gone is as good.
    pub async fn forget_export(
        &self,
        caller: &Caller,
        job: &str,
        (service, index): (&str, u32),
    ) -> Result<(), JobsError> {
        let path = self.export(caller, job, service, index).await?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(io("remove an archive")(error)),
            _ => {
                // The last one takes the folder with it.
                let _ = path.parent().map(fs::remove_dir);
                Ok(())
            }
        }
    }

    async fn export(&self, caller: &Caller, job: &str, service: &str, index: u32) -> Result<PathBuf, JobsError> {
        let row = self.get(caller, job).await?;
        Ok(file(&dir(&self.inner.data_dir, row.id), service, index as usize))
    }

    /// Removes what nobody has fetched for long.
    pub(super) fn clean_exports(&self) {
        let Ok(jobs) = fs::read_dir(all(&self.inner.data_dir)) else { return };
        for job in jobs.flatten() {
            for file in fs::read_dir(job.path()).into_iter().flatten().flatten() {
                let is_artifacts = file.path().extension().is_some_and(|extension| extension == ARTIFACTS);
                if is_old(&file.path(), if is_artifacts { KEEP_ARTIFACTS } else { KEEP }) {
                    let _ = fs::remove_file(file.path());
                    // The blobs of a cache, left by a job's process that was killed.
                    let _ = fs::remove_dir_all(file.path());
                }
            }
            // Only an empty one goes, and not that of a build which is about to write.
            if is_old(&job.path(), KEEP) {
                let _ = fs::remove_dir(job.path());
            }
        }
    }
}

fn open(path: &Path, offset: u64) -> std::io::Result<File> {
    File::open(path).and_then(|mut file| file.seek(SeekFrom::Start(offset)).map(|_| file))
}

fn is_old(path: &Path, keep: Duration) -> bool {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > keep))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::cleaning::tests::Service;

    #[tokio::test]
    async fn what_nobody_fetches_goes_after_a_while() {
        let service = Service::start().await;
        let (old, new) = (JobId::new(), JobId::new());
        let write = |job| {
            let dir = dir(&service.jobs.inner.data_dir, job);
            fs::create_dir_all(&dir).unwrap();
            let path = file(&dir, "../app", 0);
            fs::write(&path, "archive").unwrap();
            assert!(path.parent() == Some(&dir), "no name leads out of the folder");
            path
        };
        let (old, new) = (write(old), write(new));
        let kept = artifacts(old.parent().unwrap(), "unit");
        fs::write(&kept, "archive").unwrap();
        let soon = dir(&service.jobs.inner.data_dir, JobId::new());
        fs::create_dir_all(&soon).unwrap();
        // The blobs of a cache, left by a process that was killed, and those that one writes now.
        let blobs = |path: &Path| {
            let dir = path.with_added_extension("blobs");
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("blob"), "b").unwrap();
            dir
        };
        let (left, written) = (blobs(&old), blobs(&new));
        let age = |path: &Path| File::open(path).unwrap().set_modified(SystemTime::now() - KEEP * 2).unwrap();
        age(&old);
        age(&left);
        age(&kept);
        service.jobs.clean_exports();
        assert!(new.exists() && !old.exists());
        assert!(written.exists() && !left.exists());
        assert!(soon.exists(), "a build may be about to write there");
        assert!(kept.exists(), "artifacts are there for longer");
        File::open(&kept).unwrap().set_modified(SystemTime::now() - KEEP_ARTIFACTS * 2).unwrap();
        service.jobs.clean_exports();
        assert!(!kept.exists());
        age(old.parent().unwrap());
        service.jobs.clean_exports();
        assert!(!old.parent().unwrap().exists());
    }
}
