//! Writing: any text survives being sourced by bash and being read by docker compose.

use crate::names::is_variable_name;

/// Why variables can't be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// No shell can hold it.
    #[error("`{name}` can't be the name of a variable")]
    Name {
        /// The name.
        name: String,
    },
    /// No environment can hold it.
    #[error("the value of `{name}` holds a NUL character")]
    Nul {
        /// The variable's name.
        name: String,
    },
}

/// A dotenv file. Plain values stand without quotes, so that readers that know none take them too.
///
/// ```
/// use slipway_manifest::dotenv::write_dotenv;
///
/// let file = write_dotenv([("IMAGE", "reg/ns/x@sha256:1"), ("GREETING", "it's $5")])?;
/// assert_eq!(file, "IMAGE=reg/ns/x@sha256:1\nGREETING=\"it's \\$5\"\n");
/// # Ok::<(), slipway_manifest::dotenv::WriteError>(())
/// ```
pub fn write_dotenv<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<String, WriteError> {
    let mut file = String::new();
    for (name, value) in variables {
        check(name, value)?;
        push_dotenv(&mut file, name, value);
    }
    Ok(file)
}

/// `export` lines for any POSIX shell.
pub fn write_shell<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<String, WriteError> {
    let mut script = String::new();
    for (name, value) in variables {
        check(name, value)?;
        script.push_str("export ");
        push_assignment(&mut script, name, &shell_quote(value));
    }
    Ok(script)
}

/// One JSON object, in the same order. It can hold any name and any value.
pub fn write_json<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let entry = |(name, value)| format!("{}:{}", serde_json::Value::from(name), serde_json::Value::from(value));
    let entries: Vec<String> = variables.into_iter().map(entry).collect();
    format!("{{{}}}", entries.join(","))
}

/// A text as one word of a POSIX shell.
pub fn shell_quote(value: &str) -> String {
    if is_plain(value) && !value.is_empty() {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

pub(super) fn check(name: &str, value: &str) -> Result<(), WriteError> {
    if !is_variable_name(name) {
        return Err(WriteError::Name { name: name.to_owned() });
    }
    if value.contains('\0') {
        return Err(WriteError::Nul { name: name.to_owned() });
    }
    Ok(())
}

fn push_dotenv(file: &mut String, name: &str, value: &str) {
    if is_plain(value) {
        return push_assignment(file, name, value);
    }
    // dotenv readers take a backslash before the closing quote for an escape, bash does not: only an even number is safe.
    let backslashes = value.len() - value.trim_end_matches('\\').len();
    if !value.contains('\'') && backslashes.is_multiple_of(2) {
        return push_assignment(file, name, &format!("'{value}'"));
    }
    let mut quoted = value.replace('\\', r"\\").replace('"', "\\\"").replace('$', r"\$");
    if quoted.contains('`') {
        // In double quotes bash wants a backslash before a backtick, and dotenv readers would keep it. Both know single
        // quotes and references to what is already set, so the variable first holds a backtick, then its value.
        push_assignment(file, name, "'`'");
        quoted = quoted.replace('`', &format!("${{{name}}}"));
    }
    push_assignment(file, name, &format!("\"{quoted}\""));
}

pub(super) fn push_assignment(file: &mut String, name: &str, quoted: &str) {
    file.extend([name, "=", quoted, "\n"]);
}

/// Whether a text means itself without quotes, for every reader.
pub(super) fn is_plain(value: &str) -> bool {
    value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_./:@%+,-".contains(&byte))
}
