//! What to do about a mistake in YAML itself, by what the parser says.

const HINTS: [(&str, &str); 15] = [
    ("mapping values are not allowed", "a text with `: ` in it needs quotes around it"),
    ("tab", "indent with spaces"),
    ("unexpected character", "a text that begins with it needs quotes around it"),
    (
        "invalid trailing content after double-quoted",
        "a text that begins with a quote ends with it: put single quotes around all of it, as in `'\"$HOME/x\" --flag'`",
    ),
    (
        "invalid trailing content after single-quoted",
        "a text that begins with a quote ends with it: put double quotes around all of it, as in `\"'a b' --flag\"`",
    ),
    (
        "unknown escape character",
        "between double quotes write `\\\\` for a backslash, or put single quotes around the text",
    ),
    (
        "expected hexadecimal number",
        "between double quotes write `\\\\` for a backslash, or put single quotes around the text",
    ),
    ("unclosed quote", "end the text with the quote that it begins with"),
    ("multiline quoted scalar", "end the text with the quote that it begins with"),
    ("unknown anchor", "an alias, `*name`, needs its anchor, `&name`, before it"),
    ("did not find expected key", "the keys of one mapping begin in one column"),
    ("simple key expected", "write `key: value`, with a space after `:` and after the `-` of a list"),
    ("unclosed bracket", "close it, or put quotes around the text"),
    ("nested deeper", "no manifest is as deep as that"),
    ("with aliases expanded", "no manifest is as large as that"),
];

pub(super) fn of(message: &str) -> Option<&'static str> {
    HINTS.iter().find(|(part, _)| message.contains(part)).map(|(_, hint)| *hint)
}
