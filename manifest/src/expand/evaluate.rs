//! Pieces to text.

use std::collections::HashSet;

use super::{
    ExpandError, Expanded, Lookup, MAX_OUTPUT,
    syntax::{Operator, Piece},
};

/// What an operator chose.
enum Choice<'p, 't> {
    Value(String),
    Operand(&'p [Piece<'t>]),
    Nothing,
}

pub(super) struct Evaluation<'l> {
    lookup: Lookup<'l>,
    /// What is in `result.undefined`.
    missing: HashSet<String>,
    result: Expanded,
}

impl<'l> Evaluation<'l> {
    pub(super) fn new(lookup: Lookup<'l>) -> Self {
        Self { lookup, missing: HashSet::new(), result: Expanded::default() }
    }

    pub(super) fn finish(self) -> Expanded {
        self.result
    }

    /// Expands everything.
    pub(super) fn write(&mut self, pieces: &[Piece<'_>]) -> Result<(), ExpandError> {
        for piece in pieces {
            match piece {
                Piece::Literal(text) => self.push(text)?,
                Piece::Variable { name, operator, operand } => match self.choose(name, *operator, operand)? {
                    Choice::Value(value) => self.push(&value)?,
                    Choice::Operand(operand) => self.write(operand)?,
                    Choice::Nothing => {}
                },
            }
        }
        Ok(())
    }

    /// Expands all but the variables that are to be known later; those stay as expressions of a template.
    pub(super) fn write_template(
        &mut self,
        pieces: &[Piece<'_>],
        later: &dyn Fn(&str) -> bool,
        in_braces: bool,
    ) -> Result<(), ExpandError> {
        for piece in pieces {
            match piece {
                Piece::Literal(text) => self.push_escaped(text, in_braces)?,
                Piece::Variable { name, operator, operand } if later(name) => {
                    self.push("${")?;
                    self.push(name)?;
                    self.push(match operator {
                        Operator::Value | Operator::Required { .. } => "",
                        Operator::Default { empty_too: false } => "-",
                        Operator::Default { empty_too: true } => ":-",
                        Operator::Alternative { .. } => "+",
                    })?;
                    self.write_template(operand, later, true)?;
                    self.push("}")?;
                }
                Piece::Variable { name, operator, operand } => match self.choose(name, *operator, operand)? {
                    Choice::Value(value) => self.push_escaped(&value, in_braces)?,
                    Choice::Operand(operand) => self.write_template(operand, later, in_braces)?,
                    Choice::Nothing => {}
                },
            }
        }
        Ok(())
    }

    fn choose<'p, 't>(
        &mut self,
        name: &str,
        operator: Operator,
        operand: &'p [Piece<'t>],
    ) -> Result<Choice<'p, 't>, ExpandError> {
        let value = (self.lookup)(name);
        let usable = |empty_too: bool| value.as_ref().is_some_and(|value| !empty_too || !value.is_empty());
        Ok(match operator {
            Operator::Value => {
                if value.is_none() {
                    self.missing(name);
                }
                value.map_or(Choice::Nothing, Choice::Value)
            }
            Operator::Default { empty_too } if !usable(empty_too) => Choice::Operand(operand),
            Operator::Required { empty_too } if !usable(empty_too) => {
                let mut message = Evaluation::new(self.lookup);
                message.write(operand)?;
                return Err(ExpandError::Required { name: name.to_owned(), message: message.finish().text });
            }
            Operator::Default { .. } | Operator::Required { .. } => value.map_or(Choice::Nothing, Choice::Value),
            Operator::Alternative { unless_empty } if usable(unless_empty) => Choice::Operand(operand),
            Operator::Alternative { .. } => Choice::Nothing,
        })
    }

    fn missing(&mut self, name: &str) {
        if self.missing.insert(name.to_owned()) {
            self.result.undefined.push(name.to_owned());
        }
    }

    fn push(&mut self, text: &str) -> Result<(), ExpandError> {
        if self.result.text.len() + text.len() > MAX_OUTPUT {
            return Err(ExpandError::TooLong);
        }
        self.result.text.push_str(text);
        Ok(())
    }

    fn push_escaped(&mut self, text: &str, in_braces: bool) -> Result<(), ExpandError> {
        if in_braces {
            return self.push(&text.replace('$', "$$").replace('}', "$}"));
        }
        self.push(&text.replace('$', "$$"))
    }
}
