//! The forms in which programs print a value.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::{MAX_PATTERN, TOO_SHORT};

/// A piece at the end of a long line that is shorter than this goes with the one before it.
const LEAST_PIECE: usize = 64;

/// The value, and its lines; of a long one just these, in pieces.
pub(crate) fn parts(value: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut parts = BTreeSet::new();
    let whole = value.strip_suffix(b"\n").unwrap_or(value);
    let whole = whole.strip_suffix(b"\r").unwrap_or(whole);
    if whole.len() <= MAX_PATTERN {
        parts.insert(whole.to_vec());
    }
    for line in value.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        parts.extend(pieces(line).map(<[u8]>::to_vec));
    }
    parts.retain(|part| is_long_enough(part));
    parts
}

fn is_long_enough(part: &[u8]) -> bool {
    let characters = std::str::from_utf8(part).map_or(part.len(), |text| text.chars().count());
    characters > TOO_SHORT && !part.trim_ascii().is_empty()
}

/// Cut where no character is cut apart.
fn pieces(mut line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_inside = |byte: &u8| byte & 0b1100_0000 == 0b1000_0000;
    std::iter::from_fn(move || {
        if line.is_empty() {
            return None;
        }
        let mut cut = line.len();
        if cut > MAX_PATTERN {
            let most = if cut < MAX_PATTERN + LEAST_PIECE { MAX_PATTERN - LEAST_PIECE } else { MAX_PATTERN };
            let back = (0..4).find(|back| line.get(most - back).is_some_and(|byte| !is_inside(byte)));
            cut = most - back.unwrap_or(0);
        }
        let (piece, rest) = line.split_at(cut);
        line = rest;
        Some(piece)
    })
}

/// In JSON strings, URLs, forms and shells' quotes, where that differs from what it is.
pub(crate) fn escaped(part: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::new();
    if let Ok(text) = std::str::from_utf8(part) {
        for style in [Json::default(), Json { html: true, ..Json::default() }, Json { ascii: true, ..Json::default() }]
        {
            forms.insert(json(text, style).into_bytes());
        }
        forms.insert(json(text, Json { slashes: true, ..Json::default() }).into_bytes());
        forms.insert(text.replace('\'', r"'\''").into_bytes());
    }
    // RFC 3986; the same for paths; JavaScript's encodeURIComponent; forms as browsers and as Python and Go write them.
    let kept_and_plus = [("-._~", false), ("-._~/", false), ("-_.!~*'()", false), ("*-._", true), ("-._~", true)];
    for (kept, plus) in kept_and_plus {
        for upper in [true, false] {
            forms.insert(percent(part, kept, plus, upper).into_bytes());
        }
    }
    forms.remove(part);
    forms
}

#[derive(Clone, Copy, Default)]
struct Json {
    /// `<`, `>` and `&` as Go escapes them.
    html: bool,
    /// All but ASCII escaped, as Python does.
    ascii: bool,
    /// `/` escaped, as PHP does.
    slashes: bool,
}

fn json(text: &str, style: Json) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            '\u{8}' => escaped.push_str("\\b"),
            '\u{c}' => escaped.push_str("\\f"),
            '/' if style.slashes => escaped.push_str("\\/"),
            _ if character < ' '
                || (style.html && matches!(character, '<' | '>' | '&'))
                || (style.ascii && !character.is_ascii()) =>
            {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(escaped, "\\u{unit:04x}");
                }
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

fn percent(part: &[u8], kept: &str, plus: bool, upper: bool) -> String {
    let mut encoded = String::with_capacity(part.len());
    for byte in part {
        match byte {
            b' ' if plus => encoded.push('+'),
            _ if byte.is_ascii_alphanumeric() || kept.as_bytes().contains(byte) => encoded.push(char::from(*byte)),
            _ if upper => {
                let _ = write!(encoded, "%{byte:02X}");
            }
            _ => {
                let _ = write!(encoded, "%{byte:02x}");
            }
        }
    }
    encoded
}

/// Alone, and what is the same of it wherever it stands in a longer text.
pub(crate) fn base64(part: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::new();
    for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
        for before in 0..3 {
            let text = engine.encode([&[0; 2][..before], part].concat());
            // Some of a group's characters hold bits of what stands before or after, too.
            let (start, end) = ([0, 2, 3][before], (before + part.len()) * 8 / 6);
            forms.insert(text.as_bytes()[start..end].to_vec());
            // Lines are broken between groups: after one, this much is on one line.
            if before > 0 && end >= 4 + 2 * 4 {
                forms.insert(text.as_bytes()[4..end].to_vec());
            }
        }
        for alone in [part.to_vec(), [part, b"\n"].concat()] {
            let mut text = engine.encode(&alone);
            forms.insert(text.clone().into_bytes());
            text.push_str(["", "==", "="][alone.len() % 3]);
            forms.insert(text.into_bytes());
        }
    }
    forms
}
