//! Which here-documents a line begins, as `BuildKit` finds them: by the words of a shell, wherever they stand
//! (`parser.heredocsFromLine`, `shell.Lex`).
//!
//! Its lexer has forms that were read in different ways over time. Those are [`Unclear`].

use std::iter::Peekable;
use std::str::Chars;

/// A here-document that a line begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heredoc {
    /// The line that ends it.
    pub(super) name: String,
    /// `<<-`: that line may begin with tabs.
    pub(super) tabs: bool,
    /// `<< NAME`, which frontends before 1.16 don't take for a here-document.
    pub(super) spaced: bool,
    /// The word as written.
    pub(super) word: String,
}

/// What a line begins can't be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unclear;

/// Why there are no words.
enum Stop {
    /// `BuildKit` finds none either, and goes on without.
    Failed,
    Unclear,
}

type Rest<'a> = Peekable<Chars<'a>>;

/// The here-documents that a line begins, in the order of their contents.
pub(super) fn heredocs(line: &str) -> Result<Vec<Heredoc>, Unclear> {
    match words(line) {
        Ok(words) => words.into_iter().filter_map(|word| heredoc(word).transpose()).collect(),
        Err(Stop::Failed) => Ok(Vec::new()),
        Err(Stop::Unclear) => Err(Unclear),
    }
}

