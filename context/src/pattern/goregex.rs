//! Rewrites a regular expression of Go's `regexp` as one of the `regex` crate.
//!
//! The patterns of ignore files are defined by the Go expression they become, quirks included: `|` is an alternative,
//! `{2}` repeats, `\d` is a digit, and `[*]` is a class that holds a slash. So we read Go's syntax (Perl flags, as
//! `regexp.Compile` has them) and write everything out in full, so that nothing is left to differences between the two.

use std::fmt::Write as _;

mod class;

use class::{literal, word};

/// The same expression for the `regex` crate, or `None` where Go would report an error.
pub(super) fn translate(go: &str) -> Option<String> {
    let chars: Vec<char> = go.chars().collect();
    let mut parser = Parser { chars: &chars, at: 0 };
    let mut groups = vec![Group::default()];
    let mut after_repeat = false;
    while let Some(c) = parser.peek() {
        let group = groups.last_mut()?;
        let mut repeated = false;
        match c {
            '(' => {
                parser.at += 1;
                groups.push(Group::default());
            }
            ')' => {
                parser.at += 1;
                let inner = groups.pop()?.finish();
                groups.last_mut()?.items.push(Item::new(format!("(?:{inner})")));
            }
            '|' => {
                parser.at += 1;
                group.alternative();
            }
            '*' | '?' | '{' => match parser.repeat()? {
                Some(repeat) => {
                    if after_repeat {
                        return None;
                    }
                    group.items.last_mut()?.repeat(repeat)?;
                    repeated = true;
                }
                None => group.items.push(Item::new(literal(parser.next()?))),
            },
            _ => parser.simple(&mut group.items)?,
        }
        after_repeat = repeated;
    }
    let whole = groups.pop()?;
    groups.is_empty().then(|| whole.finish())
}

/// An open group: its alternatives so far and the items of the one being read.
#[derive(Default)]
struct Group {
    alternatives: String,
    items: Vec<Item>,
}

/// Something that a repetition applies to.
struct Item {
    regex: String,
    /// How many copies the repetitions in it amount to; Go refuses more than 1000.
    copies: u32,
}

/// `{min,max}`; no `max` means any number.
struct Repeat {
    min: u32,
    max: Option<u32>,
}

struct Parser<'a> {
    chars: &'a [char],
    at: usize,
}

// === impl Group ===

impl Group {
    fn alternative(&mut self) {
        self.alternatives.extend(self.items.drain(..).map(|item| item.regex));
        self.alternatives.push('|');
    }

    fn finish(mut self) -> String {
        self.alternatives.extend(self.items.drain(..).map(|item| item.regex));
        self.alternatives
    }
}

// === impl Item ===

impl Item {
    fn new(regex: String) -> Self {
        Self { regex, copies: 1 }
    }

    fn repeat(&mut self, Repeat { min, max }: Repeat) -> Option<()> {
        let copies = max.unwrap_or(min);
        if copies > 0 {
            self.copies = self.copies.saturating_mul(copies);
        }
        if (min >= 2 || copies >= 2) && self.copies > 1000 {
            return None;
        }
        let max = max.map(|max| max.to_string()).unwrap_or_default();
        self.regex = format!("(?:{}){{{min},{max}}}", self.regex);
        Some(())
    }
}

