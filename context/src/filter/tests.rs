use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const NONE: &[&str] = &[];

/// Walks a list of paths; those that others lie below are directories. Yields what is emitted, and what is asked about.
fn run(filter: &Filter, paths: &[&str]) -> (Vec<String>, Vec<String>) {
    // Walk order: with `/` before everything else.
    let mut sorted: Vec<&str> = paths.to_vec();
    sorted.sort_by_key(|path| path.split('/').map(str::to_owned).collect::<Vec<_>>());
    let (mut emitted, mut asked) = (Vec::new(), Vec::new());
    let mut walk = filter.walk();
    let mut pruned: Option<String> = None;
    for path in &sorted {
        if pruned.as_ref().is_some_and(|pruned| path.starts_with(pruned)) {
            continue;
        }
        let prefix = format!("{path}/");
        let directory = sorted.iter().any(|other| other.starts_with(&prefix));
        asked.push((*path).to_owned());
        match walk.enter(path, directory.then_some(())).unwrap() {
            Verdict::Include => {
                emitted.extend(walk.take_parents().map(|(path, ())| path));
                emitted.push((*path).to_owned());
            }
            Verdict::Skip => {}
            Verdict::Prune => pruned = Some(prefix),
        }
    }
    (emitted, asked)
}

fn emitted(include: &[&str], exclude: &[&str], paths: &[&str]) -> Vec<String> {
    run(&Filter::new(include, exclude).unwrap(), paths).0
}

#[test]
fn walk_order_and_late_parents() {
    let paths = ["a", "a/x", "a/y", "a/y/1", "a/z", "a-b", "b", "b/c", "b/c/d"];
    assert_eq!(emitted(NONE, NONE, &paths), ["a", "a/x", "a/y", "a/y/1", "a/z", "a-b", "b", "b/c", "b/c/d"]);
    assert_eq!(emitted(NONE, &["a", "!a/y/1"], &paths), ["a", "a/y", "a/y/1", "a-b", "b", "b/c", "b/c/d"]);
    assert_eq!(emitted(&["b/c/d"], NONE, &paths), ["b", "b/c", "b/c/d"]);
    assert_eq!(emitted(&["a"], &["a/y"], &paths), ["a", "a/x", "a/z"]);
    assert_eq!(emitted(&["**/d", "a-*"], NONE, &paths), ["a-b", "b", "b/c", "b/c/d"]);
    // Blank patterns are none, but a list of them is a list: nothing is included.
    assert_eq!(emitted(&[" "], NONE, &paths), [""; 0]);
    assert_eq!(emitted(NONE, &[" "], &paths).len(), paths.len());
}

#[test]
fn prunes_when_nothing_beneath_can_match() {
    let paths = ["a", "a/x", "a/x/1", "b", "b/x"];
    let asked = |include: &[&str], exclude: &[&str]| run(&Filter::new(include, exclude).unwrap(), &paths).1;
    assert_eq!(asked(NONE, &["a"]), ["a", "b", "b/x"]);
    assert_eq!(asked(NONE, &["a", "!b/x"]), ["a", "b", "b/x"]);
    assert_eq!(asked(NONE, &["*", "!a/x"]), ["a", "a/x", "a/x/1", "b"]);
    assert_eq!(asked(NONE, &["*", "!a/*"]), ["a", "a/x", "a/x/1", "b"]);
    assert_eq!(asked(NONE, &["*", "!a/x/**"]), ["a", "a/x", "a/x/1", "b"]);
    // A wildcard elsewhere in an exception: everything is looked at.
    assert_eq!(asked(NONE, &["*", "!a*/x"]).len(), paths.len());
    assert_eq!(asked(&["b/x"], NONE), ["a", "b", "b/x"]);
    assert_eq!(asked(&["**/x"], NONE).len(), paths.len());
}

#[test]
fn a_shortcut_that_goes_too_far() {
    // fsutil takes both globs off the end of the pattern and then thinks that nothing deeper can match. So do we: a build
    // has to see the tree that BuildKit would see.
    assert_eq!(emitted(&["a/*/**"], NONE, &["a", "a/x", "a/x/1"]), [""; 0]);
    assert_eq!(emitted(NONE, &["a", "!a/*/**"], &["a", "a/x", "a/x/1"]), [""; 0]);
    assert_eq!(emitted(&["a/**/x/**"], NONE, &["a", "a/x", "a/x/1"]), ["a", "a/x", "a/x/1"]);
}

