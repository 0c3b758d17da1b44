//! `.oktetoignore`: ignore rules in sections, as Okteto reads them.
//!
//! Lines before the first header belong to every section. A header is a line that holds nothing but `[name]`, any name;
//! it may appear again, and its lines then add up. The lines themselves are read like those of `.dockerignore`, except
//! that blanks before a `#` don't matter.

use crate::ignorefile::{self, IgnoreLine, LineTooLong};

/// What a context is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Section {
    /// The deploy commands.
    Deploy,
    /// The destroy commands.
    Destroy,
    /// A test container.
    Test(String),
}

/// A parsed `.oktetoignore`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OktetoIgnore {
    root: Vec<IgnoreLine>,
    /// In the order of first headers.
    sections: Vec<NamedSection>,
    headers: Vec<Header>,
}

/// A `[name]` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What stands in the brackets.
    pub name: String,
    /// Its line, from 1.
    pub line: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct NamedSection {
    name: String,
    lines: Vec<IgnoreLine>,
}

// === impl Section ===

impl Section {
    /// Names of the sections of `.oktetoignore` that count, after the lines before the first header.
    fn names(&self) -> Vec<String> {
        match self {
            Self::Deploy => vec!["deploy".to_owned()],
            Self::Destroy => vec!["destroy".to_owned()],
            Self::Test(name) => vec!["test".to_owned(), format!("test.{name}")],
        }
    }
}

// === impl OktetoIgnore ===

impl OktetoIgnore {
    /// Reads the text of an `.oktetoignore`.
    pub fn parse(text: &[u8]) -> Result<Self, LineTooLong> {
        let mut parsed = Self::default();
        let mut current = None;
        for (line, text) in ignorefile::lines(text)? {
            let text = text.trim();
            if let Some(name) = header(text) {
                parsed.headers.push(Header { name: name.to_owned(), line });
                current = Some(parsed.section(name));
            } else if let Some(pattern) = ignorefile::parse_line(text) {
                let lines = current.map_or(&mut parsed.root, |at: usize| &mut parsed.sections[at].lines);
                lines.push(IgnoreLine { pattern, line });
            }
        }
        Ok(parsed)
    }

    /// The lines that apply to a section, in the order in which they count.
    pub fn rules(&self, section: &Section) -> impl Iterator<Item = &IgnoreLine> {
        let names = section.names();
        let sections = names.into_iter().flat_map(|name| self.sections.iter().filter(move |s| s.name == name));
        self.root.iter().chain(sections.flat_map(|section| &section.lines))
    }

    /// Headers that name no section of a manifest with these tests: often a bare class such as `[abc]` that was meant as
    /// a pattern.
    pub fn unknown_headers(&self, tests: &[String]) -> impl Iterator<Item = &Header> {
        self.headers.iter().filter(|header| match header.name.as_str() {
            "deploy" | "destroy" | "test" => false,
            name => !name.strip_prefix("test.").is_some_and(|test| tests.iter().any(|known| known == test)),
        })
    }

    /// Index of a section, made if need be.
    fn section(&mut self, name: &str) -> usize {
        self.sections.iter().position(|section| section.name == name).unwrap_or_else(|| {
            self.sections.push(NamedSection { name: name.to_owned(), lines: Vec::new() });
            self.sections.len() - 1
        })
    }
}

/// The name in a trimmed header line.
fn header(line: &str) -> Option<&str> {
    line.strip_prefix('[')?.strip_suffix(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\u{FEFF}.git\n  # comment\n[deploy]\ndocs\n\n[test]\r\n*.log\r\n[test.unit]\n!unit.log\n[deploy]\n\
        !docs/keep\n[destroy]\n/all/\n[abc]\nx\n[test.gone]\n[ deploy ]\n[]\n";

    fn rules(section: &Section) -> Vec<(String, usize)> {
        let parsed = OktetoIgnore::parse(FILE.as_bytes()).unwrap();
        parsed.rules(section).map(|line| (line.pattern.clone(), line.line)).collect()
    }

    fn expect(lines: &[(&str, usize)]) -> Vec<(String, usize)> {
        lines.iter().map(|(pattern, line)| ((*pattern).to_owned(), *line)).collect()
    }

    #[test]
    fn sections_add_up() {
        assert_eq!(rules(&Section::Deploy), expect(&[(".git", 1), ("docs", 4), ("!docs/keep", 11)]));
        assert_eq!(rules(&Section::Destroy), expect(&[(".git", 1), ("all", 13)]));
        assert_eq!(rules(&Section::Test("unit".into())), expect(&[(".git", 1), ("*.log", 7), ("!unit.log", 9)]));
        assert_eq!(rules(&Section::Test("other".into())), expect(&[(".git", 1), ("*.log", 7)]));
    }

    #[test]
    fn headers_of_nothing() {
        let parsed = OktetoIgnore::parse(FILE.as_bytes()).unwrap();
        let unknown: Vec<_> = parsed.unknown_headers(&["unit".into()]).map(|h| (h.name.as_str(), h.line)).collect();
        assert_eq!(unknown, [("abc", 14), ("test.gone", 16), (" deploy ", 17), ("", 18)]);
    }

    #[test]
    fn specific_after_general_whatever_the_order() {
        let parsed = OktetoIgnore::parse(b"[test.a]\nx\n[test]\n!x\n").unwrap();
        let patterns: Vec<_> = parsed.rules(&Section::Test("a".into())).map(|line| line.pattern.as_str()).collect();
        assert_eq!(patterns, ["!x", "x"]);
    }
}
