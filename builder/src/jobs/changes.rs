//! Hearing of what another process writes into a folder (`inotify(7)`), so that nobody has to look all the time.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, io};

use futures::FutureExt as _;
use inotify::{EventStream, Inotify, WatchMask};
use tokio::time::Instant;
use tokio_stream::StreamExt as _;

/// How often somebody looks who hears nothing: the folder isn't there yet, or the user has no inotify instance left.
const LOOK: Duration = Duration::from_millis(25);
/// At least between two looks, however much is written.
const REST: Duration = Duration::from_millis(1);

/// Bytes for events of one reading.
const BUFFER: usize = 4096;

/// Changes of the files in a folder.
pub(super) struct Changes {
    folder: PathBuf,
    watch: Option<EventStream<[u8; BUFFER]>>,
}

impl Changes {
    /// Of this folder.
    pub(super) fn of(folder: PathBuf) -> Self {
        Self { watch: watch(&folder).ok(), folder }
    }

    /// Waits until something may have changed since the last time, at most so long.
    pub(super) async fn next(&mut self, at_most: Duration) {
        let Some(watch) = &mut self.watch else {
            tokio::time::sleep(LOOK.min(at_most)).await;
            self.watch = watch(&self.folder).ok();
            return;
        };
        let rested = Instant::now() + REST;
        if tokio::time::timeout(at_most, watch.next()).await.is_ok() {
            tokio::time::sleep_until(rested).await;
            // What has changed doesn't matter: all of it is looked at next.
            while watch.next().now_or_never().flatten().is_some() {}
        }
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("folder", &self.folder).finish_non_exhaustive()
    }
}

fn watch(folder: &Path) -> io::Result<EventStream<[u8; BUFFER]>> {
    let watch = Inotify::init()?;
    watch.watches().add(folder, WatchMask::MODIFY | WatchMask::CREATE | WatchMask::MOVED_TO)?;
    watch.into_event_stream([0; BUFFER])
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn what_is_written_is_heard_of_and_silence_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, file) = (dir.path().join("events"), dir.path().join("events/log"));
        let mut changes = Changes::of(folder.clone());
        assert!(changes.watch.is_none());
        std::fs::create_dir(&folder).unwrap();
        // From here on it hears.
        changes.next(LONG).await;
        assert!(changes.watch.is_some());
        for _ in 0..3 {
            std::fs::write(&file, "more").unwrap();
            tokio::time::timeout(LONG / 2, changes.next(LONG)).await.unwrap();
        }
        let waiting = tokio::time::timeout(LOOK * 8, changes.next(LONG)).await;
        assert!(waiting.is_err(), "nothing was written");
    }

    #[tokio::test]
    async fn who_hears_nothing_looks() {
        let mut changes = Changes::of("/nonexistent/folder".into());
        tokio::time::timeout(LONG / 2, changes.next(LONG)).await.unwrap();
    }
}
