//! What only one job at a time may have: a file for each, locked (`flock(2)`) as long as its holder lives.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::failure::Failure;
use crate::lock_file::{path, try_lock};

/// Trees of one service that can be with an engine at the same time.
const SLOTS: u32 = 64;
/// How often a lock that somebody has is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// A sharing key that no other job uses now: BuildKit locks a source while a job uses it, and a second one with the same key
/// would send everything again.
#[derive(Debug)]
pub(super) struct SharedKey {
    /// The key itself.
    pub(super) name: String,
    _lock: File,
}

impl SharedKey {
    /// Takes the first free slot of a key.
    pub(super) fn take(locks: &Path, key: &str) -> Result<Self, Failure> {
        for slot in 0..SLOTS {
            let name = if slot == 0 { key.to_owned() } else { format!("{key}/{slot}") };
            if let Some(lock) = try_lock(locks, &name).map_err(Failure::internal)? {
                return Ok(Self { name, _lock: lock });
            }
        }
        Err(Failure::Internal(format!("more than {SLOTS} jobs build the same service")))
    }
}

/// A build that nobody else runs now, in this or another job.
#[derive(Debug)]
pub(super) struct Alone {
    path: PathBuf,
    _lock: File,
}

impl Drop for Alone {
    /// There are as many inputs as there are changes: their files must not stay.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Alone {
    /// Takes the lock of these inputs, if nobody has it.
    pub(super) fn try_take(locks: &Path, input: &str) -> Result<Option<Self>, Failure> {
        let name = format!("input {input}");
        let lock = try_lock(locks, &name).map_err(Failure::internal)?;
        Ok(lock.map(|lock| Self { path: path(locks, &name), _lock: lock }))
    }

    /// Waits until it can be taken.
    pub(super) async fn take(locks: &Path, input: &str) -> Result<Self, Failure> {
        loop {
            if let Some(alone) = Self::try_take(locks, input)? {
                return Ok(alone);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn jobs_that_overlap_get_a_key_each() {
        let dir = tempfile::tempdir().unwrap();
        let first = SharedKey::take(dir.path(), "a/b").unwrap();
        let second = SharedKey::take(dir.path(), "a/b").unwrap();
        assert_eq!((first.name.as_str(), second.name.as_str()), ("a/b", "a/b/1"));
        drop(first);
        assert_eq!(SharedKey::take(dir.path(), "a/b").unwrap().name, "a/b");
    }

    #[tokio::test]
    async fn equal_inputs_are_built_one_after_another() {
        let dir = tempfile::tempdir().unwrap();
        let first = Alone::take(dir.path(), "a").await.unwrap();
        assert!(Alone::try_take(dir.path(), "a").unwrap().is_none());
        let _other = Alone::try_take(dir.path(), "b").unwrap().unwrap();
        let (next, ()) = tokio::join!(Alone::take(dir.path(), "a"), async move { drop(first) });
        next.unwrap();
    }

    #[test]
    fn nothing_is_left_of_inputs_and_one_holder_at_a_time_has_them() {
        let dir = tempfile::tempdir().unwrap();
        let (held, most) = (std::sync::atomic::AtomicU32::new(0), std::sync::atomic::AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut taken = 0;
                    while taken < 200 {
                        let Some(alone) = Alone::try_take(dir.path(), "a").unwrap() else { continue };
                        most.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        held.fetch_sub(1, Ordering::SeqCst);
                        taken += 1;
                        drop(alone);
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), 1);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
