//! Variables and quotes in one word, as `BuildKit`'s `shell.Lex` processes them.

use std::iter::Peekable;
use std::str::Chars;

/// What a variable is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// It has this value.
    Set(String),
    /// It has none.
    Unset,
    /// It may have one that can't be seen from here.
    Hidden,
}

/// Why a word has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unresolved {
    /// It depends on this variable, whose value can't be seen.
    Hidden(String),
    /// It has a form that isn't understood here, or nowhere.
    Form,
}

/// Longest value, in bytes: `A=$A$A` doubles it each time.
const MAX_VALUE: usize = 4096;

/// Deepest nesting of `${a:-${b:-…}}`.
const MAX_DEPTH: usize = 16;

/// The word with variables replaced and quotes removed.
pub(super) fn expand(word: &str, escape: char, lookup: &dyn Fn(&str) -> Value) -> Result<String, Unresolved> {
    let mut expander = Expander { rest: word.chars().peekable(), escape, lookup, depth: 0 };
    expander.until(None)
}

struct Expander<'a> {
    rest: Peekable<Chars<'a>>,
    escape: char,
    lookup: &'a dyn Fn(&str) -> Value,
    depth: usize,
}

// === impl Expander ===

impl Expander<'_> {
    fn until(&mut self, stop: Option<char>) -> Result<String, Unresolved> {
        let mut text = String::new();
        while let Some(&next) = self.rest.peek() {
            if Some(next) == stop {
                self.rest.next();
                return Ok(text);
            }
            if text.len() > MAX_VALUE {
                return Err(Unresolved::Form);
            }
            match next {
                '$' => text.push_str(&self.variable()?),
                '\'' => self.single_quoted(&mut text)?,
                '"' => self.double_quoted(&mut text)?,
                _ => {
                    self.rest.next();
                    if next != self.escape {
                        text.push(next);
                    } else if let Some(escaped) = self.rest.next() {
                        text.push(escaped);
                    }
                }
            }
        }
        if stop.is_some() || text.len() > MAX_VALUE { Err(Unresolved::Form) } else { Ok(text) }
    }

    fn single_quoted(&mut self, text: &mut String) -> Result<(), Unresolved> {
        self.rest.next();
        loop {
            match self.rest.next() {
                None => return Err(Unresolved::Form),
                Some('\'') => return Ok(()),
                Some(character) => text.push(character),
            }
        }
    }

    fn double_quoted(&mut self, text: &mut String) -> Result<(), Unresolved> {
        self.rest.next();
        loop {
            if text.len() > MAX_VALUE {
                return Err(Unresolved::Form);
            }
            match self.rest.peek().copied() {
                None => return Err(Unresolved::Form),
                Some('"') => {
                    self.rest.next();
                    return Ok(());
                }
                Some('$') => text.push_str(&self.variable()?),
                Some(character) => {
                    self.rest.next();
                    let escaped = (character == self.escape).then(|| self.rest.peek().copied()).flatten();
                    match escaped {
                        Some(escaped) if escaped == '"' || escaped == '$' || escaped == self.escape => {
                            self.rest.next();
                            text.push(escaped);
                        }
                        _ => text.push(character),
                    }
                }
            }
        }
    }

    fn variable(&mut self) -> Result<String, Unresolved> {
        self.rest.next();
        if self.rest.next_if_eq(&'{').is_none() {
            let name = self.name();
            return if name.is_empty() { Ok("$".to_owned()) } else { self.value(&name).map(Option::unwrap_or_default) };
        }
        let name = self.name();
        if name.is_empty() {
            return Err(Unresolved::Form);
        }
        let mut empty_is_unset = false;
        let mut operator = self.rest.next();
        if operator == Some(':') {
            empty_is_unset = true;
            operator = self.rest.next();
        }
        if operator == Some('}') && !empty_is_unset {
            return self.value(&name).map(Option::unwrap_or_default);
        }
        let Some(operator @ ('-' | '+' | '?')) = operator else { return Err(Unresolved::Form) };
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Unresolved::Form);
        }
        // What is not used need not be known: `${A:-$B}` with a set A.
        let word = self.word_of_substitution();
        self.depth -= 1;
        let value = self.value(&name)?.filter(|value| !(empty_is_unset && value.is_empty()));
        match (operator, value) {
            ('-' | '?', Some(value)) => Ok(value),
            ('-', None) | ('+', Some(_)) => word?,
            ('+', None) => Ok(String::new()),
            _ => Err(Unresolved::Form),
        }
    }

    /// Up to the closing brace; a form that isn't understood has no end either, a hidden value has.
    fn word_of_substitution(&mut self) -> Result<Result<String, Unresolved>, Unresolved> {
        let before = self.rest.clone();
        match self.until(Some('}')) {
            Err(hidden @ Unresolved::Hidden(_)) => {
                // Read it once more with any value, to find its end.
                let mut again =
                    Expander { rest: before, escape: self.escape, lookup: &|_| Value::Unset, depth: self.depth };
                again.until(Some('}'))?;
                self.rest = again.rest;
                Ok(Err(hidden))
            }
            Err(Unresolved::Form) => Err(Unresolved::Form),
            Ok(word) => Ok(Ok(word)),
        }
    }

    fn value(&self, name: &str) -> Result<Option<String>, Unresolved> {
        match (self.lookup)(name) {
            Value::Set(value) => Ok(Some(value)),
            Value::Unset => Ok(None),
            Value::Hidden => Err(Unresolved::Hidden(name.to_owned())),
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.rest.peek() {
            Some(first) if first.is_numeric() => {
                while let Some(digit) = self.rest.next_if(|next| next.is_numeric()) {
                    name.push(digit);
                }
                return name;
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => {
                name.extend(self.rest.next());
                return name;
            }
            _ => {}
        }
        while let Some(character) = self.rest.next_if(|next| next.is_alphanumeric() || *next == '_') {
            name.push(character);
        }
        name
    }
}

impl std::fmt::Display for Unresolved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hidden(name) => write!(f, "the value of `{name}` can't be known beforehand"),
            Self::Form => f.write_str("it holds a form of variable or quote that is not understood, or is too long"),
        }
    }
}