/// `^(\d*)<<(-?)\s*([^<]*)$`
fn heredoc(word: String) -> Result<Option<Heredoc>, Unclear> {
    let digits = word.trim_start_matches(|character: char| character.is_ascii_digit());
    let Some(rest) = digits.strip_prefix("<<") else { return Ok(None) };
    let (tabs, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let written = rest.trim_start();
    let spaced = written.len() < rest.len();
    if written.contains('<') {
        // With a space, the older ones see two words.
        return if spaced { Err(Unclear) } else { Ok(None) };
    }
    if written.is_empty() {
        return Ok(None);
    }
    let name = unquoted(written).filter(|name| !name.is_empty()).ok_or(Unclear)?;
    Ok(Some(Heredoc { name, tabs, spaced, word }))
}

/// A word without its quotes; `None` if there is more to it than that.
fn unquoted(word: &str) -> Option<String> {
    let mut name = String::new();
    let mut quote = None;
    for character in word.chars() {
        match (character, quote) {
            ('\\' | '$', _) => return None,
            (_, Some(open)) if character == open => quote = None,
            ('\'' | '"', None) => quote = Some(character),
            _ => name.push(character),
        }
    }
    quote.is_none().then_some(name)
}

/// The words of a line, quotes and escapes kept. The escape character is always the backslash here.
fn words(line: &str) -> Result<Vec<String>, Stop> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut rest = line.chars().peekable();
    while let Some(character) = rest.next() {
        if character.is_whitespace() {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            continue;
        }
        word.push(character);
        match character {
            '$' => dollar(&mut rest, &mut word)?,
            '\\' => word.extend(rest.next()),
            '\'' => single_quoted(&mut rest, &mut word)?,
            '"' => double_quoted(&mut rest, &mut word)?,
            '<' if rest.next_if_eq(&'<').is_some() => {
                word.push('<');
                while let Some(space) = rest.next_if(|next| matches!(next, ' ' | '\t' | '\r')) {
                    word.push(space);
                }
            }
            _ => {}
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}

fn single_quoted(rest: &mut Rest<'_>, word: &mut String) -> Result<(), Stop> {
    loop {
        let character = rest.next().ok_or(Stop::Failed)?;
        word.push(character);
        if character == '\'' {
            return Ok(());
        }
    }
}

fn double_quoted(rest: &mut Rest<'_>, word: &mut String) -> Result<(), Stop> {
    loop {
        let character = rest.next().ok_or(Stop::Failed)?;
        word.push(character);
        match character {
            '"' => return Ok(()),
            '$' => dollar(rest, word)?,
            '\\' => word.extend(rest.next_if(|next| matches!(next, '"' | '$' | '\\'))),
            _ => {}
        }
    }
}

/// What follows a `$`. No variable has a value here, so it stays as written.
fn dollar(rest: &mut Rest<'_>, word: &mut String) -> Result<(), Stop> {
    let is_special = |next: &char| matches!(next, '@' | '*' | '#' | '?' | '-' | '$' | '!');
    let Some(brace) = rest.next_if_eq(&'{') else {
        // Of names that aren't special, no character means anything else.
        word.extend(rest.next_if(is_special));
        return Ok(());
    };
    // A default empties the lexer's buffer, in some versions, and with it what the word began with.
    let begun = word.contains('<');
    word.push(brace);
    if matches!(rest.peek(), None | Some('{' | '}' | ':')) {
        return Err(Stop::Failed);
    }
    if let Some(special) = rest.next_if(is_special) {
        word.push(special);
    } else {
        while let Some(next) = rest.next_if(|next| next.is_ascii_alphanumeric() || *next == '_') {
            word.push(next);
        }
    }
    if let Some(end) = rest.next_if_eq(&'}') {
        word.push(end);
        return Ok(());
    }
    word.extend(rest.next_if_eq(&':'));
    let operator = rest.next_if(|next| matches!(next, '-' | '+' | '?')).filter(|_| !begun).ok_or(Stop::Unclear)?;
    word.push(operator);
    loop {
        let is_plain = |next: &char| next.is_ascii_alphanumeric() || "_./:@%+,=-}".contains(*next);
        let next = rest.next_if(is_plain).ok_or(Stop::Unclear)?;
        word.push(next);
        if next == '}' {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(line: &str) -> Option<Vec<String>> {
        Some(heredocs(line).ok()?.into_iter().map(|heredoc| heredoc.name).collect())
    }

    #[test]
    fn they_are_found_as_buildkit_finds_them() {
        let cases: &[(&str, &[&str])] = &[
            ("RUN <<EOF", &["EOF"]),
            ("RUN cat <<EOF > /etc/x", &["EOF"]),
            ("RUN 3<<EOF cat", &["EOF"]),
            ("RUN <<-EOT bash", &["EOT"]),
            ("RUN <<-\"EOT\" bash", &["EOT"]),
            ("RUN <<'one two'", &["one two"]),
            ("RUN <<eo'f'", &["eof"]),
            ("RUN <<\"eo'f\"", &["eo'f"]),
            ("RUN << EOF > foo", &["EOF"]),
            ("RUN << -EOF", &["-EOF"]),
            ("COPY <<a <<b /dst/", &["a", "b"]),
            ("RUN --mount=type=cache,target=/foo <<MOUNT", &["MOUNT"]),
            ("RUN A=${B:-c} cat <<EOF", &["EOF"]),
            ("RUN echo $$ \"$A\" ${A} $( cat <<EOF", &["EOF"]),
            // A quirk, but theirs.
            ("RUN x=$(cat <<EOF) y", &["EOF)"]),
            ("RUN \"<<EOF\"", &[]),
            ("RUN '<<EOF'", &[]),
            ("RUN [\"cat\", \"<<EOF\"]", &[]),
            ("RUN x<<EOF", &[]),
            ("RUN \\<<EOF", &[]),
            ("RUN cat <<<EOF", &[]),
            ("RUN cat <<-", &[]),
            ("RUN cat <<", &[]),
            ("RUN cat < EOF", &[]),
            ("RUN $((1<<4))", &[]),
            ("RUN echo it's <<EOF", &[]),
            ("RUN echo ${} <<EOF", &[]),
        ];
        for (line, expected) in cases {
            assert_eq!(names(line).unwrap(), *expected, "{line}");
        }
    }

    #[test]
    fn what_is_read_in_different_ways_is_unclear() {
        for line in [
            "RUN <<$EOF",
            "RUN <<${EOF}",
            "RUN <<eo\\'f",
            "RUN <<''",
            "RUN cat << <<EOF",
            "RUN ${A#b} <<EOF",
            "RUN ${A:-$B} <<EOF",
            "RUN ${A/b/c} <<EOF",
            "RUN <<E${A:-b}",
        ] {
            assert_eq!(names(line), None, "{line}");
        }
    }
}
