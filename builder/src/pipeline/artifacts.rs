//! What a test leaves for its caller: an archive among the job's exports, and an event for each file of it.

use std::io::{self, BufReader, Seek as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use slipway_commands::{MAX_FILES, Story, each_file};
use slipway_context::Digest;
use slipway_manifest::plan::CommandsPlan;
use slipway_proto::v1::event::Kind;
use slipway_proto::v1::{ArtifactSaved, ArtifactsExported};
use slipway_runner_agent::{Artifact, Collect, Collected};
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use super::Pipeline;
use super::events::Events;
use crate::jobs::exports;
use crate::names::JobId;
use crate::private_file::create_private_dir;
use crate::runner::{Runner, RunnerError, WORKDIR};

/// What the archive needs besides the files' bytes, for each of them, and for each byte of their names.
const OVERHEAD: u64 = 4096;

/// An archive of another job.
pub(super) struct Kept {
    files: Vec<(String, u64)>,
    bytes: u64,
    digest: Digest,
}

/// An archive that is being written.
struct Archive {
    file: File,
    part: PathBuf,
    bytes: u64,
    limit: u64,
    hash: Sha256,
}

impl Pipeline {
    /// Saves the artifacts of a test, whose commands have ended somehow; `false` where not all that is there could be saved, which
    /// is told and changes nothing else. An error means that the runner is lost.
    pub(super) async fn save_artifacts(
        &self,
        plan: &CommandsPlan,
        runner: &mut Runner,
        story: &mut Story<'_, Events>,
    ) -> Result<bool, RunnerError> {
        let (Some(test), false) = (&plan.test, plan.testing.artifacts.is_empty()) else { return Ok(true) };
        let failed =
            |error: io::Error| self.events.warn(format!("the artifacts of test `{test}` are not saved: {error}"));
        let path = exports::artifacts(&self.exports, test);
        let mut archive = match Archive::create(&path, self.max_artifact_bytes).await {
            Ok(archive) => archive,
            Err(error) => {
                failed(error);
                return Ok(false);
            }
        };
        let collected = runner.collect(self.wanted(plan), story, &self.cancel, async |bytes| archive.add(&bytes).await);
        let collected = match collected.await {
            Ok(collected) => collected,
            Err(error) => {
                archive.drop_part().await;
                return Err(error);
            }
        };
        let saved = match collected {
            Ok(collected) => archive.finish(&path, &collected).await.map(|exported| (collected, exported)),
            Err(error) => {
                archive.drop_part().await;
                Err(error)
            }
        };
        match saved {
            Ok((collected, archive)) => {
                let all = collected.problems.is_empty();
                self.tell_artifacts(plan, test, collected, archive);
                Ok(all)
            }
            Err(error) => {
                failed(error);
                Ok(false)
            }
        }
    }

    fn wanted(&self, plan: &CommandsPlan) -> Collect {
        let artifacts = plan.testing.artifacts.iter();
        let artifacts = artifacts
            .map(|artifact| Artifact { path: artifact.path.clone(), destination: artifact.destination.clone() });
        let (folder, max_bytes) = (WORKDIR.into(), self.max_artifact_bytes);
        Collect { folder, artifacts: artifacts.collect(), max_files: MAX_FILES, max_bytes }
    }

    fn tell_artifacts(&self, plan: &CommandsPlan, test: &str, collected: Collected, archive: Option<(u64, Digest)>) {
        for path in collected.unmatched {
            self.events.warn(format!("test `{test}`: there is no artifact `{path}`"));
        }
        for problem in collected.problems {
            self.events.warn(format!("artifacts of test `{test}`: {problem}"));
        }
        let Some((bytes, digest)) = archive else { return };
        self.tell_kept_artifacts(plan, test, Kept { files: collected.files, bytes, digest });
    }

    /// They can be fetched from this job.
    pub(super) fn tell_kept_artifacts(&self, plan: &CommandsPlan, test: &str, kept: Kept) {
        let Kept { files: all, bytes, digest } = kept;
        let files = all.len() as u32;
        for (path, bytes) in all {
            self.events.emit(Kind::ArtifactSaved(ArtifactSaved { path, bytes, test: test.to_owned() }));
        }
        let (test, context, digest) = (test.to_owned(), plan.context.clone(), digest.to_string());
        self.events.emit(Kind::ArtifactsExported(ArtifactsExported { test, context, files, bytes, digest }));
    }

    /// What another job of the namespace keeps of the same test becomes this one's, too.
    pub(super) async fn kept_artifacts(&self, test: &str, job: JobId) -> io::Result<Kept> {
        let from = exports::artifacts(&exports::dir(&self.data_dir, job), test);
        let to = exports::artifacts(&self.exports, test);
        let kept = tokio::task::spawn_blocking(move || {
            let kept = keep(&from, &to);
            if kept.is_err() {
                // Or it would be taken for what this job's own test left.
                let _ = std::fs::remove_file(&to);
            }
            kept
        });
        kept.await.map_err(io::Error::other)?
    }
}

fn keep(from: &Path, to: &Path) -> io::Result<Kept> {
    if let Some(dir) = to.parent() {
        create_private_dir(dir)?;
    }
    // One file of both jobs, which is removed when nobody has used it for long.
    std::fs::hard_link(from, to)?;
    let file = std::fs::File::options().read(true).append(true).open(to)?;
    file.set_modified(SystemTime::now())?;
    let bytes = file.metadata()?.len();
    let mut files = Vec::new();
    each_file(BufReader::new(&file), |path, entry| {
        files.push((path.to_string_lossy().into_owned(), entry.size()));
        Ok(())
    })?;
    let mut whole = &file;
    whole.rewind()?;
    let (digest, _) = Digest::of_reader(&mut whole)?;
    Ok(Kept { files, bytes, digest })
}

impl Archive {
    /// For so many bytes of files.
    async fn create(path: &Path, max_bytes: u64) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            create_private_dir(dir)?;
        }
        let part = path.with_added_extension("part");
        let limit = max_bytes.saturating_add(MAX_FILES as u64 * OVERHEAD);
        Ok(Self { file: File::create(&part).await?, part, bytes: 0, limit, hash: Sha256::new() })
    }

    /// The agent counts, too, but who has the container may have the agent.
    async fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        if self.bytes > self.limit {
            return Err(io::Error::other("they have more than the bytes of jobs.max_artifact_bytes"));
        }
        self.hash.update(bytes);
        self.file.write_all(bytes).await
    }

    /// Its bytes and their digest; none where there is nothing in it.
    async fn finish(mut self, path: &Path, collected: &Collected) -> io::Result<Option<(u64, Digest)>> {
        if collected.files.is_empty() {
            self.drop_part().await;
            return Ok(None);
        }
        self.file.flush().await?;
        self.file.sync_data().await?;
        tokio::fs::rename(&self.part, path).await?;
        Ok(Some((self.bytes, Digest::from_bytes(self.hash.finalize().into()))))
    }

    async fn drop_part(self) {
        // It goes with the other exports at last.
        let _ = tokio::fs::remove_file(&self.part).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_of_another_job_is_told_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let [from, to] = ["one", "two"].map(|job| exports::artifacts(&dir.path().join(job), "unit"));
        assert_eq!(keep(&from, &to).err().unwrap().kind(), io::ErrorKind::NotFound);
        let mut archive = tar::Builder::new(Vec::new());
        let long = format!("{}/b", "a".repeat(150));
        for path in ["a", &long] {
            let mut header = tar::Header::new_gnu();
            header.set_size(3);
            archive.append_data(&mut header, path, &b"abc"[..]).unwrap();
        }
        let bytes = archive.into_inner().unwrap();
        std::fs::create_dir_all(from.parent().unwrap()).unwrap();
        std::fs::write(&from, &bytes).unwrap();
        let kept = keep(&from, &to).unwrap();
        assert_eq!(kept.files, [("a".to_owned(), 3), (long, 3)]);
        assert_eq!((kept.bytes, kept.digest), (bytes.len() as u64, Digest::of(&bytes)));
        std::fs::remove_file(from).unwrap();
        assert_eq!(std::fs::read(to).unwrap(), bytes);
    }

    #[tokio::test]
    async fn an_archive_is_there_when_it_is_whole_and_not_too_large() {
        let dir = tempfile::tempdir().unwrap();
        let path = exports::artifacts(&dir.path().join("job"), "unit/../x");
        let collected = Collected { files: vec![("a".to_owned(), 1)], ..Collected::default() };
        let mut archive = Archive::create(&path, 5).await.unwrap();
        archive.add(b"bytes").await.unwrap();
        assert!(!path.exists());
        let (bytes, digest) = archive.finish(&path, &collected).await.unwrap().unwrap();
        assert_eq!((bytes, digest), (5, Digest::of(b"bytes")));
        assert_eq!(std::fs::read(&path).unwrap(), b"bytes");

        let mut archive = Archive::create(&path, 0).await.unwrap();
        archive.limit = 3;
        assert!(archive.add(b"four").await.is_err());
        archive.drop_part().await;
        assert_eq!(std::fs::read(&path).unwrap(), b"bytes", "what was there stays");
        assert_eq!(std::fs::read_dir(dir.path().join("job")).unwrap().count(), 1);

        let archive = Archive::create(&path, 5).await.unwrap();
        assert!(archive.finish(&path, &Collected::default()).await.unwrap().is_none());
    }
}