#[test]
fn names_the_list_of_a_bad_pattern() {
    assert!(matches!(Filter::new(&["["], NONE), Err(FilterError::Include(_))));
    assert!(matches!(Filter::new(NONE, &["["]), Err(FilterError::Exclude(_))));
    let filter = Filter::new(NONE, &["[z-a]"]).unwrap();
    assert!(matches!(filter.walk().enter("a", Some(())), Err(FilterError::Exclude(_))));
}

/// What the rules at the top of the module say, without any shortcut.
fn naive(include: &[String], exclude: &[String], paths: &[&str]) -> BTreeSet<String> {
    let matched = |patterns: &[String], path: &str| {
        let matcher = PatternMatcher::new(patterns).unwrap();
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        let (mut found, mut parent) = (false, None);
        for end in ends {
            let (now, below) = matcher.matches_below(&path[..end], parent.as_ref()).unwrap();
            (found, parent) = (now, Some(below));
        }
        found
    };
    let mut result = BTreeSet::new();
    for path in paths {
        if (include.is_empty() || matched(include, path)) && (exclude.is_empty() || !matched(exclude, path)) {
            result.insert((*path).to_owned());
            result.extend(path.match_indices('/').map(|(at, _)| path[..at].to_owned()));
        }
    }
    result
}

fn any_patterns() -> impl Strategy<Value = Vec<String>> {
    let part = prop::sample::select(vec!["a", "b", "c", "ab", "a-b", "*", "**", "?", "a*", "[ab]", "*b"]);
    let pattern = (prop::collection::vec(part, 1..4), prop::bool::weighted(0.35))
        .prop_map(|(parts, exception)| format!("{}{}", if exception { "!" } else { "" }, parts.join("/")));
    // Not those that end in `/*/**`: see `a_shortcut_that_goes_too_far`.
    let pattern = pattern.prop_filter("quirk", |pattern| !pattern.ends_with("/*/**"));
    prop::collection::vec(pattern, 0..5)
}

/// Paths with all their parents.
fn any_tree() -> impl Strategy<Value = BTreeSet<String>> {
    let name = prop::sample::select(vec!["a", "b", "c", "ab", "a-b", "a.b"]);
    let path = prop::collection::vec(name, 1..5).prop_map(|parts| parts.join("/"));
    prop::collection::vec(path, 0..12).prop_map(|paths| {
        let parents = |path: &String| path.match_indices('/').map(|(at, _)| path[..at].to_owned()).collect::<Vec<_>>();
        paths.iter().flat_map(parents).chain(paths.clone()).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn equals_the_naive_definition(tree in any_tree(), include in any_patterns(), exclude in any_patterns()) {
        let paths: Vec<&str> = tree.iter().map(String::as_str).collect();
        let (emitted, _) = run(&Filter::new(&include, &exclude).unwrap(), &paths);
        let set: BTreeSet<String> = emitted.iter().cloned().collect();
        prop_assert_eq!(set.len(), emitted.len(), "each once");
        prop_assert_eq!(set, naive(&include, &exclude, &paths));
    }

    #[test]
    fn applied_again_changes_nothing(tree in any_tree(), include in any_patterns(), exclude in any_patterns()) {
        let filter = Filter::new(&include, &exclude).unwrap();
        let paths: Vec<&str> = tree.iter().map(String::as_str).collect();
        let (once, _) = run(&filter, &paths);
        // An emitted directory has something emitted below it, or is in by itself, and then it counts as one again.
        let directories: BTreeSet<&str> = paths
            .iter()
            .filter(|path| paths.iter().any(|other| other.starts_with(&format!("{path}/"))))
            .copied()
            .collect();
        let mut walk = filter.walk();
        let mut twice = Vec::new();
        for path in &once {
            match walk.enter(path, directories.contains(path.as_str()).then_some(())).unwrap() {
                Verdict::Include => {
                    twice.extend(walk.take_parents().map(|(path, ())| path));
                    twice.push(path.clone());
                }
                Verdict::Skip => {}
                Verdict::Prune => prop_assert!(false, "{path} holds something that is in"),
            }
        }
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn parents_first_and_siblings_in_byte_order(tree in any_tree(), exclude in any_patterns()) {
        let paths: Vec<&str> = tree.iter().map(String::as_str).collect();
        let (emitted, _) = run(&Filter::new(NONE, &exclude).unwrap(), &paths);
        let keys: Vec<Vec<&str>> = emitted.iter().map(|path| path.split('/').collect()).collect();
        prop_assert!(keys.windows(2).all(|two| two[0] < two[1]));
        for path in &emitted {
            if let Some((parent, _)) = path.rsplit_once('/') {
                prop_assert!(emitted.iter().any(|other| other == parent));
            }
        }
    }
}
