//! Things worth telling the user that stop nothing.

use std::fmt;
use std::path::PathBuf;

/// Something that was left out or looks like a mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// An entry that a context can't hold was skipped.
    SpecialFile {
        /// Path below the root.
        path: String,
        /// What it is, for instance `socket`.
        kind: &'static str,
    },
    /// One directory or file makes up most of a context and is of a kind that builds seldom want.
    Dominant {
        /// Path below the root.
        path: String,
        /// Its bytes.
        bytes: u64,
        /// Bytes of the whole context.
        total: u64,
        /// The ignore file that a line is missing in, if it is known.
        ignore_file: Option<PathBuf>,
    },
    /// A section header of `.oktetoignore` names no section.
    UnknownSection {
        /// The ignore file.
        file: PathBuf,
        /// Line of the header, from 1.
        line: usize,
        /// The text in the brackets.
        name: String,
    },
    /// A deprecated ignore file was used.
    DeprecatedFile {
        /// The file.
        file: PathBuf,
    },
    /// An ignore file is a symlink that leads nowhere inside the context, so that it does not count.
    IgnoreFileOutside {
        /// The ignore file.
        file: PathBuf,
    },
}

impl Warning {
    /// Where it is, as `FILE:LINE` or a path.
    pub fn place(&self) -> String {
        match self {
            Self::SpecialFile { path, .. } | Self::Dominant { path, .. } => path.clone(),
            Self::UnknownSection { file, line, .. } => format!("{}:{line}", file.display()),
            Self::DeprecatedFile { file } | Self::IgnoreFileOutside { file } => file.display().to_string(),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SpecialFile { path, kind } => write!(f, "skipped {kind} `{path}`"),
            Self::Dominant { path, bytes, total, ignore_file } => {
                let megabytes = bytes / 1_000_000;
                // Rounded down: 100 is all of it.
                let percent = u128::from(*bytes) * 100 / u128::from((*total).max(1));
                write!(
                    f,
                    "`{path}` is {megabytes} MB, {percent}% of what is sent; if that isn't meant, add the line `{path}` to "
                )?;
                match ignore_file {
                    Some(file) => write!(f, "`{}`", file.display()),
                    None => f.write_str("the ignore file"),
                }
            }
            Self::UnknownSection { name, .. } => write!(
                f,
                "`[{name}]` starts a section that nothing uses; to ignore such a name, write `**/[{name}]` or `./[{name}]`"
            ),
            Self::DeprecatedFile { file } => {
                write!(f, "`{}` is deprecated, move its lines to `.oktetoignore`", file.display())
            }
            Self::IgnoreFileOutside { file } => {
                write!(f, "`{}` is a symlink to nothing inside the context and is not used", file.display())
            }
        }
    }
}
