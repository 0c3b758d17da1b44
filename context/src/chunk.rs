//! Chunks: a large file is kept in pieces, so that a change to it sends and stores little more than what changed.
//!
//! Files larger than [`MAX_CHUNK`] are cut where their content says so, by `FastCDC` in its version of 2020, with the
//! parameters that the remote-execution API names: 128 KiB at least, 512 KiB on average, 2 MiB at most, normalisation
//! level 2, seed 0. Equal files are cut alike wherever that is done; nothing depends on it but how much is shared.
//!
//! # Encoding of a chunk list
//!
//! One record for each chunk, in the order of the file. Numbers are big-endian.
//!
//! | field | bytes |
//! |---|---|
//! | length of the chunk, 1 to 2 MiB | 4 |
//! | its SHA-256 | 32 |
//!
//! There is no header: what a list is of, and how many bytes it must add up to, is said by the directory that names it.

use std::io::{self, Read};

use fastcdc::v2020::{FastCDC, Normalization};

use crate::digest::Digest;
use crate::tree::MAX_ENCODED;

/// The shortest chunk, but for a file's last one.
pub const MIN_CHUNK: u32 = 128 << 10;

/// The length that most chunks are near to.
pub const AVERAGE_CHUNK: u32 = 512 << 10;

/// The longest chunk, and the largest file that is kept whole.
pub const MAX_CHUNK: u32 = 2 << 20;

/// Length of an encoded record.
const RECORD: usize = 4 + 32;

/// Room for two of the longest, so that what is left over is seldom moved.
const BUFFER: usize = 2 * MAX_CHUNK as usize;

/// A piece of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// How many bytes: 1 to [`MAX_CHUNK`].
    pub size: u32,
}

/// The chunks of a file, in order. Always valid: not empty, every size in bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkList {
    chunks: Vec<Chunk>,
}

/// Why something is no chunk list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChunkList {
    /// It ends in the middle of a record, or has none.
    #[error("a chunk list is empty or cut off")]
    Truncated,
    /// It is too large.
    #[error("a chunk list is larger than {} MiB", MAX_ENCODED >> 20)]
    TooLarge,
    /// A chunk is empty or too long.
    #[error("a chunk list has a chunk of {size} bytes")]
    Length {
        /// Its length.
        size: u32,
    },
    /// The chunks don't add up to the file.
    #[error("a chunk list adds up to {actual} bytes for a file of {expected}")]
    Total {
        /// Bytes of all chunks.
        actual: u64,
        /// Bytes of the file.
        expected: u64,
    },
}

// === impl ChunkList ===

impl ChunkList {
    /// A list of these chunks.
    pub fn new(chunks: Vec<Chunk>) -> Result<Self, InvalidChunkList> {
        if chunks.is_empty() {
            return Err(InvalidChunkList::Truncated);
        }
        if chunks.len() > MAX_ENCODED / RECORD {
            return Err(InvalidChunkList::TooLarge);
        }
        match chunks.iter().find(|chunk| !(1..=MAX_CHUNK).contains(&chunk.size)) {
            Some(chunk) => Err(InvalidChunkList::Length { size: chunk.size }),
            None => Ok(Self { chunks }),
        }
    }

    /// Reads bytes from anywhere, for a file of `size` bytes: the result is a valid list that encodes to the same bytes
    /// and adds up to that size, or an error.
    pub fn decode(bytes: &[u8], size: u64) -> Result<Self, InvalidChunkList> {
        if bytes.len() > MAX_ENCODED {
            return Err(InvalidChunkList::TooLarge);
        }
        let (records, rest) = bytes.as_chunks::<RECORD>();
        if !rest.is_empty() {
            return Err(InvalidChunkList::Truncated);
        }
        let list = Self::new(records.iter().map(Chunk::decode).collect())?;
        let actual = list.size();
        if actual == size { Ok(list) } else { Err(InvalidChunkList::Total { actual, expected: size }) }
    }

    /// The bytes that stand for this list.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.chunks.len() * RECORD);
        for chunk in &self.chunks {
            bytes.extend(chunk.size.to_be_bytes());
            bytes.extend(chunk.digest.as_bytes());
        }
        bytes
    }

    /// The chunks, in the order of the file.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// Bytes of the whole file.
    pub fn size(&self) -> u64 {
        // At most some million chunks of a few million bytes.
        self.chunks.iter().map(|chunk| u64::from(chunk.size)).sum()
    }
}

impl Chunk {
    fn decode(record: &[u8; RECORD]) -> Self {
        let [a, b, c, d, digest @ ..] = *record;
        Self { size: u32::from_be_bytes([a, b, c, d]), digest: Digest::from_bytes(digest) }
    }
}

