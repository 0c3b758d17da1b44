//! The line that a problem is about, and what in it.

use std::borrow::Cow;

use unicode_width::UnicodeWidthChar;

use super::Place;

/// Columns of a line that are shown.
const WIDTH: usize = 100;
/// Of them, those before the place, where the line has to be cut.
const BEFORE: usize = 40;

/// `LINE | text`, and carets below what is at the place. `None`: there is no such line.
pub(super) fn line(lines: &[&str], place: Place) -> Option<String> {
    let line = lines.get(place.line.checked_sub(1)?)?;
    let at = place.column.saturating_sub(1);
    // A line may be the whole file: only what is near the place is looked at.
    let before = at.saturating_sub(2 * WIDTH);
    let mut rest = line.chars().skip(before);
    let characters: Vec<char> = rest.by_ref().take(5 * WIDTH).collect();
    let at = (at - before).min(characters.len());
    let end = at + extent(&characters[at..]);
    let window = window(&characters, at);

    let mut text = String::new();
    let mut carets = String::new();
    if before + window.start > 0 {
        text.push('…');
        carets.push(' ');
    }
    for index in window.clone() {
        let shown = visible(characters[index]);
        let width = shown.chars().map(|shown| shown.width().unwrap_or_default()).sum();
        text.push_str(&shown);
        let caret = if (at..end).contains(&index) { "^" } else { " " };
        carets.push_str(&caret.repeat(width));
    }
    if window.end < characters.len() || rest.next().is_some() {
        text.push('…');
    }
    // At the end of the line, or under what takes no room.
    if !carets.contains('^') {
        carets.push('^');
    }
    let gutter = place.line.to_string();
    let blank = " ".repeat(gutter.len());
    Some(format!(" {gutter} | {}\n {blank} | {}", text.trim_end(), carets.trim_end()))
}

/// Whether a character does not show itself, or changes how others are shown.
pub(super) fn needs_escape(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A character as it is shown.
pub(super) fn visible(character: char) -> Cow<'static, str> {
    match character {
        '\t' => Cow::Borrowed("    "),
        _ if needs_escape(character) => Cow::Owned(character.escape_unicode().to_string()),
        _ => Cow::Owned(character.to_string()),
    }
}

/// Lines as YAML counts them.
pub(super) fn lines(source: &str) -> Vec<&str> {
    let mut rest = Some(source.strip_prefix('\u{feff}').unwrap_or(source));
    let lines = std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\n', '\r']) else {
            rest = None;
            return Some(text);
        };
        let after = &text[end..];
        rest = Some(after.strip_prefix("\r\n").unwrap_or(&after[1..]));
        Some(&text[..end])
    });
    lines.collect()
}

/// How many characters are marked: a quoted text, one bracket, or all up to where YAML ends a plain text.
fn extent(rest: &[char]) -> usize {
    let Some(first) = rest.first() else { return 1 };
    if matches!(first, '[' | '{') {
        return 1;
    }
    if matches!(first, '"' | '\'') {
        let close = rest[1..].iter().position(|character| character == first);
        return close.map_or(rest.len(), |close| close + 2);
    }
    let blank = |at: usize| rest.get(at).is_none_or(|character| character.is_whitespace());
    let ends = |at: usize| match rest[at] {
        ':' => blank(at + 1),
        '#' => at > 0 && blank(at - 1),
        ',' | ']' | '}' => true,
        _ => false,
    };
    let end = (0..rest.len()).find(|at| ends(*at)).unwrap_or(rest.len());
    let trailing = rest[..end].iter().rev().take_while(|character| character.is_whitespace()).count();
    (end - trailing).max(1)
}

/// The characters that are shown: all, or as many as fit around the place.
fn window(characters: &[char], at: usize) -> std::ops::Range<usize> {
    let width =
        |character: &char| visible(*character).chars().map(|shown| shown.width().unwrap_or_default()).sum::<usize>();
    if characters.len() <= WIDTH && characters.iter().map(width).sum::<usize>() <= WIDTH {
        return 0..characters.len();
    }
    let mut start = at;
    let mut room = BEFORE;
    while start > 0 && width(&characters[start - 1]) <= room {
        start -= 1;
        room -= width(&characters[start]);
    }
    let mut end = at;
    let mut room = WIDTH - (BEFORE - room);
    // A run of characters without width has an end, too.
    while end < characters.len() && width(&characters[end]) <= room && end - start < 2 * WIDTH {
        room -= width(&characters[end]);
        end += 1;
    }
    start.max(at.saturating_sub(WIDTH))..end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(source: &str, line: usize, column: usize) -> String {
        let marked = super::line(&lines(source), Place::new(line, column)).unwrap_or_else(|| "none".to_owned());
        format!("{marked}\n")
    }

    #[test]
    fn what_is_marked() {
        let cases = [
            ("build:\n  app:\n    contxt: .\n", 3, 5),
            ("a: make it all # now", 1, 4),
            ("a: [x, yy, z]", 1, 8),
            ("a: {b: c}", 1, 4),
            ("a: \"b: c\" # d", 1, 4),
            ("a: 'open", 1, 4),
            ("a: b:c", 1, 4),
            ("a:", 1, 3),
            ("a:\r\nb: c\rd: e", 3, 4),
            ("\tb: y", 1, 2),
            ("日本: 語語: x", 1, 5),
            ("e\u{301}a: b", 1, 3),
            ("a: \u{1b}[31mred\u{202e}", 1, 4),
            ("\u{feff}name: x", 1, 1),
            ("", 1, 1),
            ("a: b", 9, 1),
            ("a: b", 0, 0),
            ("a: b", 1, 99),
        ];
        let all: Vec<String> = cases
            .iter()
            .map(|(source, line, column)| format!("{source:?} {line}:{column}\n{}", marked(source, *line, *column)))
            .collect();
        insta::assert_snapshot!(all.join("\n"));
    }

    #[test]
    fn long_lines_are_cut() {
        let long = format!("{}: {}", "k".repeat(300), "v".repeat(300));
        let wide = "語".repeat(200);
        let tabs = "\t".repeat(200);
        let zero = "\u{301}".repeat(5000);
        let mut all = String::new();
        for (source, column) in [(&long, 1), (&long, 280), (&long, 303), (&long, 590), (&wide, 100), (&tabs, 100)] {
            let text = marked(source, 1, column);
            assert!(text.lines().all(|line| line.chars().count() <= WIDTH + 10), "{text}");
            all.push_str(&text);
        }
        assert!(marked(&zero, 1, 2500).len() < 2000);
        insta::assert_snapshot!(all);
    }

    #[test]
    fn messages_have_one_line() {
        let problem = crate::Problem::new("f", Place::new(1, 1), "unknown key `a\nb\u{1b}[0m`");
        assert_eq!(problem.to_string(), "f:1:1: unknown key `a\\u{a}b\\u{1b}[0m`");
    }
}
