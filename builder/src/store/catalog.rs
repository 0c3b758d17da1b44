//! What a process knows of a namespace's packs: their indexes, the marks of damaged blobs, and some open files.
//!
//! Other processes add and remove packs at any time. What is asked for and not known is looked for again on the disk, as soon
//! as the time of a folder says that it has changed; what is known is believed for a second.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use slipway_context::Digest;

use self::places::Places;
use super::pack::{Dirs, Entry, Pack, PackId, index, sync_dir};

mod places;

/// Packs that are open for reading.
const MAX_FILES: usize = 32;
/// How long we believe what we know without looking whether others have marked damage, in milliseconds.
const LOOK_AGAIN_MS: u64 = 1000;
/// Two changes of a folder within this time may leave it with the same modification time.
const TICK: Duration = Duration::from_millis(50);
/// Packs that are searched one by one. When there are more, all are taken into one index, which takes a while where there are
/// many blobs.
pub(super) const FRESH: usize = 8;

#[derive(Debug)]
pub(super) struct Catalog {
    dirs: Dirs,
    known: RwLock<Arc<Known>>,
    opened: Instant,
    /// When we looked at the folders last, in milliseconds since we opened them.
    looked: AtomicU64,
    stale: AtomicBool,
    /// One at a time looks at the disk.
    looking: Mutex<()>,
    /// The one used last at the end.
    files: Mutex<Vec<(PackId, Arc<File>)>>,
}

/// The packs at one time.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Newest first.
    pub(super) packs: Vec<Arc<Pack>>,
    /// Those that `places` doesn't have, newest first: at most [`FRESH`].
    pub(super) fresh: Vec<Arc<Pack>>,
    places: Arc<Places>,
    /// Blobs in all packs.
    blobs: usize,
    damaged: HashSet<(Digest, PackId)>,
    /// Packs that are there and can't be read: that was marked.
    unreadable: HashSet<PackId>,
    /// Modification times of the folders of packs and of marks; none as long as the next look may find more at the same times.
    seen: Option<(SystemTime, SystemTime)>,
}

impl Known {
    /// With these packs, newest first, and what is to be used again of what was known.
    fn new(packs: Vec<Arc<Pack>>, before: &Self) -> Self {
        let blobs = packs.iter().map(|pack| pack.entries.len()).sum();
        let (fresh, places) = match before.places.lacks(&packs) {
            Some(fresh) if fresh.len() <= FRESH => (fresh, before.places.clone()),
            _ => (Vec::new(), Arc::new(Places::new(packs.clone()))),
        };
        Self { packs, fresh, places, blobs, ..Self::default() }
    }

    /// A sound copy outside these packs: the newest, but for packs that came just now.
    pub(super) fn find(&self, digest: &Digest, except: impl Fn(PackId) -> bool) -> Option<(&Arc<Pack>, Entry)> {
        let fresh = self.fresh.iter().filter_map(|pack| Some((pack, pack.find(digest)?)));
        fresh.chain(self.places.find(*digest)).find(|(pack, _)| !except(pack.id) && !self.is_damaged(digest, pack.id))
    }

    /// The same, to be kept.
    fn find_but(&self, digest: &Digest, except: &[PackId]) -> Option<(Arc<Pack>, Entry)> {
        self.find(digest, |pack| except.contains(&pack)).map(|(pack, entry)| (pack.clone(), entry))
    }

    pub(super) fn is_damaged(&self, digest: &Digest, pack: PackId) -> bool {
        !self.damaged.is_empty() && self.damaged.contains(&(*digest, pack))
    }
}

/// How often packs are listed while some go.
const LISTINGS: usize = 5;

impl Catalog {
    pub(super) fn open(dirs: Dirs) -> io::Result<Self> {
        dirs.create()?;
        Ok(Self {
            dirs,
            known: RwLock::default(),
            opened: Instant::now(),
            looked: AtomicU64::new(0),
            stale: AtomicBool::new(true),
            looking: Mutex::default(),
            files: Mutex::default(),
        })
    }

    pub(super) fn dirs(&self) -> &Dirs {
        &self.dirs
    }

    /// Blobs in memory.
    pub(super) fn known(&self) -> usize {
        self.now().blobs
    }

