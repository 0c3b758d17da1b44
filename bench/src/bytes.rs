//! Bytes that come from a seed.

const WORDS: [&str; 16] = [
    "let ", "return ", "self", "(", ");\n", "    ", "value", ".len()", " = ", "match ", "Result", "// ", "index",
    "{\n", "}\n", "fn ",
];

/// Marsaglia's xorshift64: fast, and the same everywhere.
#[derive(Debug, Clone)]
pub(crate) struct XorShift(u64);

impl XorShift {
    /// A sequence of its own for every seed and every part of a tree.
    pub(crate) fn new(seed: u64, part: u64) -> Self {
        // Small seeds have few bits set, which xorshift keeps for a while: spread them (the multiplier of splitmix64).
        let mixed = (seed ^ part.rotate_left(32)).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut this = Self(mixed | 1);
        for _ in 0..8 {
            this.next();
        }
        this
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below this limit.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Bytes that can't be compressed, at the end of the buffer.
    pub(crate) fn noise(&mut self, buffer: &mut Vec<u8>, len: usize) {
        let end = buffer.len() + len;
        while buffer.len() < end {
            buffer.extend_from_slice(&self.next().to_le_bytes());
        }
        buffer.truncate(end);
    }

    /// Text that compresses like source code (to about a quarter), at the end of the buffer.
    pub(crate) fn text(&mut self, buffer: &mut Vec<u8>, len: usize) {
        let end = buffer.len() + len;
        while buffer.len() < end {
            let mut bits = self.next();
            for _ in 0..12 {
                buffer.extend_from_slice(WORDS[bits as usize % WORDS.len()].as_bytes());
                bits >>= 4;
            }
            buffer.extend_from_slice(format!("x{:x} ", bits & 0xfff).as_bytes());
        }
        buffer.truncate(end);
    }
}
