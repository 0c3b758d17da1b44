//! What stands behind ENV and ARG, and in `--mount`.

/// The words of a line, quotes kept (`BuildKit`, `parser.parseWords`).
pub(super) fn words(line: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut rest = line.chars().peekable();
    while let Some(character) = rest.next() {
        match quote {
            None if character.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if character == '\'' || character == '"' => quote = Some(character),
            Some(open) if character == open => quote = None,
            _ => {}
        }
        word.push(character);
        // Nothing is special in single quotes.
        if character == escape && quote != Some('\'') {
            word.extend(rest.next());
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// The pairs of an ENV; `None` if there are none.
pub(super) fn env(line: &str, escape: char) -> Option<Vec<(String, String)>> {
    let words = words(line, escape);
    let first = words.first()?;
    if !first.contains('=') {
        // ENV name the rest is the value
        let line = line.trim_start();
        let (name, value) = line.split_once(char::is_whitespace)?;
        return Some(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    words.iter().map(|word| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))).collect()
}

/// The names of an ARG with their defaults.
pub(super) fn arg(line: &str, escape: char) -> Vec<(String, Option<String>)> {
    let pair = |word: String| match word.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (word, None),
    };
    words(line, escape).into_iter().map(pair).collect()
}

/// The fields of a `--mount`; `None` if there are quotes in it.
pub(super) fn mount<'a>(value: &'a str) -> Option<Vec<(String, Option<&'a str>)>> {
    if !is_plain(value) {
        return None;
    }
    let field = |field: &'a str| match field.split_once('=') {
        Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
        None => (field.to_ascii_lowercase(), None),
    };
    Some(value.split(',').map(field).collect())
}

/// Whether a flag's value holds nothing that is read in more than one way.
pub(super) fn is_plain(value: &str) -> bool {
    !value.contains(['"', '\'', '\\', '`'])
}
