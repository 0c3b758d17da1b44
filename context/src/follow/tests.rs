use std::collections::BTreeMap;
use std::convert::Infallible;

use super::*;

/// Paths of links and files; directories are implied.
struct Paths(BTreeMap<&'static str, Option<&'static str>>);

impl TreeReader for Paths {
    type Error = Infallible;

    fn lookup(&self, path: &str) -> Result<Option<Kind>, Infallible> {
        Ok(match self.0.get(path) {
            Some(Some(target)) => Some(Kind::Symlink((*target).to_owned())),
            Some(None) => Some(Kind::File),
            None => self.0.keys().any(|key| key.starts_with(&format!("{path}/"))).then_some(Kind::Directory),
        })
    }

    fn read_dir(&self, path: &str) -> Result<Option<Vec<String>>, Infallible> {
        let prefix = if path == "." { String::new() } else { format!("{path}/") };
        let below = self.0.keys().filter_map(|key| key.strip_prefix(&prefix));
        let names: BTreeSet<String> = below.map(|rest| rest.split('/').next().unwrap_or(rest).to_owned()).collect();
        Ok((path == "." || !names.is_empty()).then(|| names.into_iter().collect()))
    }
}

fn tree(entries: &[(&'static str, Option<&'static str>)]) -> Paths {
    Paths(entries.iter().copied().collect())
}

#[test]
fn follows() {
    let tree = tree(&[
        ("app/main.c", None),
        ("app/lib", Some("../shared/lib")),
        ("shared/lib/x.c", None),
        ("abs", Some("/app/main.c")),
        ("out", Some("../../../etc/passwd")),
        ("loop", Some("loop")),
        ("grow", Some("grow/more")),
        ("chain", Some("abs")),
        ("d1/link", Some("../shared")),
        ("d2/plain", None),
        ("root", Some("/")),
        ("star", Some("app/*")),
    ]);
    let cases: &[(&[&str], Option<&[&str]>)] = &[
        (&[], Some(&[])),
        (&["app"], Some(&["app"])),
        (&["/app/"], Some(&["app"])),
        (&["app", "app/main.c"], Some(&["app"])),
        (&["app/lib/x.c"], Some(&["app/lib", "shared/lib/x.c"])),
        (&["abs"], Some(&["abs", "app/main.c"])),
        (&["chain"], Some(&["abs", "app/main.c", "chain"])),
        (&["out"], Some(&["etc/passwd", "out"])),
        (&["../../app"], Some(&["../../app"])),
        (&["loop", "loop/x"], Some(&["loop"])),
        (&["grow"], Some(&["grow"])),
        (&["nothing/here"], Some(&["nothing/here"])),
        (&["d*"], Some(&["d*"])),
        (&["d*/*"], Some(&["d*/*"])),
        (&["d1/*"], Some(&["d1/*", "shared"])),
        (&["ab?"], Some(&["ab?", "app/main.c"])),
        (&["star"], Some(&["app/*", "shared/lib", "star"])),
        (&["."], None),
        (&["app", ""], None),
        (&["root"], None),
    ];
    for (paths, expected) in cases {
        let found = follow_links(&tree, paths).unwrap();
        let expected = expected.map(|paths| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>());
        assert_eq!(found, expected, "{paths:?}");
    }
}

#[test]
fn becomes_include_patterns() {
    let tree = tree(&[("a", Some("b")), ("b", None), ("c", None)]);
    let included = |request: FilterRequest| {
        let filter = request.resolve(&tree).unwrap();
        let mut walk = filter.walk::<()>();
        ["a", "b", "c"]
            .into_iter()
            .filter(|path| walk.enter(path, None).unwrap() == crate::filter::Verdict::Include)
            .collect::<Vec<_>>()
    };
    let follow = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    assert_eq!(included(FilterRequest::default()), ["a", "b", "c"]);
    assert_eq!(included(FilterRequest { follow_paths: follow(&["a"]), ..Default::default() }), ["a", "b"]);
    assert_eq!(included(FilterRequest { follow_paths: follow(&["."]), ..Default::default() }), ["a", "b", "c"]);
    let both = FilterRequest {
        include_patterns: follow(&["c"]),
        follow_paths: follow(&["a"]),
        exclude_patterns: follow(&["b"]),
    };
    assert_eq!(included(both), ["a", "c"]);
}

#[test]
fn hostile_links_end() {
    struct Endless;
    impl TreeReader for Endless {
        type Error = Infallible;

        fn lookup(&self, path: &str) -> Result<Option<Kind>, Infallible> {
            Ok(Some(Kind::Symlink(format!("/{path}x"))))
        }

        fn read_dir(&self, _: &str) -> Result<Option<Vec<String>>, Infallible> {
            Ok(None)
        }
    }
    assert!(matches!(follow_links(&Endless, &["a"]), Err(FollowError::TooFar { .. })));
    let deep = "a/".repeat(3000);
    assert!(matches!(follow_links(&Endless, &[deep]), Err(FollowError::TooFar { .. })));
}
