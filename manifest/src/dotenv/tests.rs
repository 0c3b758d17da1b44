use std::process::Command;

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<Vec<(String, String)>, DotenvError> {
    let lookup = |name: &str| match name {
        "HOST" => Some("host value".to_owned()),
        "A" => Some("outer".to_owned()),
        _ => None,
    };
    parse(text, &lookup)
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn what_files_mean() {
    let table: &[(&str, &[(&str, &str)])] = &[
        ("", &[]),
        ("# only\n\n  # comments", &[]),
        ("A=1", &[("A", "1")]),
        ("A=1\nB=2\nA=3\n", &[("A", "3"), ("B", "2")]),
        ("\u{feff}A=1\r\nB=2\r\n", &[("A", "1"), ("B", "2")]),
        ("export A=1\n  export\tB=2", &[("A", "1"), ("B", "2")]),
        ("exported=1", &[("exported", "1")]),
        ("A: x\nB:y", &[("A", "x"), ("B", "y")]),
        ("A = x", &[("A", "x")]),
        ("A=", &[("A", "")]),
        ("A=\nB=x", &[("A", ""), ("B", "x")]),
        ("A=a b  ", &[("A", "a b")]),
        ("A=a # comment", &[("A", "a")]),
        ("A=a#b", &[("A", "a#b")]),
        ("A='a # b' # c\nB=1", &[("A", "a # b"), ("B", "1")]),
        ("A='$HOST \\n \"'", &[("A", "$HOST \\n \"")]),
        ("A='it\\'s'", &[("A", "it's")]),
        ("A=\"a\\nb\\t\\\"c\\\" \\\\ \\q\"", &[("A", "a\nb\t\"c\" \\ \\q")]),
        ("A=\"two\nlines\"\nB=1", &[("A", "two\nlines"), ("B", "1")]),
        ("A='two\nlines'", &[("A", "two\nlines")]),
        ("A=\"\\0101\"", &[("A", "A")]),
        ("A=$HOST", &[("A", "host value")]),
        ("A=1\nB=${A}2\nC=$B$A", &[("A", "1"), ("B", "12"), ("C", "121")]),
        ("B=$A", &[("B", "outer")]),
        ("A=\"\\$HOST $$HOST\"", &[("A", "$HOST $HOST")]),
        ("A=${NO:-d}${NO-${HOST}}", &[("A", "dhost value")]),
        ("E=\nA=${E:+x}${E+y}", &[("E", ""), ("A", "y")]),
        ("A=a$1$", &[("A", "a$1$")]),
        ("HOST\nNO\nB=1", &[("HOST", "host value"), ("B", "1")]),
        ("HOST", &[("HOST", "host value")]),
        ("a.b-c[0]=1", &[("a.b-c[0]", "1")]),
    ];
    for (text, expected) in table {
        assert_eq!(read(text), Ok(pairs(expected)), "{text:?}");
    }
}

#[test]
fn errors_name_the_line() {
    let errors: Vec<String> =
        ["A=1\nB C=2", "A=1\n\n?=2", "A='x\ny\n", "A=1\nB=\"${\"", "=1", "A=\"x\ny\"\nB=${NO?must be set}"]
            .into_iter()
            .map(|text| read(text).unwrap_err().to_string())
            .collect();
    insta::assert_snapshot!(errors.join("\n"), @"
    line 2: a name can't hold a space
    line 3: unexpected character '?' in a variable's name
    line 1: a quoted value has no closing quote
    line 2: closing brace expected
    line 1: a variable has no name
    line 3: required variable `NO` is missing: must be set
    ");
}

#[test]
fn growing_values_end_in_an_error() {
    let mut file = format!("A={}\n", "x".repeat(1000));
    for _ in 0..40 {
        file.push_str("A=$A$A\n");
    }
    assert!(read(&file).is_err());
}

#[test]
fn how_values_are_written() {
    let written = write_dotenv([
        ("PLAIN", "127.0.0.1:7701/dev/x@sha256:1"),
        ("EMPTY", ""),
        ("SPACES", " a b "),
        ("APOSTROPHE", "it's $5"),
        ("BACKSLASH", "a\\"),
        ("BOTH", "`it's`"),
        ("LINES", "a\nb"),
    ]);
    insta::assert_snapshot!(written.unwrap(), @r#"
    PLAIN=127.0.0.1:7701/dev/x@sha256:1
    EMPTY=
    SPACES=' a b '
    APOSTROPHE="it's \$5"
    BACKSLASH="a\\"
    BOTH='`'
    BOTH="${BOTH}it's${BOTH}"
    LINES='a
    b'
    "#);
    assert!(matches!(write_dotenv([("A-B", "")]), Err(WriteError::Name { .. })));
    assert!(matches!(write_shell([("A", "\0")]), Err(WriteError::Nul { .. })));
    assert_eq!(shell_quote("it's"), r"'it'\''s'");
    assert_eq!(shell_quote(""), "''");
}

/// The value of `V` after a shell has read the script. An `x` at the end keeps line ends.
fn by_shell(shell: &str, before: &str, script: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("env");
    std::fs::write(&file, script).unwrap();
    let output = Command::new(shell)
        .args(["-c", &format!("{before}. \"$1\" && printf %sx \"$V\""), shell])
        .arg(&file)
        .env_clear()
        .output()
        .unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout.strip_suffix(b"x").unwrap().to_vec()
}

/// The environment of a program that the shell starts after it has read the script.
fn by_child(shell: &str, before: &str, script: &str) -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("env");
    std::fs::write(&file, script).unwrap();
    let command = format!("{before}. \"$1\"; exec cat /proc/self/environ");
    let mut child = Command::new(shell);
    child.args(["-c", &command, shell]).arg(&file).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    let output = child.output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

/// The rules of `$GITHUB_ENV`: `NAME=value` to the end of the line, or `NAME<<END`, lines, `END`; empty lines are nothing.
/// Whichever of `=` and `<<` comes first in a line decides.
fn by_github(file: &str) -> Vec<(String, String)> {
    let mut lines = file.split_inclusive('\n').map(|line| line.strip_suffix('\n').unwrap_or(line));
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let equals = line.find('=').unwrap_or(usize::MAX);
        let heredoc = line.find("<<").unwrap_or(usize::MAX);
        assert!(equals != heredoc, "no variable: {line:?}");
        if equals < heredoc {
            let (name, value) = line.split_once('=').unwrap();
            found.push((name.to_owned(), value.to_owned()));
            continue;
        }
        let (name, end) = line.split_once("<<").unwrap();
        assert!(!name.is_empty() && !end.is_empty(), "{line:?}");
        let mut value: Vec<&str> = Vec::new();
        loop {
            match lines.next().expect("the line that ends a value") {
                line if line == end => break,
                line => value.push(line),
            }
        }
        found.push((name.to_owned(), value.join("\n")));
    }
    found
}

#[test]
fn no_value_ends_itself_in_githubs_file() {
    let evil = "a\nSLIPWAY_END\nPATH=/evil\nSLIPWAY_END_1\r\n";
    let file = write_github([("V", evil), ("W", "<<x"), ("E", ""), ("N", "\n"), ("B", " b ")]).unwrap();
    let expected = [("V", evil), ("W", "<<x"), ("E", ""), ("N", "\n"), ("B", " b ")];
    assert_eq!(by_github(&file), pairs(&expected), "{file}");
    assert!(file.contains("V<<SLIPWAY_END_2\n"), "{file}");
    let own: Vec<_> = ["GITHUB_SHA", "RUNNER_OS", "NODE_OPTIONS", "node_options"]
        .iter()
        .filter(|name| is_githubs_own(name))
        .collect();
    assert_eq!((own.len(), is_githubs_own("CI")), (4, false));
}

fn odd_value() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "'",
        "\"",
        "`",
        "$",
        "\\",
        "\n",
        "\r",
        "\t",
        " ",
        "#",
        "!",
        "~",
        "${V}",
        "$(id)",
        "\\n",
        "a",
        "é",
        "%",
        "*",
        "=",
        "{",
        "}",
        ";",
        "<<",
        "SLIPWAY_END",
        "\nSLIPWAY_END\n",
        "&",
        "|",
        "\u{feff}",
        "\u{a0}",
        "🦀",
    ]);
    prop_oneof![prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat()), "[^\0]{0,40}"]
}

