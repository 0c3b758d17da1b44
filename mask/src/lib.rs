//! Replaces secret values in output by `***`, in all forms in which programs usually print them.
//!
//! [`Masks`] are made of values once; a [`Masker`] goes over a stream in pieces of any size and gives the same whatever they
//! are. It holds back only what may still become something to mask.
//!
//! Masked are, of each value of more than five characters and of each of its lines that is as long:
//!
//! - the value itself;
//! - in a JSON string, in a URL (percent-encoded) or a form (`+` for spaces), in a shell's single quotes;
//! - in base64, standard or URL-safe, alone or anywhere in a longer text, also where that is wrapped into lines.
//!
//! Whatever belongs to several that overlap is replaced together. What is encoded twice, compressed, reversed or printed letter
//! by letter is not found: this keeps accidents out of logs, not those who want to get a value out.
//!
//! Bounded: [`MAX_PATTERN`] bytes are looked for at once (longer values are masked line by line, and longer lines piece by
//! piece), and [`MAX_PATTERNS`] bytes in all, besides as many in other forms and twice as many in base64. [`Masks::gaps`]
//! counts the values that went beyond that; of those that are added together short ones come first. Should it fail to look for them at all, it masks everything
//! ([`Masks::is_blind`]).
//!
//! ```
//! use slipway_mask::Masks;
//!
//! let masks = Masks::of([b"hunter22".as_slice()]);
//! assert_eq!(masks.text("password=hunter22, aHVudGVyMjI="), "password=***, ***");
//! let (mut masker, mut told) = (masks.masker(), Vec::new());
//! for piece in ["it is hun", "ter22", "!"] {
//!     masker.push(piece.as_bytes(), &mut told);
//! }
//! masker.finish(&mut told);
//! assert_eq!(told, b"it is ***!");
//! ```

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

mod forms;
mod patterns;
mod scan;
#[cfg(test)]
mod tests;

use patterns::{Patterns, Unbuildable};
use scan::Scan;

/// What stands for a value.
pub const MASK: &str = "***";
/// Values with more characters than these are masked: shorter ones are everywhere.
pub const TOO_SHORT: usize = 5;
/// The longest text that is looked for as one, in bytes.
pub const MAX_PATTERN: usize = 4096;
/// Bytes of all texts that are looked for as they are.
pub const MAX_PATTERNS: usize = 512 << 10;

/// The values to mask. Cheap to clone.
#[derive(Clone, Default)]
pub struct Masks(Option<Arc<Inner>>);

#[derive(Default)]
struct Inner {
    plain: Option<Patterns>,
    base64: Option<Patterns>,
    gaps: Gaps,
    /// What each value is looked for as.
    values: Vec<BTreeSet<Vec<u8>>>,
    /// Values that are not looked for.
    spared: Vec<String>,
    blind: bool,
}

/// How many values there was no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gaps {
    /// Not masked, or not whole.
    pub plain: usize,
    /// Masked as they are, and not in all other forms.
    pub encoded: usize,
}

/// Goes over one stream.
#[derive(Debug)]
pub struct Masker {
    masks: Masks,
    plain: Scan,
    base64: Scan,
    /// Between the two.
    between: Vec<u8>,
    /// Something was taken of which nothing may be told.
    swallowed: bool,
}

// === impl Masks ===

impl Masks {
    /// Of these values. Too short ones are left out.
    pub fn of<V: AsRef<[u8]>>(values: impl IntoIterator<Item = V>) -> Self {
        Self::default().and(values)
    }

    /// Of none, but what are added to them and are one of these texts are left out.
    pub fn sparing(texts: impl IntoIterator<Item = String>) -> Self {
        Self(Some(Arc::new(Inner { spared: texts.into_iter().collect(), ..Inner::default() })))
    }

    /// Of these values, too.
    #[must_use]
    pub fn and<V: AsRef<[u8]>>(&self, values: impl IntoIterator<Item = V>) -> Self {
        let (known, spared, blind) = match self.0.as_deref() {
            Some(inner) => (inner.values.as_slice(), inner.spared.as_slice(), inner.blind),
            None => (&[][..], &[][..], false),
        };
        let is_spared = |value: &[u8]| spared.iter().any(|text| text.as_bytes() == value.trim_ascii());
        let values = values.into_iter().filter(|value| !is_spared(value.as_ref()));
        let mut added: Vec<_> = values.map(|value| forms::parts(value.as_ref())).collect();
        added.retain(|parts| !parts.is_empty() && !known.contains(parts));
        if added.is_empty() || blind {
            return self.clone();
        }
        // One large value is not to take the room of all others; what was masked before stays so.
        added.sort_by_key(|parts| parts.iter().map(Vec::len).sum::<usize>());
        added.dedup();
        let all = [known, &added].concat();
        let (mut plain, mut other) = (Room::new(MAX_PATTERNS), Room::new(MAX_PATTERNS));
        let mut base64 = Room::new(2 * MAX_PATTERNS);
        let mut gaps = Gaps::default();
        for parts in &all {
            gaps.plain += usize::from(!plain.take(parts.iter().cloned()));
            let escaped = other.take(parts.iter().flat_map(|part| forms::escaped(part)));
            let encoded = base64.take(parts.iter().flat_map(|part| forms::base64(part)));
            gaps.encoded += usize::from(!(escaped && encoded));
        }
        plain.taken.append(&mut other.taken);
        let (plain, base64) = (Patterns::new(&plain.taken, false), Patterns::new(&base64.taken, true));
        let inner = Inner { gaps, values: all, spared: spared.to_vec(), ..Inner::default() };
        Self(Some(Arc::new(inner.looking_for(plain, base64))))
    }

