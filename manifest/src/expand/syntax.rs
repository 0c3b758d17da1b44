//! Text to pieces.

use std::collections::HashSet;

use super::{ExpandError, MAX_DEPTH};

/// Whose rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// a8m/envsubst: the manifest.
    Envsubst,
    /// compose-go's template package: dotenv files.
    Compose,
    /// [`Template`](super::Template): envsubst with `$}` for a brace inside a default, and line ends anywhere.
    Template,
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    Literal(&'t str),
    Variable { name: &'t str, operator: Operator, operand: Vec<Piece<'t>> },
}

/// What an expression does with its operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    /// There is none.
    Value,
    /// The operand instead of a variable that isn't set, or that is empty.
    Default { empty_too: bool },
    /// The operand where the variable is set, or where it isn't empty.
    Alternative { unless_empty: bool },
    /// An error with the operand as its text. Only in dotenv files.
    Required { empty_too: bool },
}

/// The names of all variables, each once.
pub(super) fn names(pieces: &[Piece<'_>]) -> Vec<String> {
    fn collect<'t>(pieces: &[Piece<'t>], seen: &mut HashSet<&'t str>, names: &mut Vec<String>) {
        for piece in pieces {
            if let Piece::Variable { name, operand, .. } = piece {
                if seen.insert(name) {
                    names.push((*name).to_owned());
                }
                collect(operand, seen, names);
            }
        }
    }
    let mut all = Vec::new();
    collect(pieces, &mut HashSet::new(), &mut all);
    all
}

pub(super) fn parse(dialect: Dialect, text: &str) -> Result<Vec<Piece<'_>>, ExpandError> {
    Parser { dialect, rest: text }.pieces(None, 0)
}

struct Parser<'t> {
    dialect: Dialect,
    rest: &'t str,
}

impl<'t> Parser<'t> {
    /// Up to the end of the text or, inside `expression`, up to and with its brace.
    fn pieces(&mut self, expression: Option<&'t str>, depth: usize) -> Result<Vec<Piece<'t>>, ExpandError> {
        if depth > MAX_DEPTH {
            return Err(ExpandError::TooDeep);
        }
        let mut pieces = Vec::new();
        let mut braces = 0_usize;
        while let Some(next) = self.rest.chars().next() {
            match next {
                '$' => self.dollar(&mut pieces, depth)?,
                '}' if expression.is_some() && braces == 0 => {
                    self.take(1);
                    return Ok(pieces);
                }
                '\n' | '\r' if expression.is_some() && self.dialect == Dialect::Envsubst => break,
                _ => {
                    // compose-go counts braces in a default, envsubst ends it at the first.
                    if expression.is_some() && self.dialect == Dialect::Compose {
                        match next {
                            '{' => braces += 1,
                            '}' => braces -= 1,
                            _ => {}
                        }
                    }
                    let special = |character| matches!(character, '$' | '{' | '}' | '\n' | '\r');
                    let first = next.len_utf8();
                    let end = self.rest[first..].find(special).map_or(self.rest.len(), |end| end + first);
                    pieces.push(Piece::Literal(self.take(end)));
                }
            }
        }
        match expression {
            Some(expression) => Err(ExpandError::Unclosed { expression: shortened(expression) }),
            None => Ok(pieces),
        }
    }

    /// What a `$` begins.
    fn dollar(&mut self, pieces: &mut Vec<Piece<'t>>, depth: usize) -> Result<(), ExpandError> {
        let start = self.rest;
        let after = &start[1..];
        match after.chars().next() {
            Some('$') => {
                self.take(2);
                pieces.push(Piece::Literal(&start[..1]));
            }
            Some('}') if self.dialect == Dialect::Template => {
                self.take(2);
                pieces.push(Piece::Literal(&start[1..2]));
            }
            Some('{') => {
                self.take(2);
                let piece = self.braced(start, depth)?;
                pieces.push(piece);
            }
            _ => {
                let name = self.name_of(after);
                self.take(1 + name.len());
                pieces.push(match name {
                    "" => Piece::Literal(&start[..1]),
                    "_" if self.dialect != Dialect::Compose => Piece::Literal(&start[..2]),
                    name => Piece::Variable { name, operator: Operator::Value, operand: Vec::new() },
                });
            }
        }
        Ok(())
    }

    /// What `${` begins; the two are taken already.
    fn braced(&mut self, start: &'t str, depth: usize) -> Result<Piece<'t>, ExpandError> {
        let name = self.name_of(self.rest);
        self.take(name.len());
        if self.dialect != Dialect::Compose {
            if name == "_" {
                return Ok(Piece::Literal(&start[..3]));
            }
            if name.is_empty() && self.rest.starts_with('}') {
                self.take(1);
                return Ok(Piece::Literal(&start[..3]));
            }
        }
        if name.is_empty() {
            return Err(if self.rest.is_empty() {
                ExpandError::Unclosed { expression: shortened(start) }
            } else {
                ExpandError::NotAVariable { expression: shortened(start) }
            });
        }
        let operator = self.operator();
        let operand = self.pieces(Some(start), depth + 1)?;
        match operator {
            Some(operator) => Ok(Piece::Variable { name, operator, operand }),
            // envsubst skips what it does not know, compose-go refuses it.
            None if self.dialect != Dialect::Compose || operand.is_empty() => {
                Ok(Piece::Variable { name, operator: Operator::Value, operand: Vec::new() })
            }
            None => Err(ExpandError::NotAVariable { expression: shortened(start) }),
        }
    }

    /// The operator after a name, if there is one.
    fn operator(&mut self) -> Option<Operator> {
        let compose = self.dialect == Dialect::Compose;
        let colon = self.rest.starts_with(':');
        let sign = self.rest.chars().nth(usize::from(colon))?;
        let operator = match sign {
            '-' => Operator::Default { empty_too: colon },
            '=' if !compose => Operator::Default { empty_too: colon },
            // envsubst asks only whether the variable is set, also for `:+`.
            '+' => Operator::Alternative { unless_empty: colon && compose },
            '?' if compose => Operator::Required { empty_too: colon },
            _ => return None,
        };
        self.take(usize::from(colon) + 1);
        Some(operator)
    }

    fn name_of(&self, text: &'t str) -> &'t str {
        let end = match self.dialect {
            Dialect::Compose if text.starts_with(|first: char| first.is_ascii_digit()) => Some(0),
            Dialect::Compose => text.find(|character: char| character != '_' && !character.is_ascii_alphanumeric()),
            _ => text.find(|character: char| character != '_' && !character.is_alphanumeric()),
        };
        &text[..end.unwrap_or(text.len())]
    }

    fn take(&mut self, bytes: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }
}

/// The expression's first line, and not much of it: values may be secret and files long.
fn shortened(expression: &str) -> String {
    let line = expression.lines().next().unwrap_or_default();
    if line.chars().count() <= 40 {
        return line.to_owned();
    }
    line.chars().take(40).chain(['…']).collect()
}
