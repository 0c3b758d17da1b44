//! `$variables` in texts, as a8m/envsubst expands them.
//!
//! | form | value |
//! |---|---|
//! | `$v`, `${v}` | of `v`; empty when it isn't set |
//! | `${v-d}`, `${v=d}` | of `v`, or `d` when it isn't set |
//! | `${v:-d}`, `${v:=d}` | of `v`, or `d` when it isn't set or empty |
//! | `${v+x}`, `${v:+x}` | `x` when `v` is set, be it to nothing; else empty |
//! | `$$` | `$` |
//!
//! Nothing is assigned by `=`. `$_`, `${}` and a `$` before anything else stay as they are; what follows the name in any
//! other way (`${v?e}`) is ignored; a brace that isn't closed on its line is an error. All this is what envsubst does.
//! Differently on purpose: `d` and `x` are expanded like any text (`${a:-x$b}`, `${a:-${b:-c}}`), where envsubst gives
//! odd results, and braces around what is no name are an error.

mod evaluate;
mod syntax;
mod template;
#[cfg(test)]
mod tests;

use evaluate::Evaluation;
pub(crate) use syntax::Dialect;
pub use template::Template;

/// Where variables are looked up.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// An expanded text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expanded {
    /// The text.
    pub text: String,
    /// Variables that had no value and no default, each once, in order of appearance.
    pub undefined: Vec<String>,
}

/// Why a text can't be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// `${` without its `}` on the same line.
    #[error("closing brace expected in `{expression}`")]
    Unclosed {
        /// The expression, shortened.
        expression: String,
    },
    /// `${` and something that is no variable's name.
    #[error("not a variable: `{expression}`")]
    NotAVariable {
        /// The expression, shortened.
        expression: String,
    },
    /// `${v?message}` in a dotenv file, for a variable that isn't set.
    #[error("required variable `{name}` is missing: {message}")]
    Required {
        /// The variable.
        name: String,
        /// What the file says about it.
        message: String,
    },
    /// Defaults inside defaults.
    #[error("defaults are nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// The result would be too large.
    #[error("the expanded text is larger than {} KiB", MAX_OUTPUT / 1024)]
    TooLong,
}

/// Defaults inside defaults.
const MAX_DEPTH: usize = 16;
/// Bytes of one expanded text.
const MAX_OUTPUT: usize = 1024 * 1024;

/// Expands a text.
///
/// ```
/// use slipway_manifest::expand;
///
/// let lookup = |name: &str| (name == "TAG").then(|| "v1".to_owned());
/// let expanded = expand::expand("api:${TAG}-${ARCH}${OS:-linux}", &lookup)?;
/// assert_eq!(expanded.text, "api:v1-linux");
/// assert_eq!(expanded.undefined, ["ARCH"]);
/// # Ok::<(), expand::ExpandError>(())
/// ```
pub fn expand(text: &str, lookup: Lookup<'_>) -> Result<Expanded, ExpandError> {
    expand_as(Dialect::Envsubst, text, lookup)
}

/// The variables that a text mentions, each once, those of defaults included.
pub fn variables(text: &str) -> Result<Vec<String>, ExpandError> {
    Ok(syntax::names(&syntax::parse(Dialect::Envsubst, text)?))
}

pub(crate) fn expand_as(dialect: Dialect, text: &str, lookup: Lookup<'_>) -> Result<Expanded, ExpandError> {
    let pieces = syntax::parse(dialect, text)?;
    let mut evaluation = Evaluation::new(lookup);
    evaluation.write(&pieces)?;
    Ok(evaluation.finish())
}
