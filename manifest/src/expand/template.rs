//! Texts that are expanded in two places.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    ExpandError, Expanded, Lookup,
    evaluate::Evaluation,
    expand_as,
    syntax::{self, Dialect, Piece},
};

/// A text in which only the variables are left that the service knows: those of images that it builds first.
///
/// Everything else has been expanded, and what that gave is never expanded again: a literal dollar is `$$` here, a
/// closing brace inside an expression is `$}`. It travels as its source text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Template(String);

impl Template {
    /// A text that means itself.
    pub fn literal(text: &str) -> Self {
        Self(text.replace('$', "$$"))
    }

    /// A template's source, as it came from elsewhere. [`check`](Self::check) tells whether it is one.
    pub fn from_source(source: impl Into<String>) -> Self {
        Self(source.into())
    }

    /// Expands a manifest's text, all but the variables that `later` picks. With the variables that were not defined.
    pub fn expand_now(
        text: &str,
        lookup: Lookup<'_>,
        later: &dyn Fn(&str) -> bool,
    ) -> Result<(Self, Vec<String>), ExpandError> {
        let pieces = syntax::parse(Dialect::Envsubst, text)?;
        let mut evaluation = Evaluation::new(lookup);
        evaluation.write_template(&pieces, later, false)?;
        let Expanded { text, undefined } = evaluation.finish();
        Ok((Self(text), undefined))
    }

    /// Expands the rest.
    pub fn expand(&self, lookup: Lookup<'_>) -> Result<Expanded, ExpandError> {
        expand_as(Dialect::Template, &self.0, lookup)
    }

    /// Whether this is a template at all.
    pub fn check(&self) -> Result<(), ExpandError> {
        self.pieces().map(|_| ())
    }

    /// The variables that are left, each once.
    pub fn variables(&self) -> Vec<String> {
        self.pieces().map(|pieces| syntax::names(&pieces)).unwrap_or_default()
    }

    /// The text, when no variable is left.
    pub fn complete(&self) -> Option<String> {
        let pieces = self.pieces().ok()?;
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Variable { .. } => return None,
            }
        }
        Some(text)
    }

    /// The source, as it is stored and sent.
    pub fn source(&self) -> &str {
        &self.0
    }

    fn pieces(&self) -> Result<Vec<Piece<'_>>, ExpandError> {
        syntax::parse(Dialect::Template, &self.0)
    }
}

/// For people: the text, or the source when variables are left.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.complete().as_deref().unwrap_or(&self.0))
    }
}
