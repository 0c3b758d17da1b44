//! Names against one component of a pattern.

/// Whether the component is more than a name.
pub(super) fn is_pattern(part: &str) -> bool {
    part.contains(['*', '?', '['])
}

/// Whether a name is one of those: `*` any characters, `?` one, `[a-z]` one of these, `[!a-z]` or `[^a-z]` another one, `\` takes
/// away what the next character means. A bracket that is not closed is one.
pub(super) fn matches(part: &str, name: &str) -> bool {
    let (part, name): (Vec<char>, Vec<char>) = (part.chars().collect(), name.chars().collect());
    let (mut at, mut on) = (0, 0);
    // Where to go on when what follows the last `*` does not fit: each of them is tried at every place, but only the last one.
    let mut again: Option<(usize, usize)> = None;
    loop {
        if part.get(at) == Some(&'*') {
            again = Some((at + 1, on));
            at += 1;
            continue;
        }
        let fits = match (part.get(at), name.get(on)) {
            (None, None) => return true,
            (Some(_), Some(&character)) => one(part.get(at..).unwrap_or_default(), character),
            _ => None,
        };
        if let Some(taken) = fits {
            (at, on) = (at + taken, on + 1);
        } else {
            match &mut again {
                Some((after, from)) if *from < name.len() => {
                    *from += 1;
                    (at, on) = (*after, *from);
                }
                _ => return false,
            }
        }
    }
}

/// How much of the pattern stands for the character, if it does.
fn one(part: &[char], character: char) -> Option<usize> {
    match part {
        ['?', ..] => Some(1),
        ['[', ..] => match class(part) {
            Some((negated, ranges, taken)) => {
                let inside = ranges.iter().any(|(from, to)| (*from..=*to).contains(&character));
                (inside != negated).then_some(taken)
            }
            None => (character == '[').then_some(1),
        },
        ['\\', literal, ..] => (*literal == character).then_some(2),
        [literal, ..] => (*literal == character).then_some(1),
        [] => None,
    }
}

type Class = (bool, Vec<(char, char)>, usize);

fn class(part: &[char]) -> Option<Class> {
    let negated = matches!(part.get(1), Some('!' | '^'));
    let (mut at, mut ranges) = (1 + usize::from(negated), Vec::new());
    loop {
        let from = *part.get(at)?;
        // The first one is no end.
        if from == ']' && !ranges.is_empty() {
            return Some((negated, ranges, at + 1));
        }
        match (part.get(at + 1), part.get(at + 2)) {
            (Some('-'), Some(&to)) if to != ']' => {
                ranges.push((from, to));
                at += 3;
            }
            _ => {
                ranges.push((from, from));
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_patterns() {
        for (part, yes, no) in [
            ("*.xml", &["a.xml", ".xml", "a.b.xml"][..], &["a.xmlx", "xml"][..]),
            ("a*b*c", &["abc", "aXbYc", "abbc"], &["ab", "acb", "abcd"]),
            ("?", &["a", "ä"], &["", "ab"]),
            ("[a-c]x", &["ax", "cx"], &["dx", "x"]),
            ("[!a-c]", &["d"], &["a"]),
            ("[^]]", &["a"], &["]"]),
            ("[]x]", &["]", "x"], &["["]),
            ("[ab", &["[ab"], &["a"]),
            ("\\*", &["*"], &["a"]),
            ("a-b", &["a-b"], &["ab"]),
            ("**", &["", "x"], &[]),
        ] {
            for name in yes {
                assert!(matches(part, name), "{part} {name}");
            }
            for name in no {
                assert!(!matches(part, name), "{part} {name}");
            }
        }
        // Not one try for each way to divide it.
        assert!(!matches(&"*a".repeat(50), &"a".repeat(5000).replace("aa", "ab")));
    }
}