    /// Whether nothing is masked.
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|inner| inner.plain.is_none() && inner.base64.is_none() && !inner.blind)
    }

    /// Whether everything is masked, because the values can't be looked for.
    pub fn is_blind(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.blind)
    }

    /// The values that there was no room for.
    pub fn gaps(&self) -> Gaps {
        self.0.as_ref().map(|inner| inner.gaps).unwrap_or_default()
    }

    /// What goes over a stream.
    pub fn masker(&self) -> Masker {
        let (plain, base64) = Default::default();
        Masker { masks: self.clone(), plain, base64, between: Vec::new(), swallowed: false }
    }

    /// A whole text, masked; the same where nothing was to be masked.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.is_empty() {
            return Cow::Borrowed(text);
        }
        let (mut masker, mut told) = (self.masker(), Vec::with_capacity(text.len()));
        masker.push(text.as_bytes(), &mut told);
        masker.finish(&mut told);
        if told == text.as_bytes() {
            return Cow::Borrowed(text);
        }
        Cow::Owned(
            String::from_utf8(told).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
        )
    }
}

impl fmt::Debug for Masks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masks").field("is_empty", &self.is_empty()).finish_non_exhaustive()
    }
}

// === impl Inner ===

impl Inner {
    fn looking_for(
        self,
        plain: Result<Option<Patterns>, Unbuildable>,
        base64: Result<Option<Patterns>, Unbuildable>,
    ) -> Self {
        match (plain, base64) {
            (Ok(plain), Ok(base64)) => Self { plain, base64, ..self },
            // Better nothing is seen than a secret.
            (Err(Unbuildable), _) | (_, Err(Unbuildable)) => Self { blind: true, ..self },
        }
    }
}

// === impl Masker ===

impl Masker {
    /// Adds to `out` what can be told now of a stream that goes on with these bytes.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.masks.is_blind() {
            self.swallowed |= !bytes.is_empty();
            return;
        }
        let inner = self.masks.0.as_deref();
        let (plain, base64) =
            (inner.and_then(|inner| inner.plain.as_ref()), inner.and_then(|inner| inner.base64.as_ref()));
        match (plain, base64) {
            (Some(plain), Some(base64)) => {
                self.between.clear();
                self.plain.push(plain, bytes, &mut self.between);
                self.base64.push(base64, &self.between, out);
            }
            (Some(patterns), None) => self.plain.push(patterns, bytes, out),
            (None, Some(patterns)) => self.base64.push(patterns, bytes, out),
            (None, None) => out.extend_from_slice(bytes),
        }
    }

    /// Adds what was held back of a stream that has ended. The next one may begin.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.swallowed) {
            out.extend_from_slice(MASK.as_bytes());
        }
        self.between.clear();
        self.plain.finish(&mut self.between);
        if let Some(base64) = self.masks.0.as_deref().and_then(|inner| inner.base64.as_ref()) {
            self.base64.push(base64, &self.between, out);
            self.base64.finish(out);
        } else {
            out.extend_from_slice(&self.between);
        }
    }

    /// Bytes that are held back.
    pub fn held(&self) -> usize {
        self.plain.held() + self.base64.held()
    }
}

/// Patterns, as far as there is room.
struct Room {
    taken: BTreeSet<Vec<u8>>,
    left: usize,
}

impl Room {
    fn new(left: usize) -> Self {
        Self { taken: BTreeSet::new(), left }
    }

    /// Whether there was room for all of them.
    fn take(&mut self, patterns: impl Iterator<Item = Vec<u8>>) -> bool {
        let mut all = true;
        for pattern in patterns {
            let bytes = pattern.len();
            let fits = bytes <= self.left || self.taken.contains(&pattern);
            if fits && self.taken.insert(pattern) {
                self.left -= bytes;
            }
            all &= fits;
        }
        all
    }
}
