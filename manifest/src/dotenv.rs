//! dotenv files: `.env`, `$OKTETO_ENV` and what `--env-file` writes. And the other forms in which variables are written.
//!
//! Reading follows compose-go's dotenv package, except that a variable of the same file is found before one of the
//! caller's lookup, and that a name without `=` at the very end of a file means what it means elsewhere.

mod github;
mod parse;
mod quote;
#[cfg(test)]
mod tests;

pub use github::{is_githubs_own, write_github};
pub use parse::{DotenvError, parse};
pub use quote::{WriteError, shell_quote, write_dotenv, write_json, write_shell};