/// Cuts all that `reader` yields and hashes every chunk. `buffer` is grown to a few MiB, for use again.
pub(crate) fn cut(reader: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<Vec<Chunk>> {
    if buffer.len() < BUFFER {
        buffer.resize(BUFFER, 0);
    }
    let (mut start, mut end, mut more) = (0, 0, true);
    let mut chunks = Vec::new();
    loop {
        if more && end - start < MAX_CHUNK as usize {
            buffer.copy_within(start..end, 0);
            (start, end) = (0, end - start);
            while more && end < buffer.len() {
                match reader.read(&mut buffer[end..]) {
                    Ok(0) => more = false,
                    Ok(read) => end += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let ready = &buffer[start..end];
        let (min, average, max) = (MIN_CHUNK as usize, AVERAGE_CHUNK as usize, MAX_CHUNK as usize);
        let Some(first) = FastCDC::with_level(ready, min, average, max, Normalization::Level2).next() else {
            return Ok(chunks);
        };
        chunks.push(Chunk { digest: Digest::of(&ready[..first.length]), size: first.length as u32 });
        start += first.length;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes without a pattern, the same every time.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    /// A reader that gives little at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let wanted = buffer.len().min(70_001);
            self.0.read(&mut buffer[..wanted])
        }
    }

    #[test]
    fn chunks_are_in_bounds_and_make_the_file() {
        let content = noise(12 << 20);
        let chunks = cut(&mut content.as_slice(), &mut Vec::new()).unwrap();
        let mut rest = content.as_slice();
        for (at, chunk) in chunks.iter().enumerate() {
            let (piece, behind) = rest.split_at(chunk.size as usize);
            assert_eq!(Digest::of(piece), chunk.digest);
            assert!(chunk.size <= MAX_CHUNK && (chunk.size >= MIN_CHUNK || at + 1 == chunks.len()));
            rest = behind;
        }
        assert!(rest.is_empty() && (10..50).contains(&chunks.len()), "{}", chunks.len());
        // Whatever the reads were.
        assert_eq!(cut(&mut Slow(&content), &mut Vec::new()).unwrap(), chunks);
        // Where the cuts are is part of what makes files share chunks, here and in later versions.
        let sizes: Vec<u32> = chunks.iter().take(3).map(|chunk| chunk.size).collect();
        assert_eq!(sizes, FIRST_CUTS);
        assert_eq!(cut(&mut io::empty(), &mut Vec::new()).unwrap(), []);
        let zeros = vec![0; 5 << 20];
        assert!(cut(&mut zeros.as_slice(), &mut Vec::new()).unwrap().iter().all(|chunk| chunk.size <= MAX_CHUNK));
    }

    const FIRST_CUTS: [u32; 3] = [551_876, 925_293, 664_339];

    #[test]
    fn an_inserted_byte_changes_a_chunk_or_two() {
        let mut content = noise(12 << 20);
        let before = cut(&mut content.as_slice(), &mut Vec::new()).unwrap();
        content.insert(6 << 20, b'!');
        let after = cut(&mut content.as_slice(), &mut Vec::new()).unwrap();
        let new = after.iter().filter(|chunk| !before.contains(chunk)).count();
        assert!((1..=2).contains(&new), "{new}");
    }

    #[test]
    fn encoding_is_fixed_and_strict() {
        use InvalidChunkList as E;
        let list = ChunkList::new(vec![Chunk { digest: Digest::of(b"a"), size: 1 }]).unwrap();
        let bytes = [&[0, 0, 0, 1][..], Digest::of(b"a").as_bytes()].concat();
        assert_eq!(list.encode(), bytes);
        assert_eq!(ChunkList::decode(&bytes, 1).unwrap(), list);
        assert_eq!(ChunkList::decode(&bytes, 2), Err(E::Total { actual: 1, expected: 2 }));
        assert_eq!(ChunkList::decode(&bytes[1..], 1), Err(E::Truncated));
        assert_eq!(ChunkList::decode(&[], 0), Err(E::Truncated));
        assert_eq!(ChunkList::decode(&[0; RECORD], 0), Err(E::Length { size: 0 }));
        assert_eq!(ChunkList::decode(&[1; RECORD], 0), Err(E::Length { size: 0x0101_0101 }));
        assert_eq!(ChunkList::decode(&vec![0; MAX_ENCODED + 1], 0), Err(E::TooLarge));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes(
            sizes in prop::collection::vec(0..=MAX_CHUNK + 1, 0..5),
            extra in prop::collection::vec(any::<u8>(), 0..3),
            wrong in 0..2_u64,
        ) {
            let mut bytes = Vec::new();
            for size in &sizes {
                bytes.extend(size.to_be_bytes());
                bytes.extend([7; 32]);
            }
            bytes.extend(&extra);
            let total = sizes.iter().map(|size| u64::from(*size)).sum::<u64>() + wrong;
            let proper = sizes.iter().all(|size| (1..=MAX_CHUNK).contains(size));
            let decoded = ChunkList::decode(&bytes, total);
            prop_assert_eq!(decoded.is_ok(), proper && !sizes.is_empty() && extra.is_empty() && wrong == 0);
            if let Ok(list) = decoded {
                prop_assert_eq!(list.encode(), bytes);
                prop_assert_eq!(list.size(), total);
            }
        }
    }
}
