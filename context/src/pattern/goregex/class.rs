//! Sets of characters: `[:alpha:]`, `\d`, `\pL`.

use std::fmt::Write as _;

use regex::Regex;

use super::Parser;

type Range = (u32, u32);

const ALL: Range = (0, 0x0010_FFFF);
const SURROGATES: Range = (0xD800, 0xDFFF);

const DIGIT: &[Range] = &[(0x30, 0x39)];
const SPACE: &[Range] = &[(0x9, 0xA), (0xC, 0xD), (0x20, 0x20)];
const WORD: &[Range] = &[(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)];

/// One character.
pub(super) fn literal(c: char) -> String {
    format!(r"\x{{{:X}}}", u32::from(c))
}

/// A class of these ranges. Surrogates are left out: no text holds one.
pub(super) fn word(ranges: &[Range], negated: bool) -> String {
    let mut items = String::new();
    for &(low, high) in ranges {
        for (low, high) in [(low, high.min(SURROGATES.0 - 1)), (low.max(SURROGATES.1 + 1), high)] {
            if low <= high {
                let _ = write!(items, r"\x{{{low:X}}}-\x{{{high:X}}}");
            }
        }
    }
    match (items.is_empty(), negated) {
        (false, false) => format!("[{items}]"),
        (false, true) => format!("[^{items}]"),
        (true, _) => word(&[ALL], !negated),
    }
}

fn posix(name: &str) -> Option<&'static [Range]> {
    Some(match name {
        "alnum" => &[(0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A)],
        "alpha" => &[(0x41, 0x5A), (0x61, 0x7A)],
        "ascii" => &[(0, 0x7F)],
        "blank" => &[(0x9, 0x9), (0x20, 0x20)],
        "cntrl" => &[(0, 0x1F), (0x7F, 0x7F)],
        "digit" => DIGIT,
        "graph" => &[(0x21, 0x7E)],
        "lower" => &[(0x61, 0x7A)],
        "print" => &[(0x20, 0x7E)],
        "punct" => &[(0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E)],
        "space" => &[(0x9, 0xD), (0x20, 0x20)],
        "upper" => &[(0x41, 0x5A)],
        "word" => WORD,
        "xdigit" => &[(0x30, 0x39), (0x41, 0x46), (0x61, 0x66)],
        _ => return None,
    })
}

#[expect(clippy::option_option, reason = "the outer one is the error, the inner one: there is no such set here")]
impl Parser<'_> {
    /// `[:name:]` or `[:^name:]`, inside a class.
    pub(super) fn named_class(&mut self) -> Option<Option<String>> {
        let rest = &self.chars[self.at..];
        let Some(length) = rest
            .strip_prefix(&['[', ':'])
            .filter(|name| !name.is_empty())
            .and_then(|name| name.windows(2).position(|two| two == [':', ']']))
        else {
            return Some(None);
        };
        let name: String = rest[2..2 + length].iter().collect();
        self.at += length + 4;
        let positive = name.strip_prefix('^');
        Some(Some(word(posix(positive.unwrap_or(&name))?, positive.is_some())))
    }

    /// `\d` and its kin, `\pL` or `\p{Name}`.
    pub(super) fn escaped_set(&mut self) -> Option<Option<String>> {
        if self.peek() != Some('\\') {
            return Some(None);
        }
        let set = match self.peek_second() {
            Some('d') => word(DIGIT, false),
            Some('D') => word(DIGIT, true),
            Some('s') => word(SPACE, false),
            Some('S') => word(SPACE, true),
            Some('w') => word(WORD, false),
            Some('W') => word(WORD, true),
            Some(p @ ('p' | 'P')) => {
                self.at += 2;
                return self.unicode_set(p == 'P').map(Some);
            }
            _ => return Some(None),
        };
        self.at += 2;
        Some(Some(set))
    }

    fn unicode_set(&mut self, negated: bool) -> Option<String> {
        let mut name = String::from(self.next()?);
        if name == "{" {
            name.clear();
            while !self.eat("}") {
                name.push(self.next()?);
            }
        }
        let positive = name.strip_prefix('^');
        let negated = negated != positive.is_some();
        let name = positive.unwrap_or(&name);
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || " _-".contains(c)) {
            return None;
        }
        // Go knows general categories and scripts, and none of the many other properties.
        let sets = ["gc", "sc"].map(|property| format!(r"\p{{{property}={name}}}"));
        let set = sets.into_iter().find(|set| Regex::new(set).is_ok())?;
        Some(if negated { format!("[^{set}]") } else { set })
    }
}
