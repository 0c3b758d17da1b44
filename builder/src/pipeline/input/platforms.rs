//! For which platforms a Dockerfile takes its base images, as far as its FROM lines tell.
//!
//! An index has an image for each platform, and each has triggers of its own.

use std::collections::BTreeSet;

/// The platforms of a Dockerfile's base images.
#[derive(Debug, Default)]
pub(super) struct Platforms {
    /// Those that are built for; none: the engine's own.
    targets: Vec<String>,
    /// The engine's own, if it is known.
    build: Option<String>,
    /// What `$BUILDPLATFORM` and `$TARGETPLATFORM` are is up to an argument.
    set: bool,
    /// The engine's own may decide what the steps do.
    uses_build: bool,
    lines: Vec<From>,
}

/// A FROM instruction, as written.
#[derive(Debug, PartialEq, Eq)]
struct From {
    platform: Option<String>,
    image: String,
}

// === impl Platforms ===

impl Platforms {
    /// Of a Dockerfile that is built for these (none: for the engine's own), with these arguments.
    pub(super) fn new<'a>(
        dockerfile: &str,
        targets: &[String],
        build: Option<&str>,
        mut args: impl Iterator<Item = &'a str>,
    ) -> Self {
        let lines = logical_lines(dockerfile);
        let set = args.any(|name| name.ends_with("PLATFORM")) || lines.iter().any(|line| sets_platform(line));
        let uses_build = names_build(dockerfile) || lines.iter().any(|line| names_build(line));
        let lines = lines.iter().filter_map(|line| From::parse(line)).collect();
        Self { targets: targets.to_vec(), build: build.map(str::to_owned), set, uses_build, lines }
    }

    /// Whether the engine's own platform can decide the result, whatever is built for.
    pub(super) fn uses_build(&self) -> bool {
        self.uses_build
    }

    /// Those that any FROM may want, whatever it names.
    pub(super) fn of_any(&self) -> Result<BTreeSet<String>, String> {
        let mut all = BTreeSet::new();
        for from in &self.lines {
            all.extend(self.of(&from.image)?);
        }
        Ok(all)
    }

    /// Those that any FROM of this image may want; or the words that can't be told.
    pub(super) fn of(&self, image: &str) -> Result<BTreeSet<String>, String> {
        let build = || self.build.clone().ok_or_else(|| "$BUILDPLATFORM".to_owned());
        let targets = || if self.targets.is_empty() { build().map(|own| vec![own]) } else { Ok(self.targets.clone()) };
        let mut all = BTreeSet::new();
        let mut named = false;
        for from in self.lines.iter().filter(|from| from.image == image || !is_literal(&from.image)) {
            named = true;
            match from.platform.as_deref() {
                None => all.extend(targets()?),
                Some("$TARGETPLATFORM" | "${TARGETPLATFORM}") if !self.set => all.extend(targets()?),
                Some("$BUILDPLATFORM" | "${BUILDPLATFORM}") if !self.set => all.extend([build()?]),
                Some(platform) if is_literal(platform) => all.extend([platform.to_owned()]),
                Some(platform) => return Err(platform.to_owned()),
            }
        }
        if !named {
            all.extend(targets()?);
        }
        Ok(all)
    }
}

// === impl From ===

impl From {
    /// Of a line, if it is one; a line of a here-document may look like one, too.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        words.next().filter(|word| word.eq_ignore_ascii_case("from"))?;
        let mut platform = None;
        let mut image = words.next().unwrap_or_default();
        while let Some(flag) = image.strip_prefix("--") {
            // What is no platform made the Dockerfile one that is not understood.
            platform = Some(flag.strip_prefix("platform=").unwrap_or("$").to_owned());
            image = words.next().unwrap_or_default();
        }
        Some(Self { platform, image: image.to_owned() })
    }
}

/// Whether a text has one of the variables that tell of the engine's own platform.
fn names_build(text: &str) -> bool {
    ["BUILDPLATFORM", "BUILDARCH", "BUILDOS", "BUILDVARIANT"].iter().any(|name| text.contains(name))
}

/// Whether an ARG gives a value to one of the two platforms.
fn sets_platform(line: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next().is_some_and(|word| word.eq_ignore_ascii_case("arg"))
        && words.any(|word| word.contains('=') && word.contains("PLATFORM"))
}

/// Whether a word means itself: no variable, no quotes, nothing escaped.
fn is_literal(word: &str) -> bool {
    !word.contains(['$', '"', '\'', '\\', '`'])
}

