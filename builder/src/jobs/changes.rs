//! Hearing of what another process writes into a folder (`inotify(7)`), so that nobody has to look all the time.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, io};

use futures::FutureExt as _;
use inotify::{EventStream, Inotify, WatchMask};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tokio_stream::StreamExt as _;

/// How often somebody looks who hears nothing: the folder isn't there yet, or too many want to hear.
const LOOK: Duration = Duration::from_millis(25);
/// Between two looks, however much is written.
const REST: Duration = Duration::from_millis(10);
/// So many looks after a silence are at once.
const BURST: u32 = 20;
/// Folders that are listened to. A user's inotify instances are few (128, mostly), and other programs need some.
static LISTENING: Semaphore = Semaphore::const_new(48);
/// Bytes for events of one reading.
const BUFFER: usize = 4096;

/// Changes of the files in a folder.
#[derive(Debug)]
pub(super) struct Changes {
    folder: PathBuf,
    watch: Option<Watch>,
    /// When all looks so far have been rested for (the generic cell rate algorithm).
    rested: Instant,
}

struct Watch {
    events: EventStream<[u8; BUFFER]>,
    _one: SemaphorePermit<'static>,
}

impl Changes {
    /// Of this folder.
    pub(super) fn of(folder: PathBuf) -> Self {
        Self { folder, watch: None, rested: Instant::now() }
    }

    /// Waits until something may have changed since the last time, at most so long.
    pub(super) async fn next(&mut self, at_most: Duration) {
        let Some(watch) = &mut self.watch else {
            self.watch = Watch::of(&self.folder).ok();
            // What came before it listens is found by another look.
            if self.watch.is_none() {
                tokio::time::sleep(LOOK.min(at_most)).await;
            }
            return;
        };
        if tokio::time::timeout(at_most, watch.events.next()).await.is_ok() {
            tokio::time::sleep(self.rested.saturating_duration_since(Instant::now()).saturating_sub(REST * BURST))
                .await;
            self.rested = self.rested.max(Instant::now()) + REST;
            // What has changed doesn't matter: all of it is looked at next.
            while watch.events.next().now_or_never().flatten().is_some() {}
        }
    }
}

impl Watch {
    fn of(folder: &Path) -> io::Result<Self> {
        let one = LISTENING.try_acquire().map_err(io::Error::other)?;
        let watch = Inotify::init()?;
        watch.watches().add(folder, WatchMask::MODIFY | WatchMask::CREATE | WatchMask::MOVED_TO)?;
        Ok(Self { events: watch.into_event_stream([0; BUFFER])?, _one: one })
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
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
        changes.next(LONG).await;
        assert!(changes.watch.is_none());
        std::fs::create_dir(&folder).unwrap();
        tokio::time::timeout(LONG / 2, changes.next(LONG)).await.unwrap();
        assert!(changes.watch.is_some(), "from here on it hears");
        for _ in 0..3 {
            std::fs::write(&file, "more").unwrap();
            tokio::time::timeout(LONG / 2, changes.next(LONG)).await.unwrap();
        }
        let waiting = tokio::time::timeout(LOOK * 8, changes.next(LONG)).await;
        assert!(waiting.is_err(), "nothing was written");
    }

    #[tokio::test]
    async fn looks_are_at_once_after_a_silence_and_rare_in_a_flood() {
        let dir = tempfile::tempdir().unwrap();
        let mut changes = Changes::of(dir.path().to_owned());
        changes.next(LONG).await;
        let began = Instant::now();
        for _ in 0..BURST * 2 {
            std::fs::write(dir.path().join("log"), "more").unwrap();
            changes.next(LONG).await;
        }
        assert!(changes.rested >= began + REST * BURST * 2, "each look is rested for");
        assert!(began.elapsed() >= REST * (BURST - 1), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn who_hears_nothing_looks() {
        let mut changes = Changes::of("/nonexistent/folder".into());
        for _ in 0..3 {
            tokio::time::timeout(LONG / 2, changes.next(LONG)).await.unwrap();
        }
    }
}
