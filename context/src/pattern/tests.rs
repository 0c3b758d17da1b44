use super::*;

fn matches(patterns: &[&str], path: &str) -> bool {
    PatternMatcher::new(patterns).unwrap().matches(path).unwrap()
}

/// As a walk does it: from the root down, handing on what each directory matched.
fn matches_walking(patterns: &[&str], path: &str) -> bool {
    let list = PatternMatcher::new(patterns).unwrap();
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    let (mut result, mut parent) = (false, None);
    for end in ends {
        let (found, below) = list.matches_below(&path[..end], parent.as_ref()).unwrap();
        (result, parent) = (found, Some(below));
    }
    result
}

#[test]
fn single_patterns() {
    let cases: &[(&str, &[&str], &[&str])] = &[
        // pattern, what it matches, what it doesn't
        ("target", &["target", "target/debug", "target/debug/x"], &["targets", "src/target", "Target"]),
        ("src/gen", &["src/gen", "src/gen/a.rs"], &["src", "gen", "src/gen2", "x/src/gen"]),
        ("src/gen/", &["src/gen", "src/gen/a.rs"], &["src"]),
        ("./src//gen", &["src/gen"], &["src"]),
        ("a/../b", &["b"], &["a/b", "a"]),
        (" padded\t", &["padded"], &[" padded\t"]),
        ("*", &["a", ".hidden", "a/b", "日本"], &[]),
        ("*.log", &["a.log", ".log", "a.log/inner"], &["a.logs", "dir/a.log", "log"]),
        ("*/*.log", &["dir/a.log"], &["a.log", "x/dir/a.log"]),
        ("a*z", &["az", "abcz", "a.z"], &["a/z", "za", "azb"]),
        ("a*", &["a", "ab", "a/b"], &["ba"]),
        ("*a", &["a", "ba"], &["ab", "b/a"]),
        ("a?c", &["abc", "a.c", "aéc"], &["ac", "a/c", "abbc"]),
        ("?", &["a", "é", "日", "a/b"], &["ab"]),
        ("**", &["a", "a/b", "a/b/c"], &[]),
        ("**/", &["a", "a/b"], &[]),
        ("**/x", &["x", "a/x", "a/b/x", "x/y"], &["xx", "ax", "a/xx"]),
        ("**x", &["x", "ax", "a/bx"], &["xb"]),
        ("**/*.o", &["a.o", "a/b.o", "a/b/c.o"], &["a.c", "o"]),
        ("**/*", &["a", "a/b"], &[]),
        ("a/**", &["a/b", "a/b/c"], &["a", "ab", "b/a"]),
        ("a**", &["a", "ab", "a/b", "abc/d"], &["ba"]),
        ("a/**/z", &["a/z", "a/b/z", "a/b/c/z"], &["az", "a", "a/zz", "b/a/z"]),
        ("a**z", &["az", "a/z", "ab/z"], &["abz", "abcz", "ab"]),
        ("**/a/**", &["a/b", "x/a/b"], &["a", "x/a", "xa/b"]),
        ("**/.git", &[".git", "sub/.git", "sub/.git/config"], &[".github", "x.git"]),
        ("***", &["a", "a/b"], &[]),
        ("[abc]", &["a", "c"], &["d", "ab", "[abc]"]),
        ("[a-c]x", &["ax", "cx"], &["dx", "a-x"]),
        ("[^a]", &["b", "é"], &["a"]),
        ("[!a]", &["!", "a"], &["b"]),
        ("[a\\]]", &["a", "]"], &["b", "\\"]),
        ("[a\\-z]", &["a", "-", "z"], &["b"]),
        ("[é-ü]", &["ê"], &["e", "ý"]),
        ("x[0-9][0-9]", &["x42"], &["x4", "x421"]),
        ("a\\*b", &["a*b"], &["axb", "a\\*b"]),
        ("a\\?", &["a?"], &["ab"]),
        ("\\!keep", &["!keep"], &["keep", "\\!keep"]),
        ("\\#x", &["#x"], &["x"]),
        ("a\\\\b", &["a\\b"], &["ab"]),
        ("a.b", &["a.b"], &["axb"]),
        ("*.b+", &["a.b+"], &["a.bb", "axb+"]),
        ("(*)", &["(x)", "()"], &["x"]),
        ("$*", &["$x", "$"], &["x"]),
        (".", &[], &["a", ".a"]),
        ("..", &[], &["a", "..a"]),
        ("../x", &[], &["x"]),
        ("/x", &[], &["x"]),
        ("naïve*", &["naïve.txt"], &["naive.txt"]),
        ("日*", &["日本"], &["本日"]),
        ("a b", &["a b"], &["ab"]),
        ("a\nb*", &["a\nbc"], &["a", "bc"]),
        ("{a,b}*", &["{a,b}c"], &["a", "b"]),
        // What follows from the Go expression underneath.
        ("a|b", &["a|b"], &["a", "b"]),
        ("a|b*", &["a", "abc", "a|b", "b", "xb"], &["x"]),
        ("xy{2}*", &["xyy", "xyyz"], &["xy", "xy{2}"]),
        ("x{,2}*", &["x{,2}"], &["x", "xx"]),
        ("^a*", &["ab"], &["^ab"]),
        ("a^b", &["a^b"], &["ab"]),
        ("\\d*", &["1", "7up"], &["d", "\\d"]),
        ("\\x41", &["A"], &["x41"]),
        ("\\x{e9}", &["é"], &["e9"]),
        ("\\pL", &["a", "é"], &["1", "pL"]),
        ("[[:alpha:]]", &["a", "Z"], &["1", "é"]),
        ("[*]", &["[]", "/]", "[^/]"], &["*", "*]"]),
        ("a]*", &["a]b"], &["ab"]),
        ("[&&]*", &["&x"], &["x"]),
        ("[.]*", &[".x"], &["x"]),
        ("\\Qa.b\\E", &["a\\.b"], &["a.b"]),
        ("\u{FEFF}a*", &["ab"], &["\u{FEFF}ab"]),
        ("\u{FEFF}a", &["\u{FEFF}a"], &["a"]),
    ];
    assert!(cases.iter().map(|(_, yes, no)| yes.len() + no.len()).sum::<usize>() > 150);
    for (pattern, yes, no) in cases {
        for (paths, expected) in [(yes, true), (no, false)] {
            for path in *paths {
                assert_eq!(matches(&[pattern], path), expected, "{pattern:?} on {path:?}");
                assert_eq!(matches_walking(&[pattern], path), expected, "{pattern:?} walking to {path:?}");
            }
        }
    }
}

