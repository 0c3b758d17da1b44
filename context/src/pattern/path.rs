//! Slash-separated paths, cleaned lexically as Go's `path/filepath` does it on Linux.

/// The shortest equivalent of `path`: no empty, `.` or avoidable `..` components. Never empty (`.`).
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// The two joined and cleaned.
pub(crate) fn join(base: &str, rest: &str) -> String {
    match (base, rest) {
        ("", "") => String::new(),
        ("", path) | (path, "") => clean(path),
        (base, rest) => clean(&format!("{base}/{rest}")),
    }
}

/// All but the last component of a clean path, `.` if there is but one.
pub(crate) fn dir(path: &str) -> String {
    path.rfind('/').map_or_else(|| ".".to_owned(), |at| clean(&path[..=at]))
}

/// The last component of a clean path.
pub(crate) fn base(path: &str) -> &str {
    path.rfind('/').map_or(path, |at| &path[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans() {
        let cases = [
            ("", "."),
            (".", "."),
            ("./", "."),
            ("/", "/"),
            ("//", "/"),
            ("a//b/", "a/b"),
            ("a/./b", "a/b"),
            ("a/b/..", "a"),
            ("a/..", "."),
            ("a/../..", ".."),
            ("../a", "../a"),
            ("../../a/..", "../.."),
            ("/..", "/"),
            ("/../a/../b", "/b"),
            ("!/a/", "!/a"),
            ("...", "..."),
        ];
        for (path, expected) in cases {
            assert_eq!(clean(path), expected, "{path:?}");
        }
    }

    #[test]
    fn joins_and_splits() {
        assert_eq!(join(".", "/a"), "a");
        assert_eq!(join("/", "../a"), "/a");
        assert_eq!(join("a", ""), "a");
        assert_eq!(join("", ""), "");
        assert_eq!((dir("a/b/c").as_str(), dir("a").as_str(), dir("/a").as_str()), ("a/b", ".", "/"));
        assert_eq!((base("a/b"), base("a")), ("b", "a"));
    }
}
