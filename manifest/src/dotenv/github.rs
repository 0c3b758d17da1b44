//! The file that GitHub Actions names in `$GITHUB_ENV`.

use super::quote::{WriteError, check, is_plain, push_assignment};

/// A line that ends a value, unless it is part of it.
const END: &str = "SLIPWAY_END";

/// What to append to `$GITHUB_ENV`. A value ends at a line of its own that it does not hold, so that no value can set another
/// variable.
///
/// ```
/// use slipway_manifest::dotenv::write_github;
///
/// let file = write_github([("IMAGE", "reg/ns/x@sha256:1"), ("TWO", "a\nb")])?;
/// assert_eq!(file, "IMAGE=reg/ns/x@sha256:1\nTWO<<SLIPWAY_END\na\nb\nSLIPWAY_END\n");
/// # Ok::<(), slipway_manifest::dotenv::WriteError>(())
/// ```
pub fn write_github<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<String, WriteError> {
    let mut file = String::new();
    for (name, value) in variables {
        check(name, value)?;
        if is_plain(value) {
            push_assignment(&mut file, name, value);
        } else {
            let end = end_of(value);
            file.extend([name, "<<", &end, "\n", value, "\n", &end, "\n"]);
        }
    }
    Ok(file)
}

/// Whether GitHub refuses or ignores a variable of this name in the file: `NODE_OPTIONS`, and those that it sets itself.
pub fn is_githubs_own(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    name == "NODE_OPTIONS" || name.starts_with("GITHUB_") || name.starts_with("RUNNER_")
}

/// A line that is none of the value's. On Windows a CR before the line's end is no part of it.
fn end_of(value: &str) -> String {
    let mut end = END.to_owned();
    let mut number = 0;
    while value.split('\n').any(|line| line.trim_end_matches('\r') == end) {
        number += 1;
        end = format!("{END}_{number}");
    }
    end
}
