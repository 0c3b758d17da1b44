//! Takes away the packs of a namespace that nobody needs, in two steps: [`prepare`] copies what is needed out of packs that are
//! worth it, beside everything else that happens; [`sweep`] removes packs, while nothing is committed.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::iter::Sum;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::catalog::{Known, chosen, names};
use super::pack::writer::PackWriter;
use super::pack::{Dirs, Entry, HEADER, Header, Pack, PackId, charge, sync_dir};
use super::trees::Reachable;
use super::{BlobError, Blobs};

/// What is worth the work.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Younger packs keep what nobody needs: a sync that was cut may go on.
    pub young: Duration,
    /// As long as that is no more than so many bytes; above it the oldest goes first.
    pub spare: u64,
    /// The same with what each counts for ([`charge`]).
    pub charge: u64,
    /// Smaller packs, in bytes, are merged.
    pub small: u64,
    /// As soon as there are so many of them.
    pub few: usize,
    /// After so many bytes, copying goes on the next time.
    pub most: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            young: Duration::from_hours(24),
            spare: u64::MAX,
            charge: u64::MAX,
            small: 16 << 20,
            few: 8,
            most: 1 << 30,
        }
    }
}

/// What nobody needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spare {
    /// Bytes of the records.
    pub bytes: u64,
    /// What they count for where a sum bounds uploads ([`charge`]).
    pub charge: u64,
}

/// What was taken away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Packs that are gone; what was needed of them is in others.
    pub packs: u64,
    /// Bytes of those.
    pub bytes: u64,
}

/// Which packs can be removed, after everything that is needed of them was copied into new ones.
pub fn prepare(blobs: &Blobs, needed: &Reachable, policy: &Policy, now: SystemTime) -> Result<Vec<PackId>, BlobError> {
    blobs.look();
    let known = blobs.catalog().now();
    let chosen = chosen(&known, |digest| needed.blobs.contains(digest));
    let (mut unneeded, mut sparse, mut small) = (Vec::new(), Vec::new(), Vec::new());
    let mut kept = Spare::default();
    for pack in &known.packs {
        let (used, unused) = weigh(pack, &known, &chosen, needed);
        if is_sparse(pack, used) {
            kept.add(unused);
        }
        let young = !now.duration_since(pack.id.created()).is_ok_and(|age| age >= policy.young);
        if unused != Spare::default() && young && kept.bytes <= policy.spare && kept.charge <= policy.charge {
            continue;
        }
        if used == 0 {
            unneeded.push(pack.id);
        } else if is_sparse(pack, used) {
            sparse.push(pack);
        } else if pack.bytes < policy.small {
            small.push(pack);
        }
    }
    if small.len() >= policy.few {
        sparse.append(&mut small);
    }
    let mut copies = Copies { blobs, pack: None };
    let mut done = 0;
    for pack in &sparse {
        if done > policy.most {
            break;
        }
        unneeded.push(pack.id);
        let mut entries = chosen.get(&pack.id).cloned().unwrap_or_default();
        entries.sort_unstable_by_key(|entry| entry.offset);
        for entry in entries {
            copies.add(pack, entry)?;
            done += u64::from(entry.size);
        }
    }
    copies.seal()?;
    Ok(unneeded)
}

impl Spare {
    fn of(entry: &Entry) -> Self {
        let size = u64::from(entry.size);
        Self { bytes: HEADER as u64 + size, charge: charge(size) }
    }

    fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.charge += other.charge;
    }
}

impl Sum for Spare {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, one| {
            sum.add(one);
            sum
        })
    }
}

/// Bytes of the records of which a pack has the chosen copy, and those that nobody needs.
fn weigh(pack: &Pack, known: &Known, chosen: &HashMap<PackId, Vec<&Entry>>, needed: &Reachable) -> (u64, Spare) {
    let bytes = |entry: &Entry| HEADER as u64 + u64::from(entry.size);
    let is_spare = |entry: &&Entry| !needed.blobs.contains(&entry.digest) && !known.is_damaged(&entry.digest, pack.id);
    let used = chosen.get(&pack.id).into_iter().flatten().map(|entry| bytes(entry)).sum();
    (used, pack.entries.iter().filter(is_spare).map(Spare::of).sum())
}

/// Whether it is worth the work to copy what is needed of a pack.
fn is_sparse(pack: &Pack, needed_bytes: u64) -> bool {
    needed_bytes < pack.bytes / 2
}