/// Lines, those joined that end with the escape character; comments and empty lines in between don't count.
fn logical_lines(dockerfile: &str) -> Vec<String> {
    let text = dockerfile.strip_prefix('\u{feff}').unwrap_or(dockerfile);
    let escape = escape(text);
    let (mut all, mut open) = (Vec::new(), String::new());
    for line in text.lines() {
        if line.trim_start().starts_with('#') || !open.is_empty() && line.trim().is_empty() {
            continue;
        }
        match line.trim_end_matches([' ', '\t', '\r']).strip_suffix(escape) {
            // An escape character that is escaped is only itself.
            Some(part) if !part.ends_with(escape) => open.push_str(part),
            _ => all.push(std::mem::take(&mut open) + line),
        }
    }
    all.push(open);
    all
}

/// As a directive before anything else sets it; a comment that is none ends them.
fn escape(text: &str) -> char {
    let directives = text.lines().map_while(|line| line.strip_prefix('#')?.split_once('='));
    let directives = directives.map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim()));
    let mut known = directives
        .take_while(|(name, value)| matches!(name.as_str(), "syntax" | "escape" | "check") && !value.is_empty());
    let set = known.find(|(name, _)| name == "escape");
    if set.is_some_and(|(_, value)| value == "`") { '`' } else { '\\' }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(dockerfile: &str, targets: &[&str], image: &str) -> Result<Vec<String>, String> {
        let targets: Vec<_> = targets.iter().map(|target| (*target).to_owned()).collect();
        let platforms = Platforms::new(dockerfile, &targets, Some("linux/amd64"), std::iter::once("A"));
        platforms.of(image).map(|all| all.into_iter().collect())
    }

    #[test]
    fn a_platform_is_the_one_that_from_names() {
        for (dockerfile, expected) in [
            ("FROM a", "linux/s390x"),
            ("FROM --platform=linux/arm64 a", "linux/arm64"),
            ("from --platform=linux/arm64 a AS x", "linux/arm64"),
            ("FROM --platform=$BUILDPLATFORM a", "linux/amd64"),
            ("FROM --platform=${TARGETPLATFORM} a", "linux/s390x"),
            ("FROM \\\n# why\n\n  --platform=linux/arm64 \\ \n a", "linux/arm64"),
            ("FR\\\nOM --platform=linux/arm64 a", "linux/arm64"),
            ("# escape=`\nFROM `\n --platform=linux/arm64 a", "linux/arm64"),
            ("# escape=`\nFROM b\nRUN x \\\nFROM --platform=linux/arm64 a", "linux/arm64"),
            ("FROM b\nRUN x `\nFROM --platform=linux/arm64 a", "linux/arm64"),
            // What does not end in an escape character of its own goes no further.
            ("FROM b\nRUN x \\\\\nFROM --platform=linux/arm64 a", "linux/arm64"),
            ("FROM b\nRUN x \\\\ \nFROM --platform=linux/arm64 a", "linux/arm64"),
            ("# syntax=docker/dockerfile:1\n# Escape = `\nFROM `\n --platform=linux/arm64 a", "linux/arm64"),
            // Directives that are none.
            ("# a=b\n# escape=`\nFROM \\\n --platform=linux/arm64 a", "linux/arm64"),
            ("# syntax=\n# escape=`\nFROM \\\n --platform=linux/arm64 a", "linux/arm64"),
            (" # escape=`\nFROM \\\n --platform=linux/arm64 a", "linux/arm64"),
            ("ARG I=a\nFROM --platform=linux/arm64 $I", "linux/arm64"),
            ("FROM --platform=linux/arm64 b\nFROM a", "linux/s390x"),
            ("", "linux/s390x"),
        ] {
            assert_eq!(of(dockerfile, &["linux/s390x"], "a"), Ok(vec![expected.to_owned()]), "{dockerfile}");
        }
        assert_eq!(of("FROM a", &[], "a"), Ok(vec!["linux/amd64".to_owned()]));
        let both = of("FROM a AS x\nFROM --platform=linux/arm64 a", &[], "a");
        assert_eq!(both, Ok(vec!["linux/amd64".to_owned(), "linux/arm64".to_owned()]));
    }

    #[test]
    fn what_cant_be_told_is_not_guessed() {
        for dockerfile in [
            "ARG P\nFROM --platform=$P a",
            "FROM --platform=\"linux/arm64\" a",
            "FROM --platform=linux/${TARGETARCH} a",
            "FROM --new=x a",
            "ARG TARGETPLATFORM=linux/arm64\nFROM --platform=$TARGETPLATFORM a",
        ] {
            assert!(of(dockerfile, &[], "a").is_err(), "{dockerfile}");
        }
        let text = "FROM --platform=$BUILDPLATFORM a";
        assert!(Platforms::new(text, &[], Some("x/y"), std::iter::once("BUILDPLATFORM")).of("a").is_err());
        assert!(Platforms::new(text, &["x/y".to_owned()], None, std::iter::empty()).of("a").is_err());
        assert!(Platforms::new("FROM a", &[], None, std::iter::empty()).of("a").is_err());
        assert!(Platforms::new("FROM a", &["x/y".to_owned()], None, std::iter::empty()).of("a").is_ok());
    }
}
