//! What a test leaves for its caller: an archive among the job's exports, and an event for each file of it.

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use slipway_commands::Story;
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
use crate::private_file::create_private_dir;
use crate::runner::{Runner, RunnerError, WORKDIR};

/// Files of one test.
const MAX_FILES: usize = 10_000;
/// What the archive needs besides the files' bytes, for each of them, and for each byte of their names.
const OVERHEAD: u64 = 4096;

/// An archive that is being written.
struct Archive {
    file: File,
    part: PathBuf,
    bytes: u64,
    limit: u64,
    hash: Sha256,
}

impl Pipeline {
    /// Saves the artifacts of a test, whose commands have ended somehow. What can't be saved is told, and changes nothing else;
    /// an error means that the runner is lost.
    pub(super) async fn save_artifacts(
        &self,
        plan: &CommandsPlan,
        runner: &mut Runner,
        story: &mut Story<'_, Events>,
    ) -> Result<(), RunnerError> {
        let (Some(test), false) = (&plan.test, plan.testing.artifacts.is_empty()) else { return Ok(()) };
        let failed =
            |error: io::Error| self.events.warn(format!("the artifacts of test `{test}` are not saved: {error}"));
        let path = exports::artifacts(&self.exports, test);
        let mut archive = match Archive::create(&path, self.max_artifact_bytes).await {
            Ok(archive) => archive,
            Err(error) => {
                failed(error);
                return Ok(());
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
            Ok((collected, archive)) => self.tell_artifacts(plan, test, collected, archive),
            Err(error) => failed(error),
        }
        Ok(())
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
        let files = collected.files.len() as u32;
        for (path, bytes) in collected.files {
            self.events.emit(Kind::ArtifactSaved(ArtifactSaved { path, bytes, test: test.to_owned() }));
        }
        let (test, context, digest) = (test.to_owned(), plan.context.clone(), digest.to_string());
        self.events.emit(Kind::ArtifactsExported(ArtifactsExported { test, context, files, bytes, digest }));
    }
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
