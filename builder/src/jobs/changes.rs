//! Hearing of what another process writes into a folder (`inotify(7)`), so that nobody has to look all the time.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// How often somebody looks who hears nothing: the folder isn't there yet, or the user has no inotify instance left.
const LOOK: Duration = Duration::from_millis(25);
/// At least between two looks, however much is written.
const REST: Duration = Duration::from_millis(1);

/// Changes of the files in a folder.
#[derive(Debug)]
pub(super) struct Changes {
    folder: PathBuf,
    watch: Option<AsyncFd<OwnedFd>>,
}

impl Changes {
    /// Of this folder.
    pub(super) fn of(folder: PathBuf) -> Self {
        Self { watch: watch(&folder).ok(), folder }
    }

    /// Waits until something may have changed since the last time, at most so long.
    pub(super) async fn next(&mut self, at_most: Duration) {
        let Some(watch) = &self.watch else {
            tokio::time::sleep(LOOK.min(at_most)).await;
            self.watch = watch(&self.folder).ok();
            return;
        };
        let rested = Instant::now() + REST;
        if let Ok(Ok(mut ready)) = tokio::time::timeout(at_most, watch.readable()).await {
            // What has changed doesn't matter: all of it is looked at next.
            let mut events = [0; 4096];
            while rustix::io::read(watch, &mut events).is_ok_and(|bytes| bytes > 0) {}
            ready.clear_ready();
            tokio::time::sleep_until(rested).await;
        }
    }
}

fn watch(folder: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    inotify::add_watch(&watch, folder, WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO)?;
    Ok(AsyncFd::register(watch)?)
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