// === impl Parser ===

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn peek_second(&self) -> Option<char> {
        self.chars.get(self.at + 1).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    /// Whether `text` comes next; it is taken then.
    fn eat(&mut self, text: &str) -> bool {
        let length = text.chars().count();
        let found = self.chars.get(self.at..self.at + length).is_some_and(|next| next.iter().copied().eq(text.chars()));
        if found {
            self.at += length;
        }
        found
    }

    /// One repetition operator. `Some(None)`, nothing taken: the `{` is only a character.
    #[expect(clippy::option_option, reason = "the outer one is the error, as in the rest of this parser")]
    fn repeat(&mut self) -> Option<Option<Repeat>> {
        let repeat = match self.peek()? {
            '*' => Repeat { min: 0, max: None },
            '?' => Repeat { min: 0, max: Some(1) },
            _ => {
                let start = self.at;
                let Some(bounds) = self.bounds() else {
                    self.at = start;
                    return Some(None);
                };
                return bounds.map(Some);
            }
        };
        self.at += 1;
        Some(Some(repeat))
    }

    /// `{n}`, `{n,}` or `{n,m}`. `None`: it is none of these; `Some(None)`: it is out of bounds.
    #[expect(clippy::option_option, reason = "see the doc comment")]
    fn bounds(&mut self) -> Option<Option<Repeat>> {
        self.at += 1;
        let min = self.number()?;
        let max = if !self.eat(",") {
            Some(min)
        } else if self.peek() == Some('}') {
            None
        } else {
            Some(self.number()?)
        };
        if !self.eat("}") {
            return None;
        }
        let valid = min <= 1000 && max.is_none_or(|max| max <= 1000 && min <= max);
        Some(valid.then_some(Repeat { min, max }))
    }

    /// A decimal number without leading zeros.
    fn number(&mut self) -> Option<u32> {
        let digits: String = self.chars[self.at..].iter().take_while(|c| c.is_ascii_digit()).collect();
        if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
            return None;
        }
        self.at += digits.len();
        Some(digits.parse().unwrap_or(u32::MAX))
    }

    /// Anything that is neither group, alternative nor repetition.
    fn simple(&mut self, items: &mut Vec<Item>) -> Option<()> {
        let regex = match self.next()? {
            '^' => r"\A".to_owned(),
            '$' => r"\z".to_owned(),
            '.' => r"[^\x{A}]".to_owned(),
            '[' => self.class()?,
            '\\' => match self.peek() {
                Some('A') => self.assertion(r"\A"),
                Some('z') => self.assertion(r"\z"),
                Some('b') => self.assertion(r"(?-u:\b)"),
                Some('B') => self.assertion(r"(?-u:\B)"),
                Some('Q') => {
                    self.at += 1;
                    while self.peek().is_some() && !self.eat(r"\E") {
                        items.push(Item::new(literal(self.next()?)));
                    }
                    return Some(());
                }
                _ => {
                    self.at -= 1;
                    match self.escaped_set()? {
                        Some(set) => set,
                        None => word(&[self.class_char()?], false),
                    }
                }
            },
            c => literal(c),
        };
        items.push(Item::new(regex));
        Some(())
    }

    fn assertion(&mut self, regex: &str) -> String {
        self.at += 1;
        regex.to_owned()
    }

    /// A bracketed class whose `[` has been taken.
    fn class(&mut self) -> Option<String> {
        let negated = self.eat("^");
        let (mut items, mut first) = (String::new(), true);
        while first || self.peek() != Some(']') {
            first = false;
            if let Some(set) = self.named_class()? {
                items.push_str(&set);
            } else if let Some(set) = self.escaped_set()? {
                items.push_str(&set);
            } else {
                let (low, _) = self.class_char()?;
                let mut high = low;
                if self.peek() == Some('-') && self.peek_second().is_some_and(|c| c != ']') {
                    self.at += 1;
                    (high, _) = self.class_char()?;
                }
                if high < low {
                    return None;
                }
                items.push_str(&word(&[(low, high)], false));
            }
        }
        self.at += 1;
        let mut class = String::with_capacity(items.len() + 3);
        let _ = write!(class, "[{}{items}]", if negated { "^" } else { "" });
        Some(class)
    }

    /// A character of a class, as a range of one, unescaped if need be.
    fn class_char(&mut self) -> Option<(u32, u32)> {
        let c = match self.next()? {
            '\\' => self.escape()?,
            c => u32::from(c),
        };
        Some((c, c))
    }

    /// What follows a backslash, if it stands for one character.
    fn escape(&mut self) -> Option<u32> {
        let c = self.next()?;
        Some(match c {
            '0'..='7' => {
                let is_octal = |c: Option<char>| c.is_some_and(|c| ('0'..='7').contains(&c));
                // `\1` would be a backreference.
                if c != '0' && !is_octal(self.peek()) {
                    return None;
                }
                let mut value = c.to_digit(8)?;
                for _ in 0..2 {
                    if is_octal(self.peek()) {
                        value = value * 8 + self.next()?.to_digit(8)?;
                    }
                }
                value
            }
            'x' if self.eat("{") => {
                let (mut value, mut digits) = (0, 0);
                while !self.eat("}") {
                    value = value * 16 + self.next()?.to_digit(16)?;
                    digits += 1;
                    if value > u32::from(char::MAX) {
                        return None;
                    }
                }
                (digits > 0).then_some(value)?
            }
            'x' => self.next()?.to_digit(16)? * 16 + self.next()?.to_digit(16)?,
            'a' => 7,
            't' => 9,
            'n' => 10,
            'v' => 11,
            'f' => 12,
            'r' => 13,
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => u32::from(c),
            _ => return None,
        })
    }
}
