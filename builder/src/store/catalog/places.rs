//! One index of many packs, so that a lookup takes as long among thousands of small ones as it does in one that is large.
//!
//! Digests are spread evenly: their first bits are the number of a bucket that holds about one place.

use std::sync::Arc;

use slipway_context::Digest;

use crate::store::pack::{Entry, Pack};

/// Where the blobs of these packs are. 12 to 16 bytes for each, beside the packs' own entries.
#[derive(Debug)]
pub(super) struct Places {
    /// Newest first.
    packs: Vec<Arc<Pack>>,
    /// Where each bucket begins in `copies`; at last, where the last one ends.
    begins: Box<[u32]>,
    /// Pack and entry. In a bucket, those of newer packs come first.
    copies: Box<[(u32, u32)]>,
    bits: u32,
}

impl Default for Places {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Places {
    /// Of these packs, newest first. Takes a time that grows with the number of their blobs.
    pub(super) fn new(packs: Vec<Arc<Pack>>) -> Self {
        let blobs: usize = packs.iter().map(|pack| pack.entries.len()).sum();
        // All numbers fit: 2^32 blobs would take 200 GB of memory.
        let bits = blobs.next_power_of_two().trailing_zeros().clamp(1, 31);
        let entries = || packs.iter().flat_map(|pack| &pack.entries);
        let mut begins = vec![0u32; (1 << bits) + 1].into_boxed_slice();
        for entry in entries() {
            begins[bucket(&entry.digest, bits) + 1] += 1;
        }
        for at in 1..begins.len() {
            begins[at] += begins[at - 1];
        }
        let mut next = begins.clone();
        let mut copies = vec![(0, 0); blobs].into_boxed_slice();
        for (number, pack) in packs.iter().enumerate() {
            for (at, entry) in pack.entries.iter().enumerate() {
                let next = &mut next[bucket(&entry.digest, bits)];
                copies[*next as usize] = (number as u32, at as u32);
                *next += 1;
            }
        }
        Self { packs, begins, copies, bits }
    }

    /// All copies of a blob, the newest first.
    pub(super) fn find(&self, digest: Digest) -> impl Iterator<Item = (&Arc<Pack>, Entry)> {
        let bucket = bucket(&digest, self.bits);
        let copies = &self.copies[self.begins[bucket] as usize..self.begins[bucket + 1] as usize];
        copies.iter().filter_map(move |(pack, entry)| {
            let pack = &self.packs[*pack as usize];
            let entry = pack.entries[*entry as usize];
            (entry.digest == digest).then_some((pack, entry))
        })
    }

    /// Those of the packs, newest first, that are not here; none at all when one that is here is not among them.
    pub(super) fn lacks(&self, packs: &[Arc<Pack>]) -> Option<Vec<Arc<Pack>>> {
        let mut own = self.packs.iter().peekable();
        let lacks = packs.iter().filter(|pack| own.next_if(|own| own.id == pack.id).is_none()).cloned().collect();
        own.next().is_none().then_some(lacks)
    }
}

fn bucket(digest: &Digest, bits: u32) -> usize {
    let mut first = [0; 8];
    first.copy_from_slice(&digest.as_bytes()[..8]);
    (u64::from_be_bytes(first) >> (u64::BITS - bits)) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::pack::{PackId, index};

    proptest! {
        #[test]
        fn it_finds_what_a_search_of_each_pack_finds(
            packs in prop::collection::vec(prop::collection::btree_set(0u8..40, 0..20), 0..12),
            first in 0usize..12,
        ) {
            let pack = |numbers: &std::collections::BTreeSet<u8>| {
                let entry = |n: &u8| Entry { digest: Digest::of(&[*n]), offset: u32::from(*n), size: 1, seconds: 0 };
                let entries = index::sorted(numbers.iter().map(entry).collect());
                Arc::new(Pack { id: PackId::new(), bytes: 0, entries })
            };
            let mut packs: Vec<_> = packs.iter().map(pack).collect();
            packs.reverse();
            let places = Places::new(packs.clone());
            for n in 0..40u8 {
                let digest = Digest::of(&[n]);
                let found: Vec<_> = places.find(digest).map(|(pack, entry)| (pack.id, entry)).collect();
                let each: Vec<_> = packs.iter().filter_map(|pack| Some((pack.id, pack.find(&digest)?))).collect();
                prop_assert_eq!(found, each);
            }
            let ids = |packs: &[Arc<Pack>]| packs.iter().map(|pack| pack.id).collect::<Vec<_>>();
            let (newer, older) = packs.split_at(first.min(packs.len()));
            let lacks = Places::new(older.to_vec()).lacks(&packs);
            prop_assert_eq!(lacks.as_deref().map(ids), Some(ids(newer)));
            prop_assert_eq!(places.lacks(older).is_none(), !newer.is_empty(), "one that is gone");
        }
    }
}
