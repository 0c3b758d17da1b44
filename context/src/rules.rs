//! Ignore rules of a context, with the places they come from.
//!
//! # Why applying them before the upload is right
//!
//! `BuildKit` reads ignore files by itself: `<Dockerfile>.dockerignore` from the root that holds the Dockerfile, or else
//! `.dockerignore` from the context, which it may find or not, since the rules may ignore their own file. It applies what
//! it finds to the context, which has been filtered already. It finds either the same file, and a filter applied again
//! to its own result changes nothing (see [`filter`](crate::filter)), or none, and then it applies nothing. So the result
//! is the one that the whole directory would have given.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::filter::{Filter, FilterError};
use crate::ignorefile::{self, IgnoreLine, LineTooLong};
use crate::oktetoignore::{OktetoIgnore, Section};
use crate::pattern::{PatternError, PatternMatcher};
use crate::warning::Warning;

mod scoped;
#[cfg(test)]
mod tests;

/// Name of the ignore file of image builds.
pub const DOCKERIGNORE: &str = ".dockerignore";

const OKTETOIGNORE: &str = ".oktetoignore";
const OKTETODEPLOYIGNORE: &str = ".oktetodeployignore";

/// The largest ignore file that is read.
const MAX_FILE: u64 = 8 << 20;

/// Ignore rules, ready for use.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    filter: Filter,
    /// Where each pattern comes from, in the filter's order.
    lines: Vec<Origin>,
    /// The ignore file to add lines to.
    file: Option<PathBuf>,
    warnings: Vec<Warning>,
}

#[derive(Debug, Clone)]
struct Origin {
    file: Arc<Path>,
    line: IgnoreLine,
}

/// What `.oktetoignore` rules depend on.
#[derive(Debug, Clone)]
pub struct OktetoContext<'a> {
    /// The section's context directory.
    pub context_dir: &'a Path,
    /// Where the deprecated `.oktetodeployignore` may be: the directory the command runs in.
    pub working_dir: &'a Path,
    /// What the context is for.
    pub section: Section,
    /// The tests of the manifest; a `[test.NAME]` of another name is warned about.
    pub tests: &'a [String],
}

/// Why there are no rules.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// An ignore file can't be read.
    #[error("read ignore file `{file}`")]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An ignore file is larger than any real one.
    #[error("ignore file `{file}` is larger than {} MiB", MAX_FILE >> 20)]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// A line is too long.
    #[error("{file}:{line}: line is too long", line = error.line)]
    Line {
        /// The file.
        file: PathBuf,
        /// Which line.
        error: LineTooLong,
    },
    /// A pattern is bad.
    #[error("{file}:{line}: bad pattern `{pattern}`: {problem}", pattern = error.pattern, problem = error.problem)]
    Pattern {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The pattern and what is wrong with it.
        error: PatternError,
    },
}

// === impl Rules ===

impl Rules {
    /// No rules: everything is in.
    pub fn none() -> Self {
        Self::default()
    }

    /// The rules of an image build: `<Dockerfile>.dockerignore` beside the Dockerfile, or else `.dockerignore` in the
    /// context directory. Both paths are used as they are, so they have to be absolute or relative to the working
    /// directory.
    pub fn docker(context_dir: &Path, dockerfile: &Path) -> Result<Self, RulesError> {
        let mut builder = Builder::default();
        let beside = dockerignore_of(dockerfile);
        if let Some(text) = read(&beside)? {
            builder.add_file(&beside, &text)?;
            builder.file = Some(beside);
        } else {
            builder.add_dockerignore(context_dir)?;
        }
        builder.build()
    }

    /// The rules of a named context: its `.dockerignore`. The path is used as it is.
    pub fn dockerignore(context_dir: &Path) -> Result<Self, RulesError> {
        let mut builder = Builder::default();
        builder.add_dockerignore(context_dir)?;
        builder.build()
    }

    /// The rules of deploy, destroy and tests: the sections of `.oktetoignore` in the context directory. `.dockerignore`
    /// plays no part.
    pub fn okteto(context: &OktetoContext<'_>) -> Result<Self, RulesError> {
        let mut builder = Builder::default();
        if matches!(context.section, Section::Deploy | Section::Destroy) {
            let file = context.working_dir.join(OKTETODEPLOYIGNORE);
            if let Some(text) = read(&file)? {
                builder.add_file(&file, &text)?;
                builder.warnings.push(Warning::DeprecatedFile { file });
            }
        }
        let file = context.context_dir.join(OKTETOIGNORE);
        builder.file = Some(file.clone());
        if let Some(text) = read(&file)? {
            let parsed = OktetoIgnore::parse(&text).map_err(|error| RulesError::Line { file: file.clone(), error })?;
            builder.add_lines(&file, parsed.rules(&context.section).cloned());
            builder.warnings.extend(parsed.unknown_headers(context.tests).map(|header| Warning::UnknownSection {
                file: file.clone(),
                line: header.line,
                name: header.name.clone(),
            }));
        }
        builder.build()
    }