    /// As the folder of marks is now.
    pub(super) fn newest_damage(&self) -> io::Result<Option<SystemTime>> {
        let dir = self.dirs.damaged();
        let mut newest = None;
        for name in names(&dir)? {
            match fs::metadata(dir.join(name)) {
                Ok(metadata) => newest = newest.max(Some(metadata.modified()?)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(newest)
    }

    /// Before the next blob is looked for, changes on the disk are.
    pub(super) fn look_again(&self) {
        self.stale.store(true, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> Arc<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The newest sound copy outside these packs, on the disk as it is now.
    pub(super) fn find(&self, digest: &Digest, except: &[PackId]) -> Option<(Arc<Pack>, Entry)> {
        let old = self.stale.swap(false, Ordering::Relaxed)
            || self.now_ms().saturating_sub(self.looked.load(Ordering::Relaxed)) > LOOK_AGAIN_MS;
        let mut searched = None;
        if !old {
            let known = self.now();
            if let Some(found) = known.find_but(digest, except) {
                return Some(found);
            }
            searched = Some(known);
        }
        self.find_anew(digest, except, searched.as_ref())
    }

    /// The same with what is on the disk now. In what was searched it isn't.
    fn find_anew(
        &self,
        digest: &Digest,
        except: &[PackId],
        searched: Option<&Arc<Known>>,
    ) -> Option<(Arc<Pack>, Entry)> {
        if let Err(error) = self.refresh() {
            tracing::warn!(dir = %self.dirs.root().display(), %error, "can't look for packs");
        }
        let known = self.now();
        // Somebody else may have taken in the change that we looked for.
        if searched.is_some_and(|searched| Arc::ptr_eq(searched, &known)) {
            None
        } else {
            known.find_but(digest, except)
        }
    }

    fn now_ms(&self) -> u64 {
        self.opened.elapsed().as_millis() as u64
    }

    /// Takes in what has changed on the disk; `false` when nothing has.
    pub(super) fn refresh(&self) -> io::Result<bool> {
        let now = self.now_ms();
        let times = self.times()?;
        self.looked.store(now, Ordering::Relaxed);
        if self.now().seen == Some(times) {
            return Ok(false);
        }
        self.reload()?;
        Ok(true)
    }

    /// Takes in what is on the disk.
    pub(super) fn reload(&self) -> io::Result<()> {
        let _one = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        // Before looking: what comes meanwhile is seen by the next look.
        let (now, times) = (SystemTime::now(), self.times()?);
        let settled = |time: SystemTime| match now.duration_since(time) {
            Ok(age) => age > TICK,
            Err(ahead) => ahead.duration() > TICK,
        };
        let before = self.now();
        let (mut listed, mut packs, mut unreadable) = (self.listed()?, Vec::new(), HashSet::new());
        for _ in 0..LISTINGS {
            packs = self.packs(&listed, &before, &packs, &mut unreadable);
            // One that was removed after it was listed may have been merged into one that was not there yet.
            let now = self.listed()?;
            if listed.iter().all(|id| now.binary_search_by(|other| id.cmp(other)).is_ok()) {
                break;
            }
            listed = now;
        }
        let mut damaged = HashSet::new();
        for name in names(&self.dirs.damaged())? {
            let Some((what, pack)) = name.split_once('.') else { continue };
            let Some(pack) = PackId::parse(pack) else { continue };
            if let Ok(digest) = format!("sha256:{what}").parse() {
                damaged.insert((digest, pack));
            }
        }
        let seen = (settled(times.0) && settled(times.1)).then_some(times);
        self.files
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(id, _)| packs.iter().any(|pack| pack.id == *id));
        let known = Arc::new(Known { damaged, unreadable, seen, ..Known::new(packs, &before) });
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
    }

    /// The packs in the folder, newest first.
    fn listed(&self) -> io::Result<Vec<PackId>> {
        let names = names(&self.dirs.packs())?;
        let mut ids: Vec<_> = names.iter().filter_map(|name| PackId::from_file_name(name, "pack")).collect();
        ids.sort_unstable_by(|one, other| other.cmp(one));
        Ok(ids)
    }

    /// These packs, as far as they can be read: what is in others counts as missing. Those that were known before, newest
    /// first, are not read again.
    fn packs(
        &self,
        ids: &[PackId],
        before: &Known,
        loaded: &[Arc<Pack>],
        unreadable: &mut HashSet<PackId>,
    ) -> Vec<Arc<Pack>> {
        let known = |id: &PackId| {
            let find =
                |packs: &[Arc<Pack>]| packs.binary_search_by(|pack| id.cmp(&pack.id)).map(|at| packs[at].clone());
            find(loaded).or_else(|_| find(&before.packs)).ok()
        };
        let mut load = |id: &PackId| match self.load(*id) {
            Ok(pack) => pack.map(Arc::new),
            Err(error) => {
                tracing::error!(pack = %id, %error, "can't read pack {id}");
                // Once: after a newer mark every tree is checked again.
                if unreadable.contains(id) || before.unreadable.contains(id) || self.mark_unreadable(*id) {
                    unreadable.insert(*id);
                }
                None
            }
        };
        ids.iter().filter_map(|id| known(id).or_else(|| load(id))).collect()
    }

    /// One pack; nothing when it is gone.
    fn load(&self, id: PackId) -> io::Result<Option<Pack>> {
        let pack = index::read(&self.dirs, id).and_then(|pack| {
            if let Some(pack) = pack {
                return Ok(pack);
            }
            tracing::error!(pack = %id, "pack {id} has no index that can be believed: reading its records");
            index::rebuild(&self.dirs, id)
        });
        match pack {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            pack => pack.map(Some),
        }
    }

    /// Whether it was marked that what is in a pack counts as missing.
    fn mark_unreadable(&self, id: PackId) -> bool {
        let marked = index::mark_lost(&self.dirs, id);
        if let Err(error) = &marked {
            tracing::error!(pack = %id, %error, "can't mark what is lost");
        }
        marked.is_ok()
    }

    /// Marks a copy as damaged, for every process.
    pub(super) fn mark(&self, digest: &Digest, pack: PackId) -> io::Result<()> {
        let dir = self.dirs.damaged();
        File::create(dir.join(format!("{}.{pack}", digest.hex())))?;
        sync_dir(&dir)?;
        self.reload()
    }

    /// The pack's file.
    pub(super) fn file(&self, id: PackId) -> io::Result<Arc<File>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match files.iter().rposition(|(open, _)| *open == id) {
            Some(at) => files.remove(at).1,
            None => Arc::new(File::open(self.dirs.pack(id))?),
        };
        if files.len() == MAX_FILES {
            files.remove(0);
        }
        files.push((id, file.clone()));
        Ok(file)
    }

    fn times(&self) -> io::Result<(SystemTime, SystemTime)> {
        Ok((fs::metadata(self.dirs.packs())?.modified()?, fs::metadata(self.dirs.damaged())?.modified()?))
    }
}

/// Names in a folder; those that aren't UTF-8 aren't ours.
pub(super) fn names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.extend(entry?.file_name().into_string().ok());
    }
    Ok(names)
}

/// How often each pack is the one from which a blob would be read: `needed` says which blobs.
pub(super) fn chosen(known: &Known, needed: impl Fn(&Digest) -> bool) -> HashMap<PackId, Vec<&Entry>> {
    let mut chosen: HashMap<PackId, Vec<&Entry>> = HashMap::new();
    let mut taken = HashSet::new();
    for pack in &known.packs {
        for entry in &pack.entries {
            if needed(&entry.digest) && !known.is_damaged(&entry.digest, pack.id) && taken.insert(entry.digest) {
                chosen.entry(pack.id).or_default().push(entry);
            }
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{blobs, put};

    #[test]
    fn what_somebody_else_has_taken_in_meanwhile_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let (reader, writer) = (blobs(dir.path()), blobs(dir.path()));
        let (catalog, digest) = (reader.catalog(), Digest::of(b"new"));
        let searched = catalog.now();
        assert!(searched.find(&digest, |_| false).is_none());
        put(&writer, &[b"new"]);
        // Another thread looks, so that there is nothing more to be seen for us.
        while catalog.refresh().unwrap() {
            std::thread::sleep(TICK);
        }
        assert!(catalog.find_anew(&digest, &[], Some(&searched)).is_some());
    }

    #[test]
    fn a_pack_that_cannot_be_read_is_marked_once() {
        let dir = tempfile::tempdir().unwrap();
        let reader = blobs(dir.path());
        let catalog = reader.catalog();
        let pack = PackId::new();
        fs::create_dir(catalog.dirs().pack(pack)).unwrap();
        catalog.reload().unwrap();
        let mark = File::open(catalog.dirs().damaged().join(format!("lost.{pack}"))).unwrap();
        let before = SystemTime::now() - Duration::from_hours(1);
        mark.set_modified(before).unwrap();
        catalog.reload().unwrap();
        assert_eq!(catalog.newest_damage().unwrap(), Some(before), "trees that were checked since may be believed");
        // It may have been readable until somebody finds that it isn't.
        blobs(dir.path());
        assert!(catalog.newest_damage().unwrap().unwrap() > before);
    }
}
