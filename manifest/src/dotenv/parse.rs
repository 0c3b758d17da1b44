//! Reading.

use std::collections::HashMap;

use crate::expand::{self, Dialect, ExpandError, Lookup};

/// What is wrong with a dotenv file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct DotenvError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there. Never holds a value.
    pub message: String,
}

/// The largest file, and the most that its values may grow to.
const MAX_BYTES: usize = 1024 * 1024;
const MAX_VALUES: usize = 8 * 1024 * 1024;

/// Reads a file's variables, in the order of their first appearance; the last value of a name counts.
///
/// Values without quotes or in double quotes are interpolated: with variables of the file so far, then with `lookup`. A
/// name without `=` takes its value from `lookup`, or is left out.
pub fn parse(text: &str, lookup: Lookup<'_>) -> Result<Vec<(String, String)>, DotenvError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > MAX_BYTES {
        return Err(DotenvError { line: 1, message: format!("the file is larger than {} KiB", MAX_BYTES / 1024) });
    }
    let mut reader = Reader { rest: text, line: 1, variables: Variables::new(lookup) };
    while reader.start_of_statement() {
        reader.statement()?;
    }
    Ok(reader.variables.entries)
}

struct Reader<'t, 'l> {
    rest: &'t str,
    line: usize,
    variables: Variables<'l>,
}

struct Variables<'l> {
    entries: Vec<(String, String)>,
    /// Where each name's entry is.
    index: HashMap<String, usize>,
    /// Bytes of all values that were ever set.
    bytes: usize,
    lookup: Lookup<'l>,
}

impl<'t> Reader<'t, '_> {
    /// Skips blank lines and comments. Whether anything follows.
    fn start_of_statement(&mut self) -> bool {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.take(blank);
            if !self.rest.starts_with('#') {
                return !self.rest.is_empty();
            }
            self.take_line();
        }
    }

    fn statement(&mut self) -> Result<(), DotenvError> {
        if let Some(after) = self.rest.strip_prefix("export")
            && after.starts_with(is_blank)
        {
            self.take(self.rest.len() - after.trim_start_matches(is_blank).len());
        }
        let line = self.line;
        let end = self.rest.find(['=', ':', '\n']).unwrap_or(self.rest.len());
        let name = self.take(end).trim();
        if let Some(bad) = name.chars().find(|character| !is_name_character(*character)) {
            let message = if is_blank(bad) {
                "a name can't hold a space".to_owned()
            } else {
                format!("unexpected character {bad:?} in a variable's name")
            };
            return Err(DotenvError { line, message });
        }
        let inherited = self.rest.is_empty() || self.rest.starts_with('\n');
        self.take(usize::from(!self.rest.is_empty()));
        if inherited {
            if let Some(value) = (self.variables.lookup)(name) {
                self.variables.set(name, value);
            }
        } else {
            if name.is_empty() {
                return Err(DotenvError { line, message: "a variable has no name".to_owned() });
            }
            let value = self.value()?;
            self.variables.set(name, value);
        }
        if self.variables.bytes > MAX_VALUES {
            return Err(DotenvError { line, message: "the values grow too large".to_owned() });
        }
        Ok(())
    }

    fn value(&mut self) -> Result<String, DotenvError> {
        let blank = self.rest.len() - self.rest.trim_start_matches(is_blank).len();
        self.take(blank);
        let line = self.line;
        if let Some(quote @ ('\'' | '"')) = self.rest.chars().next() {
            self.take(1);
            let raw = self.quoted(quote)?;
            return if quote == '"' { self.variables.interpolate(&unescaped(&raw), line) } else { Ok(raw) };
        }
        let raw = self.take_line();
        let raw = raw.split_once(" #").map_or(raw, |(value, _comment)| value).trim_end();
        self.variables.interpolate(raw, line)
    }

    /// Up to the closing quote. An escaped quote is a quote, every other backslash is kept.
    fn quoted(&mut self, quote: char) -> Result<String, DotenvError> {
        let line = self.line;
        let mut value = String::new();
        let mut escaped = false;
        for (index, character) in self.rest.char_indices() {
            match character {
                _ if character == quote && !escaped => {
                    self.take(index + 1);
                    return Ok(value);
                }
                '\\' if !escaped => {
                    escaped = true;
                    continue;
                }
                _ if escaped && character != quote => value.push('\\'),
                _ => {}
            }
            escaped = false;
            value.push(character);
        }
        Err(DotenvError { line, message: "a quoted value has no closing quote".to_owned() })
    }

    /// The rest of the line; its end is taken too.
    fn take_line(&mut self) -> &'t str {
        let end = self.rest.find('\n').map_or(self.rest.len(), |end| end + 1);
        self.take(end).trim_end_matches('\n')
    }

    fn take(&mut self, bytes: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.bytes().filter(|byte| *byte == b'\n').count();
        self.rest = rest;
        taken
    }
}