    /// Rules given as the lines of an ignore file that has no file.
    pub fn from_text(name: &Path, text: &[u8]) -> Result<Self, RulesError> {
        let mut builder = Builder::default();
        builder.add_file(name, text)?;
        builder.build()
    }

    /// The patterns with file and line.
    pub fn patterns(&self) -> impl Iterator<Item = (&str, &Path, usize)> {
        self.lines.iter().map(|origin| (origin.line.pattern.as_str(), &*origin.file, origin.line.line))
    }

    /// The pattern that leaves this path out, with file and line; slash-separated and relative.
    pub fn ignoring(&self, path: &str) -> Option<(&str, &Path, usize)> {
        let matcher = PatternMatcher::new(self.patterns().map(|(pattern, _, _)| pattern)).ok()?;
        self.patterns().nth(matcher.matched_by(path).ok()??)
    }

    /// The ignore file that another rule would go into; it need not be there yet.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What looked like a mistake in the ignore files.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The filter that the rules amount to.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// The error with the place that the pattern comes from.
    pub(crate) fn locate(&self, error: FilterError) -> RulesError {
        locate(&self.lines, error)
    }
}

#[derive(Default)]
struct Builder {
    lines: Vec<Origin>,
    file: Option<PathBuf>,
    warnings: Vec<Warning>,
}

// === impl Builder ===

impl Builder {
    fn add_dockerignore(&mut self, context_dir: &Path) -> Result<(), RulesError> {
        let file = context_dir.join(DOCKERIGNORE);
        self.file = Some(file.clone());
        // As BuildKit sees it: a link can't lead out of the context.
        match scoped::resolve(context_dir, DOCKERIGNORE) {
            Some(resolved) => {
                if let Some(text) = read(&resolved)? {
                    self.add_file(&file, &text)?;
                }
            }
            None if file.is_symlink() => self.warnings.push(Warning::IgnoreFileOutside { file }),
            None => {}
        }
        Ok(())
    }

    fn add_file(&mut self, file: &Path, text: &[u8]) -> Result<(), RulesError> {
        let lines = ignorefile::parse(text).map_err(|error| RulesError::Line { file: file.to_owned(), error })?;
        self.add_lines(file, lines);
        Ok(())
    }

    fn add_lines(&mut self, file: &Path, lines: impl IntoIterator<Item = IgnoreLine>) {
        let file: Arc<Path> = file.into();
        self.lines.extend(lines.into_iter().map(|line| Origin { file: file.clone(), line }));
    }

    fn build(self) -> Result<Rules, RulesError> {
        let patterns: Vec<&str> = self.lines.iter().map(|origin| origin.line.pattern.as_str()).collect();
        let filter = Filter::new::<&str, _>(&[], &patterns).map_err(|error| locate(&self.lines, error))?;
        Ok(Rules { filter, lines: self.lines, file: self.file, warnings: self.warnings })
    }
}

/// `<Dockerfile>.dockerignore`.
pub(crate) fn dockerignore_of(dockerfile: &Path) -> PathBuf {
    let mut name = dockerfile.as_os_str().to_owned();
    name.push(DOCKERIGNORE);
    name.into()
}

/// The bytes of an ignore file; `None` if there is no such file. A directory of that name is no such file.
pub(crate) fn read(file: &Path) -> Result<Option<Vec<u8>>, RulesError> {
    let error = |source| RulesError::Read { file: file.to_owned(), source };
    match fs::metadata(file) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Ok(None),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(error(e)),
    }
    let mut text = Vec::new();
    fs::File::open(file).map_err(error)?.take(MAX_FILE + 1).read_to_end(&mut text).map_err(error)?;
    if text.len() as u64 > MAX_FILE {
        return Err(RulesError::TooLarge { file: file.to_owned() });
    }
    Ok(Some(text))
}

fn locate(lines: &[Origin], error: FilterError) -> RulesError {
    let (FilterError::Include(error) | FilterError::Exclude(error)) = error;
    let (file, line) = lines
        .get(error.index)
        .map_or_else(|| (PathBuf::new(), 0), |origin| (origin.file.to_path_buf(), origin.line.line));
    RulesError::Pattern { file, line, error }
}