#[test]
fn lists_of_patterns() {
    let cases: &[(&[&str], &str, bool)] = &[
        (&[], "a", false),
        (&["", "  "], "a", false),
        (&["*", "!a"], "a", false),
        (&["*", "!a"], "b", true),
        (&["!a", "*"], "a", true),
        (&["a", "!a/b"], "a/b", false),
        (&["a", "!a/b"], "a/b/c", false),
        (&["a", "!a/b"], "a/c", true),
        (&["a", "!a/b", "a/b/c"], "a/b/c", true),
        (&["a", "!a/b", "a/b/c"], "a/b/d", false),
        (&["a", "!a"], "a/b", false),
        (&["**", "!**/*.rs"], "src/lib.rs", false),
        (&["**", "!**/*.rs"], "src/lib.c", true),
        (&["*.md", "!README.md"], "README.md", false),
        (&["*.md", "!README*.md", "README-secret.md"], "README-secret.md", true),
        (&["a", "!!a"], "a", true),
        (&["*", "! a"], "a", true),
        (&["*", "!/a"], "a", true),
        (&["*", "!./a"], "a", true),
        (&["*", "!x/../a"], "a", true),
    ];
    for (patterns, path, expected) in cases {
        assert_eq!(matches(patterns, path), *expected, "{patterns:?} on {path:?}");
        assert_eq!(matches_walking(patterns, path), *expected, "{patterns:?} walking to {path:?}");
    }
    // Here the two ways differ, in the original too: on the way down, `!a` had nothing to undo at `a`.
    assert!(!matches(&["a/b", "!a"], "a/b"));
    assert!(matches_walking(&["a/b", "!a"], "a/b"));
}

#[test]
fn bad_patterns() {
    use PatternProblem::{EmptyException, Malformed};
    let cases = [("!", EmptyException), ("!/", EmptyException), ("[", Malformed), ("a[]b", Malformed)];
    for (pattern, problem) in cases.into_iter().chain([("[-a]", Malformed), ("a\\", Malformed), ("![", Malformed)]) {
        let error = PatternMatcher::new(["ok", pattern]).unwrap_err();
        assert_eq!(error, PatternError { pattern: pattern.to_owned(), index: 1, problem });
    }
}

#[test]
fn some_are_found_bad_only_when_used() {
    for pattern in ["[z-a]", "*{2}", "a{2}{3}*", "a{1001}*", "\\8", "\\C", "\\x{110000}*", "\\p{Nothing}", "[[:no:]]"] {
        let matcher = PatternMatcher::new([pattern]).unwrap();
        let error = matcher.matches("a").unwrap_err();
        assert_eq!((error.index, error.problem), (0, PatternProblem::Regex), "{pattern}");
        assert!(matcher.matches_below("a", None).is_err(), "{pattern}");
        // An exception with nothing to undo isn't looked at.
        assert_eq!(PatternMatcher::new([format!("!{pattern}")]).unwrap().matches("a"), Ok(false), "{pattern}");
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_panics(patterns in prop::collection::vec(any::<String>(), 0..4), path in any::<String>()) {
            if let Ok(matcher) = PatternMatcher::new(&patterns) {
                let _ = matcher.matches(&path);
                let _ = matcher.matches_below(&path, None);
            }
        }

        #[test]
        fn nothing_panics_on_syntax(pattern in r"[\\\[\]\^\*\?\{\}\|a-c0-9:,xpQEdLé!/.-]{0,16}", path in "[a-c0-9é/]{0,6}") {
            if let Ok(matcher) = PatternMatcher::new([pattern]) {
                let _ = matcher.matches(&path);
            }
        }

        #[test]
        fn plain_text_matches_itself_and_below(path in "[a-zé.|{}$+-]{1,8}(/[a-z|{}]{1,4}){0,2}", below in "[a-z]{1,3}") {
            prop_assume!(path::clean(&path) == path);
            prop_assert!(matches(&[&path], &path));
            let child = format!("{path}/{below}");
            prop_assert!(matches(&[&path], &child));
            let longer = format!("{path}{below}");
            prop_assert!(!matches(&[&path], &longer));
        }
    }
}
