//! A pack's index: 16 bytes `slipway-idx-v1\n\0`, the pack's length and the number of entries (`u64`, big-endian like all
//! numbers here), then for each blob, in the order of digests: digest, offset of the content, size (`u64` both), seconds
//! (`i64`). The SHA-256 of all that is at the end.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use slipway_context::Digest;

use super::{Dirs, Entry, HEADER, MAX_RECORDS, Pack, PackId, number, scan, seconds, sync_dir};

const MAGIC: &[u8; 16] = b"slipway-idx-v1\n\0";
/// Bytes of an entry.
pub(super) const ENTRY: usize = 32 + 8 + 8 + 8;
const FIXED: usize = MAGIC.len() + 8 + 8;
const CHECKSUM: usize = 32;

/// Sorted by digest, each once: the first record counts.
pub(in crate::store) fn sorted(mut entries: Vec<Entry>) -> Box<[Entry]> {
    entries.sort_by_key(|entry| (entry.digest, entry.offset));
    entries.dedup_by_key(|entry| entry.digest);
    entries.into_boxed_slice()
}

fn encode(pack_bytes: u64, entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FIXED + entries.len() * ENTRY + CHECKSUM);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&pack_bytes.to_be_bytes());
    bytes.extend_from_slice(&(entries.len() as u64).to_be_bytes());
    for entry in entries {
        bytes.extend_from_slice(entry.digest.as_bytes());
        bytes.extend_from_slice(&u64::from(entry.offset).to_be_bytes());
        bytes.extend_from_slice(&u64::from(entry.size).to_be_bytes());
        bytes.extend_from_slice(&entry.seconds.to_be_bytes());
    }
    let checksum = Digest::of(&bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    bytes
}

/// The entries of an index of a pack of that length; nothing when it isn't one, byte for byte.
fn decode(bytes: &[u8], pack_bytes: u64) -> Option<Box<[Entry]>> {
    let (rest, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM)?)?;
    if rest.len() < FIXED || !rest.starts_with(MAGIC) || Digest::of(rest).as_bytes() != checksum {
        return None;
    }
    let (head, entries) = rest.split_at(FIXED);
    let count = number(head, 24);
    if number(head, 16) != pack_bytes || !entries.len().is_multiple_of(ENTRY) || count != (entries.len() / ENTRY) as u64
    {
        return None;
    }
    let entries: Option<Box<[Entry]>> = entries
        .chunks_exact(ENTRY)
        .map(|bytes| {
            let digest = Digest::try_from(&bytes[..32]).ok()?;
            let (offset, size) = (u32::try_from(number(bytes, 32)).ok()?, u32::try_from(number(bytes, 40)).ok()?);
            // Earlier versions have written later times.
            let entry = Entry { digest, offset, size, seconds: seconds(bytes, 48) };
            (entry.offset as usize >= HEADER && entry.end() <= pack_bytes).then_some(entry)
        })
        .collect();
    entries.filter(|entries| entries.is_sorted_by(|one, next| one.digest < next.digest))
}

/// Writes an index under its name in `tmp/`, so that it is on the disk.
pub(in crate::store) fn write(path: &Path, pack_bytes: u64, entries: &[Entry]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(&encode(pack_bytes, entries))?;
    file.sync_all()
}

/// A sealed pack as its index says, if that can be believed; [`io::ErrorKind::NotFound`] when the pack itself is gone.
pub(in crate::store) fn read(dirs: &Dirs, id: PackId) -> io::Result<Option<Pack>> {
    const MOST: u64 = (FIXED + CHECKSUM + 2 * MAX_RECORDS * ENTRY) as u64;
    let bytes = fs::metadata(dirs.pack(id))?.len();
    let path = dirs.index(id);
    let entries = match fs::metadata(&path) {
        Ok(metadata) if metadata.len() <= MOST => fs::read(&path).ok().and_then(|index| decode(&index, bytes)),
        _ => None,
    };
    Ok(entries.map(|entries| Pack { id, bytes, entries }))
}

/// Marks that blobs of a pack may be lost, so that trees are checked again.
pub(in crate::store) fn mark_lost(dirs: &Dirs, id: PackId) -> io::Result<()> {
    File::create(dirs.damaged().join(format!("lost.{id}"))).map(drop)
}

/// Makes a pack's index anew from its records, and marks that some may be lost.
pub(in crate::store) fn rebuild(dirs: &Dirs, id: PackId) -> io::Result<Pack> {
    let file = File::open(dirs.pack(id))?;
    let entries = sorted(scan(&file)?.entries);
    let bytes = file.metadata()?.len();
    // The mark comes first: from here on nothing is believed to be complete without a look.
    mark_lost(dirs, id)?;
    sync_dir(&dirs.damaged())?;
    // Not `<id>.idx`: another process may be doing the same.
    let temporary = dirs.tmp().join(format!("{}.idx", PackId::new()));
    let written = write(&temporary, bytes, &entries).and_then(|()| fs::rename(&temporary, dirs.index(id)));
    if let Err(error) = written {
        let _ = fs::remove_file(&temporary);
        // Good for this time.
        tracing::warn!(pack = %id, %error, "can't write the index of pack {id}");
    } else {
        sync_dir(&dirs.packs())?;
    }
    Ok(Pack { id, bytes, entries })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries(count: u32) -> Box<[Entry]> {
        let entry = |n: u32| Entry {
            digest: Digest::of(&n.to_be_bytes()),
            offset: HEADER as u32 + n * 100,
            size: n % 50,
            seconds: i64::from(n),
        };
        sorted((0..count).map(entry).collect())
    }

    #[test]
    fn an_index_of_two_hundred_thousand_is_small() {
        let all = entries(200_000);
        assert_eq!(size_of_val(&*all), 9_600_000);
        let bytes = encode(20_000_100, &all);
        assert_eq!(bytes.len(), 11_200_064);
        assert_eq!(decode(&bytes, 20_000_100).unwrap(), all);
    }

    #[test]
    fn the_index_of_another_length_is_not_believed() {
        assert!(decode(&encode(1000, &entries(5)), 1000).is_some());
        assert!(decode(&encode(1000, &entries(5)), 999).is_none());
        assert!(decode(&encode(1000, &entries(20)), 1000).is_none(), "entries past the end of the pack");
    }

    #[test]
    fn times_are_such_as_can_be_told_whoever_wrote_them() {
        use crate::store::pack::LAST_SECOND;
        let digest = Digest::of(b"");
        for (written, read) in [(16_000_000_000, LAST_SECOND), (LAST_SECOND, LAST_SECOND), (-1, 0), (7, 7)] {
            let entry = Entry { digest, offset: HEADER as u32, size: 0, seconds: written };
            assert_eq!(decode(&encode(100, &[entry]), 100).unwrap()[0].seconds, read);
        }
    }

    proptest! {
        #[test]
        fn a_changed_or_cut_index_is_not_believed(count in 0u32..20, at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let bytes = encode(10_000, &entries(count));
            let mut changed = bytes.clone();
            let at = at.index(bytes.len());
            changed[at] ^= 1 << bit;
            prop_assert!(decode(&changed, 10_000).is_none());
            prop_assert!(decode(&bytes[..at], 10_000).is_none());
        }
    }
}