proptest! {
    #[test]
    fn nothing_panics(text in "[A-C=:'\"\\\\$\\{\\}# \n\r`a-c0-9-]{0,80}", any in ".{0,100}") {
        let _ = read(&text);
        let _ = read(&any);
    }

    #[test]
    fn written_values_are_read_again(values in prop::collection::vec(odd_value(), 1..4)) {
        let names = ["V", "A", "C", "D"];
        let entries: Vec<(String, String)> = names.iter().map(ToString::to_string).zip(values).collect();
        let file = write_dotenv(entries.iter().map(|(name, value)| (name.as_str(), value.as_str()))).unwrap();
        prop_assert_eq!(read(&file).unwrap(), entries, "{}", file);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn bash_reads_what_is_written(value in odd_value()) {
        let dotenv = write_dotenv([("V", value.as_str())]).unwrap();
        prop_assert_eq!(by_shell("bash", "", &dotenv), value.as_bytes(), "{}", dotenv);
        let shell = write_shell([("V", value.as_str())]).unwrap();
        prop_assert_eq!(by_shell("bash", "", &shell), value.as_bytes(), "{}", shell);
    }

    #[test]
    fn a_program_that_a_shell_starts_finds_what_is_written(values in prop::collection::vec(odd_value(), 3)) {
        let pairs: Vec<_> = ["V", "W", "X"].into_iter().zip(values.iter().map(String::as_str)).collect();
        let expected: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        for (shell, before, script) in [
            ("bash", "set -a; ", write_dotenv(pairs.iter().copied()).unwrap()),
            ("sh", "set -a; ", write_dotenv(pairs.iter().copied()).unwrap()),
            ("bash", "set -eu; ", write_shell(pairs.iter().copied()).unwrap()),
            ("sh", "set -eu; ", write_shell(pairs.iter().copied()).unwrap()),
        ] {
            let env = by_child(shell, before, &script);
            for variable in &expected {
                prop_assert!(env.iter().any(|found| found == variable.as_bytes()), "{shell}: {variable:?} of\n{script}");
            }
        }
    }

    #[test]
    fn githubs_runner_reads_what_is_written(values in prop::collection::vec(odd_value(), 1..4)) {
        let pairs: Vec<_> = ["V", "A", "C"].into_iter().zip(values.iter().map(String::as_str)).collect();
        let file = write_github(pairs.iter().copied()).unwrap();
        prop_assert_eq!(by_github(&file), pairs.iter().map(|(name, value)| {
            ((*name).to_owned(), (*value).to_owned())
        }).collect::<Vec<_>>(), "{}", file);
    }

    #[test]
    fn json_holds_what_is_written(value in "\\PC{0,20}", odd in odd_value()) {
        let json = write_json([("a.b", value.as_str()), ("V", odd.as_str())]);
        let read: std::collections::BTreeMap<String, String> = serde_json::from_str(&json).unwrap();
        prop_assert_eq!((read["a.b"].as_str(), read["V"].as_str()), (value.as_str(), odd.as_str()));
    }
}
