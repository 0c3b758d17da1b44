//! "Did you mean": the nearest of the names that would have been right.

/// The longest word that is looked at, in bytes.
const MAX_WORD: usize = 128;
/// More names than these help nobody.
const MOST: usize = 12;

/// The candidate that `word` most likely stands for, if any is near enough to be worth a guess.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Distances are quadratic: a very long word is no typing error of a short one, nor the other way round.
    if word.len() > MAX_WORD {
        return None;
    }
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    let distance = |candidate: &str| {
        if joined(word) == joined(candidate) {
            return 0;
        }
        strsim::osa_distance(&word.to_lowercase(), &candidate.to_lowercase())
    };
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= MAX_WORD)
        .map(|candidate| (distance(candidate), candidate))
        .filter(|(distance, candidate)| *distance <= allowed && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A word however it was put together: `skip_if`, `skip-if` and `skipIf` are one.
fn joined(word: &str) -> String {
    word.chars().filter(|character| !matches!(character, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

/// The hint for an unknown word: the nearest candidate, or all of them when they are few.
pub(crate) fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> Option<String> {
    if let Some(candidate) = nearest(word, candidates.clone()) {
        return Some(format!("did you mean `{candidate}`?"));
    }
    let few = candidates.clone().into_iter().take(MOST + 1).count();
    let all = candidates.into_iter().filter(|candidate| candidate.len() <= MAX_WORD);
    let all: Vec<String> = all.take(MOST).map(|candidate| format!("`{candidate}`")).collect();
    (!all.is_empty() && few <= MOST).then(|| format!("known here: {}", all.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_misses_are_found_and_far_ones_are_not() {
        let keys = ["context", "dockerfile", "image", "target", "args", "depends_on", "skipIfNoFileChanges"];
        for (word, expected) in [
            ("contxt", Some("context")),
            ("Context", Some("context")),
            ("dockerFile", Some("dockerfile")),
            ("dependson", Some("depends_on")),
            ("agrs", Some("args")),
            ("imgae", Some("image")),
            ("skip_if_no_file_changes", Some("skipIfNoFileChanges")),
            ("skip-If-No-File-Changes", Some("skipIfNoFileChanges")),
            ("dependsOn", Some("depends_on")),
            ("___", None),
            ("volumes", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, keys), expected, "{word}");
        }
    }
}
