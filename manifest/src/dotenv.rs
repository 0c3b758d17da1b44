//! dotenv files: `.env`, `$OKTETO_ENV` and what `--env-file` writes.
//!
//! Reading follows compose-go's dotenv package, except that a variable of the same file is found before one of the
//! caller's lookup, and that a name without `=` at the very end of a file means what it means elsewhere.

mod parse;
mod quote;
#[cfg(test)]
mod tests;

pub use parse::{DotenvError, parse};
pub use quote::{WriteError, shell_quote, write_dotenv, write_shell};
