//! Go's `filepath.Match`: what decides whether a pattern is well formed, and what matches wildcards in COPY sources.
//!
//! It works on bytes, as the original does: after a `*` it may look at the middle of a character, which then counts as
//! U+FFFD.

/// The pattern has an unclosed class, an empty one, or ends in a backslash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Whether `pattern` matches all of `name`. A malformed pattern isn't always noticed, exactly as in Go.
pub(crate) fn matches(pattern: &str, name: &str) -> Result<bool, Malformed> {
    let (mut pattern, mut name) = (pattern.as_bytes(), name.as_bytes());
    'pattern: while !pattern.is_empty() {
        let (star, chunk, rest) = scan_chunk(pattern);
        pattern = rest;
        if star && chunk.is_empty() {
            return Ok(!name.contains(&b'/'));
        }
        // The last chunk has to use up the name, or the star might still do better.
        let fits = |rest: &[u8]| rest.is_empty() || !pattern.is_empty();
        if let Some(rest) = match_chunk(chunk, name)?.filter(|rest| fits(rest)) {
            name = rest;
            continue;
        }
        if star {
            let skippable = name.iter().take_while(|byte| **byte != b'/').count();
            for skip in 1..=skippable {
                if let Some(rest) = match_chunk(chunk, &name[skip..])?.filter(|rest| fits(rest)) {
                    name = rest;
                    continue 'pattern;
                }
            }
        }
        return Ok(false);
    }
    Ok(name.is_empty())
}

/// Whether a path component holds an unescaped wildcard.
pub(crate) fn has_wildcard(name: &str) -> bool {
    let mut bytes = name.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// Splits off leading stars and what follows them up to the next star.
fn scan_chunk(pattern: &[u8]) -> (bool, &[u8], &[u8]) {
    let stars = pattern.iter().take_while(|byte| **byte == b'*').count();
    let pattern = &pattern[stars..];
    let (mut in_class, mut at) = (false, 0);
    while at < pattern.len() {
        match pattern[at] {
            b'\\' if at + 1 < pattern.len() => at += 1,
            b'[' => in_class = true,
            b']' => in_class = false,
            b'*' if !in_class => break,
            _ => {}
        }
        at += 1;
    }
    (stars > 0, &pattern[..at], &pattern[at..])
}

/// What is left of `text` after a match of `chunk` at its beginning. Goes on to check the syntax after a mismatch.
fn match_chunk<'t>(mut chunk: &[u8], mut text: &'t [u8]) -> Result<Option<&'t [u8]>, Malformed> {
    let mut failed = false;
    while let Some((&first, rest)) = chunk.split_first() {
        failed |= text.is_empty();
        chunk = rest;
        match first {
            b'[' => {
                let found = if failed { 0 } else { take_rune(&mut text) };
                let matched;
                (matched, chunk) = match_class(chunk, found)?;
                failed |= !matched;
            }
            b'?' => {
                if !failed {
                    failed = text[0] == b'/';
                    take_rune(&mut text);
                }
            }
            mut literal => {
                if literal == b'\\' {
                    (literal, chunk) = chunk.split_first().map(|(l, rest)| (*l, rest)).ok_or(Malformed)?;
                }
                if !failed {
                    failed = literal != text[0];
                    text = &text[1..];
                }
            }
        }
    }
    Ok((!failed).then_some(text))
}

/// Whether `found` is in the class whose text, without the `[`, starts `chunk`; and what follows the class.
fn match_class(mut chunk: &[u8], found: u32) -> Result<(bool, &[u8]), Malformed> {
    let negated = chunk.first() == Some(&b'^');
    if negated {
        chunk = &chunk[1..];
    }
    let (mut matched, mut ranges) = (false, 0);
    while chunk.first() != Some(&b']') || ranges == 0 {
        let low = class_rune(&mut chunk)?;
        let high = if chunk.first() == Some(&b'-') {
            chunk = &chunk[1..];
            class_rune(&mut chunk)?
        } else {
            low
        };
        matched |= (low..=high).contains(&found);
        ranges += 1;
    }
    Ok((matched != negated, &chunk[1..]))
}

fn class_rune(chunk: &mut &[u8]) -> Result<u32, Malformed> {
    if matches!(chunk.first(), None | Some(b'-' | b']')) {
        return Err(Malformed);
    }
    if chunk[0] == b'\\' {
        *chunk = &chunk[1..];
    }
    if chunk.is_empty() {
        return Err(Malformed);
    }
    let rune = take_rune(chunk);
    // Something has to follow, at least the closing bracket.
    if chunk.is_empty() { Err(Malformed) } else { Ok(rune) }
}

/// Takes one character off `text`, which must not be empty; U+FFFD and one byte where there is none.
fn take_rune(text: &mut &[u8]) -> u32 {
    for length in 1..=text.len().min(4) {
        if let Ok(valid) = std::str::from_utf8(&text[..length]) {
            *text = &text[length..];
            return valid.chars().next().map_or(0xFFFD, u32::from);
        }
    }
    *text = &text[1..];
    0xFFFD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let cases = [
            ("", "", Ok(true)),
            ("*", "", Ok(true)),
            ("*", "x/y", Ok(false)),
            ("*.rs", "lib.rs", Ok(true)),
            ("*.rs", "src/lib.rs", Ok(false)),
            ("*/*.rs", "src/lib.rs", Ok(true)),
            ("l?b", "lib", Ok(true)),
            ("l?b", "l/b", Ok(false)),
            ("?", "é", Ok(true)),
            ("[a-f]*", "dir", Ok(true)),
            ("[^a-f]*", "dir", Ok(false)),
            ("[!d]*", "!x", Ok(true)),
            ("\\*", "*", Ok(true)),
            ("\\*", "x", Ok(false)),
            ("[\\]]", "]", Ok(true)),
            ("a*b*c", "axxbyyc", Ok(true)),
            ("a*b*c", "axxbyy", Ok(false)),
            ("*[^é]", "é", Ok(true)),
            ("[]", "x", Err(Malformed)),
            ("[a", "x", Err(Malformed)),
            ("[-a]", "x", Err(Malformed)),
            ("[a-]", "x", Err(Malformed)),
            ("a\\", "x", Err(Malformed)),
            ("[\\", "x", Err(Malformed)),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(matches(pattern, name), expected, "{pattern:?} on {name:?}");
        }
    }

    #[test]
    fn wildcards() {
        assert!(["*", "a?", "[a]", "\\\\*"].into_iter().all(has_wildcard));
        assert!(!["", "a", "\\*", "a\\?", "\\[", "a\\"].into_iter().any(has_wildcard));
    }
}