impl<'l> Variables<'l> {
    fn new(lookup: Lookup<'l>) -> Self {
        Self { entries: Vec::new(), index: HashMap::new(), bytes: 0, lookup }
    }

    fn set(&mut self, name: &str, value: String) {
        self.bytes += value.len();
        if let Some(index) = self.index.get(name) {
            self.entries[*index].1 = value;
        } else {
            self.index.insert(name.to_owned(), self.entries.len());
            self.entries.push((name.to_owned(), value));
        }
    }

    fn interpolate(&self, value: &str, line: usize) -> Result<String, DotenvError> {
        if !value.contains('$') {
            return Ok(value.to_owned());
        }
        let lookup = |name: &str| {
            let own = self.index.get(name).map(|index| self.entries[*index].1.clone());
            own.or_else(|| (self.lookup)(name))
        };
        expand::expand_as(Dialect::Compose, value, &lookup)
            .map(|expanded| expanded.text)
            .map_err(|error| DotenvError { line, message: describe(error) })
    }
}

/// The error without the expression, which is part of a value and may be secret.
fn describe(error: ExpandError) -> String {
    match error {
        ExpandError::Unclosed { .. } => "closing brace expected".to_owned(),
        ExpandError::NotAVariable { .. } => "a `${` is followed by no variable; write `$$` for a dollar".to_owned(),
        other => other.to_string(),
    }
}

/// The escapes of a value in double quotes. `\$` becomes `$$`, which interpolation makes a dollar.
fn unescaped(value: &str) -> String {
    let mut result = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('\\') {
        result.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(next) = rest.chars().next() else {
            result.push('\\');
            break;
        };
        let plain = match next {
            'a' => Some("\u{7}"),
            'b' => Some("\u{8}"),
            'f' => Some("\u{c}"),
            'n' => Some("\n"),
            'r' => Some("\r"),
            't' => Some("\t"),
            'v' => Some("\u{b}"),
            '"' => Some("\""),
            '\\' => Some("\\"),
            '$' => Some("$$"),
            _ => None,
        };
        if let Some(plain) = plain {
            result.push_str(plain);
            rest = &rest[1..];
        } else if next == '0' {
            let digits = rest[1..].bytes().take(3).take_while(u8::is_ascii_digit).count();
            let octal = &rest[1..=digits];
            match u8::from_str_radix(octal, 8) {
                Ok(code) if digits == 3 => result.push(char::from(code)),
                // No escape after all; compose-go drops the zero then.
                _ => {
                    result.push('\\');
                    result.push_str(octal);
                }
            }
            rest = &rest[1 + digits..];
        } else {
            result.push('\\');
        }
    }
    result.push_str(rest);
    result
}

fn is_name_character(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '.' | '-' | '[' | ']')
}

/// White space that does not end a line.
fn is_blank(character: char) -> bool {
    matches!(character, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ' | '\u{85}' | '\u{a0}')
}
