//! Reading `.dockerignore` and its kin, as moby's `ignorefile` does.

use crate::pattern::path::clean;

/// The longest line that Go's scanner takes.
const MAX_LINE: usize = 65_535;

/// A pattern of an ignore file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoreLine {
    /// The pattern: cleaned, without a leading slash.
    pub pattern: String,
    /// Its line, from 1.
    pub line: usize,
}

/// A line too long to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is longer than {MAX_LINE} bytes")]
pub struct LineTooLong {
    /// The line, from 1.
    pub line: usize,
}

/// The patterns in the text of an ignore file. Bytes that aren't UTF-8 become U+FFFD, one each, as they do in names that
/// patterns are compared with.
pub fn parse(text: &[u8]) -> Result<Vec<IgnoreLine>, LineTooLong> {
    let mut patterns = Vec::new();
    for (line, text) in lines(text)? {
        patterns.extend(parse_line(&text).map(|pattern| IgnoreLine { pattern, line }));
    }
    Ok(patterns)
}

/// The pattern of one line, unless it is blank or a comment.
pub(crate) fn parse_line(line: &str) -> Option<String> {
    // A `#` counts only at the very start; after blanks it is part of a pattern.
    if line.starts_with('#') {
        return None;
    }
    let line = line.trim();
    if line.is_empty() {
        return None;
    }
    let (bang, pattern) = line.strip_prefix('!').map_or(("", line), |rest| ("!", rest.trim()));
    if pattern.is_empty() {
        return Some(bang.to_owned());
    }
    let pattern = clean(pattern);
    let relative = pattern.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(&pattern);
    Some(format!("{bang}{relative}"))
}

/// Numbered lines, without their ends and without a byte order mark.
pub(crate) fn lines(text: &[u8]) -> Result<Vec<(usize, String)>, LineTooLong> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let mut lines = Vec::new();
    for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
        if line.len() > MAX_LINE {
            return Err(LineTooLong { line: at + 1 });
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = if at == 0 { line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line) } else { line };
        lines.push((at + 1, lossy(line)));
    }
    Ok(lines)
}

/// The text, with U+FFFD for each byte that isn't UTF-8: what Go sees when it goes through such a string.
pub(crate) fn lossy(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(text: &[u8]) -> Vec<String> {
        parse(text).unwrap().into_iter().map(|line| line.pattern).collect()
    }

    #[test]
    fn lines_to_patterns() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("\n\n", &[]),
            ("target", &["target"]),
            ("target/\n", &["target"]),
            ("/target", &["target"]),
            ("//target", &["target"]),
            ("./target/./x/", &["target/x"]),
            ("a/../b", &["b"]),
            ("../up", &["../up"]),
            ("/", &["/"]),
            (".", &["."]),
            ("# comment\nx", &["x"]),
            (" # no comment", &["# no comment"]),
            ("x # tail", &["x # tail"]),
            ("  spaced  ", &["spaced"]),
            ("a\r\nb\r\n", &["a", "b"]),
            ("!keep", &["!keep"]),
            ("! keep ", &["!keep"]),
            ("!/keep/", &["!keep"]),
            ("!", &["!"]),
            ("!!x", &["!!x"]),
            ("!../x", &["!../x"]),
            ("!a/../b", &["!b"]),
            ("\\#x", &["\\#x"]),
            ("\\!x", &["\\!x"]),
            ("**/*.rs", &["**/*.rs"]),
            ("\u{FEFF}x\n\u{FEFF}y", &["x", "\u{FEFF}y"]),
            ("\u{FEFF}# comment", &[]),
            ("\u{A0}x\u{3000}", &["x"]),
        ];
        for (text, expected) in cases {
            assert_eq!(patterns(text.as_bytes()), *expected, "{text:?}");
        }
    }

    #[test]
    fn numbers_lines() {
        let lines = parse(b"# one\n\ntwo\r\n\nthree").unwrap();
        assert_eq!(lines.iter().map(|line| line.line).collect::<Vec<_>>(), [3, 5]);
    }

    #[test]
    fn bytes_that_are_no_text() {
        assert_eq!(patterns(b"caf\xE9\xE8"), ["caf\u{FFFD}\u{FFFD}"]);
        assert_eq!(patterns(b"# caf\xE9\nx"), ["x"]);
    }

    #[test]
    fn bounds_lines() {
        let mut text = b"x\n".to_vec();
        text.extend(vec![b'a'; MAX_LINE]);
        assert_eq!(patterns(&text).len(), 2);
        text.push(b'a');
        assert_eq!(parse(&text), Err(LineTooLong { line: 2 }));
    }
}