/// What nobody needs, but for that in packs that are needed by half: it is not removed before the rest of these is, and
/// there are no more bytes of it than of what is needed.
pub fn spare(blobs: &Blobs, needed: &Reachable) -> Spare {
    blobs.look();
    let known = blobs.catalog().now();
    let chosen = chosen(&known, |digest| needed.blobs.contains(digest));
    let spare = |pack: &Arc<Pack>| {
        let (used, spare) = weigh(pack, &known, &chosen, needed);
        if is_sparse(pack, used) { spare } else { Spare::default() }
    };
    known.packs.iter().map(spare).sum()
}

/// What all that is there counts for.
pub fn charge_of_all(blobs: &Blobs) -> u64 {
    blobs.look();
    let known = blobs.catalog().now();
    known.packs.iter().flat_map(|pack| &pack.entries).map(|entry| charge(u64::from(entry.size))).sum()
}

/// Bytes of packs that are being written.
pub fn unsealed(blobs: &Blobs) -> io::Result<u64> {
    let (dir, mut bytes) = (blobs.catalog().dirs().tmp(), 0);
    for name in names(&dir)? {
        match fs::metadata(dir.join(name)) {
            Ok(metadata) => bytes += metadata.len(),
            // It is sealed now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// New packs for what is needed of old ones.
struct Copies<'a> {
    blobs: &'a Blobs,
    pack: Option<PackWriter>,
}

impl Copies<'_> {
    fn add(&mut self, from: &Pack, entry: &Entry) -> Result<(), BlobError> {
        let content = match self.blobs.read_copy(from, entry) {
            Ok(content) => content,
            // It is marked now: no copy of it is needed.
            Err(_) if self.blobs.catalog().now().is_damaged(&entry.digest, from.id) => return Ok(()),
            Err(error) => return Err(error),
        };
        if self.pack.as_ref().is_some_and(PackWriter::is_full) {
            self.seal()?;
        }
        let pack = match self.pack.take() {
            Some(pack) => pack,
            None => PackWriter::create(self.blobs.catalog().dirs())?,
        };
        let pack = self.pack.insert(pack);
        pack.begin(Header { digest: entry.digest, size: u64::from(entry.size), seconds: entry.seconds })?;
        pack.append(&content)?;
        pack.commit();
        Ok(())
    }

    fn seal(&mut self) -> Result<(), BlobError> {
        if let Some(pack) = self.pack.take() {
            pack.seal()?;
        }
        Ok(())
    }
}

/// Removes these packs, as far as everything that is needed now is in others too, and marks from before a time that are
/// about packs that are gone. Nothing may be committed meanwhile.
pub fn sweep(blobs: &Blobs, packs: &[PackId], needed: &Reachable, marks_before: SystemTime) -> io::Result<Swept> {
    let catalog = blobs.catalog();
    catalog.reload()?;
    let known = catalog.now();
    let (dirs, mut swept) = (catalog.dirs(), Swept::default());
    // There may be thousands.
    let packs: HashSet<PackId> = packs.iter().copied().collect();
    for pack in known.packs.iter().filter(|pack| packs.contains(&pack.id)) {
        let only_copy = |entry: &Entry| {
            needed.blobs.contains(&entry.digest)
                && !known.is_damaged(&entry.digest, pack.id)
                && known.find(&entry.digest, |pack| packs.contains(&pack)).is_none()
        };
        if pack.entries.iter().any(only_copy) {
            continue;
        }
        fs::remove_file(dirs.pack(pack.id))?;
        remove_if_there(&dirs.index(pack.id))?;
        swept.packs += 1;
        swept.bytes += pack.bytes;
    }
    if swept.packs > 0 {
        sync_dir(&dirs.packs())?;
    }
    remove_old_marks(dirs, marks_before)?;
    remove_old_layout(dirs)?;
    catalog.reload()?;
    Ok(swept)
}

fn remove_old_marks(dirs: &Dirs, before: SystemTime) -> io::Result<()> {
    for name in names(&dirs.damaged())? {
        let path = dirs.damaged().join(&name);
        let gone = name.split_once('.').and_then(|(_, id)| PackId::parse(id)).is_none_or(|id| !dirs.pack(id).exists());
        if gone && fs::metadata(&path)?.modified()? < before {
            remove_if_there(&path)?;
        }
    }
    Ok(())
}

/// Before there were packs each blob was a file in one of 256 folders.
fn remove_old_layout(dirs: &Dirs) -> io::Result<()> {
    for name in names(dirs.root())? {
        if name.len() == 2 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            fs::remove_dir_all(dirs.root().join(name))?;
        }
    }
    Ok(())
}

fn remove_if_there(path: &std::path::Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
