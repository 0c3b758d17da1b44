use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const ALL: &[&str] = &["*everything*"];

fn args(given: &[(&str, Option<&str>)]) -> BTreeMap<String, Option<String>> {
    given.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect()
}

fn analysis(text: &str) -> Analysis {
    analyse(&Input { text, target: None, args: &args(&[]), platforms: &[] })
}

fn paths(analysis: &Analysis) -> Vec<&str> {
    match &analysis.context_paths {
        ContextPaths::All { .. } => ALL.to_vec(),
        ContextPaths::Only(paths) => paths.iter().map(String::as_str).collect(),
    }
}

fn images(analysis: &Analysis) -> Vec<&str> {
    analysis.base_images.iter().map(|image| image.name.as_str()).collect()
}

#[test]
fn the_paths_are_those_that_buildkit_asks_for() {
    let cases: &[(&str, &[&str])] = &[
        ("COPY a b/ /x/", &["a", "b"]),
        ("COPY ./a//b/../c /x", &["a/c"]),
        ("COPY ../../a /x", &["a"]),
        ("COPY /a /x", &["a"]),
        ("COPY . /x", ALL),
        ("COPY a/.. /x", ALL),
        ("COPY a .. /x", ALL),
        ("COPY *.go [a-c]? /x", &["*.go", "[a-c]?"]),
        ("COPY --parents src/./a/b /x", &["src/a/b"]),
        ("COPY --exclude=*.md --link --chmod=755 --chown=1:1 docs /x", &["docs"]),
        ("COPY [\"a b\", \"c\\u0064\", \"/x\"]", &["a b", "cd"]),
        ("COPY 'q' \"r\" s\\$t /x", &["q", "r", "s$t"]),
        ("COPY <<EOF /x\nCOPY y /z\nEOF\nCOPY z /x", &["z"]),
        ("COPY a <<EOF /x/\ntext\nEOF", &["a"]),
        ("COPY a \\\n  # comment\n  b \\\n /x", &["a", "b"]),
        ("COPY a \\\r\n\r\n  b \\ \r\n /x\r\nCOPY c /x", &["a", "b", "c"]),
        ("RUN echo \\\\\nCOPY a /x", &["a"]),
        ("ENV A=b\\\\\nCOPY a /x", ALL),
        ("copy a /x", &["a"]),
        ("ADD https://example.com/a /x", &[]),
        ("ADD a.tar /x", &["a.tar"]),
        ("ADD git@example.com:a/b.git /x", &["git@example.com:a/b.git"]),
        ("RUN make", &[]),
        ("RUN --mount=type=bind,source=a,target=/a make", &["a"]),
        ("RUN --mount=src=./a/,dst=/a make", &["a"]),
        ("RUN --mount=target=. make", ALL),
        ("RUN --mount=type=bind,source=/,target=/a make", ALL),
        ("RUN --mount=type=cache,target=/c --mount=type=secret,id=s --mount=type=ssh make", &[]),
        // BuildKit asks for the whole context and then has no use for it.
        ("RUN --mount=type=tmpfs,target=/c make", ALL),
        ("RUN --mount=type=bind,from=busybox,target=/c make", &[]),
        ("RUN --mount=\"type=bind\",source=a,target=/c make", ALL),
        ("RUN <<EOF\nCOPY a /b\nEOF", &[]),
        ("RUN --network=none --unheard=of make", ALL),
        ("COPY --unheard=of a /x", ALL),
        ("ONBUILD COPY a /x", &[]),
        ("COPY a$ /x", &["a$"]),
        ("COPY \"a /x", ALL),
        ("NONSENSE", ALL),
        ("COPY a", ALL),
    ];
    for (line, expected) in cases {
        let text = format!("FROM scratch\n{line}\n");
        assert_eq!(paths(&analysis(&text)), *expected, "{line}");
    }
}

#[test]
fn variables_are_followed() {
    let cases: &[(&str, &[&str])] = &[
        ("FROM scratch\nARG D=src\nCOPY $D/a ${D}b /x", &["src/a", "srcb"]),
        ("FROM scratch\nARG G\nCOPY $G /x", &["given"]),
        ("FROM scratch\nARG G=default\nCOPY $G /x", &["given"]),
        ("FROM scratch\nCOPY a$G /x", &["a"]),
        ("ARG D=src\nFROM scratch\nCOPY a$D /x", &["a"]),
        ("ARG D=src\nFROM scratch\nARG D\nCOPY a$D /x", &["asrc"]),
        ("ARG D=src\nARG E=$D/e\nFROM scratch\nARG E\nCOPY $E /x", &["src/e"]),
        ("FROM scratch\nENV D=src E=\"a b\"\nCOPY $D /x\nENV D=${D}2\nCOPY $D \"$E\" /x", &["a b", "src", "src2"]),
        ("FROM scratch\nENV D one two\nCOPY $D /x", &["one two"]),
        ("FROM scratch\nENV A=1\nENV A=2 B=$A\nCOPY b$B /x", &["b1"]),
        ("FROM scratch\nCOPY ${N:-d} ${N-e} /x", &["d", "e"]),
        ("FROM scratch\nENV E=\nCOPY ${E:-d} f${E-e} /x", &["d", "f"]),
        ("FROM scratch\nENV S=s\nCOPY ${S:+d} f${N:+e} g${N+e} ${S+h} /x", &["d", "f", "g", "h"]),
        ("FROM scratch\nCOPY ${N:-${M:-deep}} /x", &["deep"]),
        ("FROM scratch\nENV S=s\nCOPY ${S:-$H} /x", &["s"]),
        ("FROM scratch\nENV S=s\nCOPY ${S:-é${H:-é}\"$H\"}é${S:-$H}/ /x", &["sés"]),
        ("FROM scratch\nENV S=s\nCOPY '$S' \\$S \"\\$S\" /x", &["$S"]),
        ("# escape=`\nFROM scratch\nENV S=s\nCOPY `$S ${S}\\a /x", &["$S", "s\\a"]),
        ("FROM scratch AS a\nARG X=1\nENV Y=2\nFROM a\nCOPY $X $Y /x", &["1", "2"]),
        // An image has an environment of its own.
        ("FROM debian\nCOPY a$D /x", ALL),
        ("FROM debian\nARG D=d\nCOPY $D /x", &["d"]),
        ("FROM debian\nARG D\nCOPY a$D /x", ALL),
        ("FROM debian AS a\nARG D=d\nFROM a\nCOPY $D /x", ALL),
        ("FROM debian AS a\nENV D=d\nFROM a\nCOPY $D /x", &["d"]),
        ("FROM debian\nCOPY ${D:-d} /x", ALL),
        ("FROM scratch\nCOPY $PATH /x", ALL),
        // Passed, but not known yet.
        ("FROM scratch\nARG H\nCOPY $H /x", ALL),
        ("FROM scratch\nARG H=d\nCOPY $H /x", ALL),
        ("FROM scratch\nENV K=$H\nARG H\nENV K=$H\nCOPY $K /x", ALL),
        // Forms that are not done here.
        ("FROM scratch\nENV S=s\nCOPY ${S#x} /x", ALL),
        ("FROM scratch\nENV S=s\nCOPY ${S/x/y} /x", ALL),
        ("FROM scratch\nENV S=s\nCOPY ${S /x", ALL),
        ("FROM scratch\nENV $H=1\nCOPY a /x", &["a"]),
        ("FROM scratch\nENV S=1\nENV a${S#1}=1\nCOPY $S /x", ALL),
        // The engine's own platform.
        ("FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /x", ALL),
        ("FROM scratch\nCOPY a$TARGETARCH /x", &["a"]),
    ];
    let given = args(&[("G", Some("given")), ("H", None)]);
    for (text, expected) in cases {
        let found = analyse(&Input { text, target: None, args: &given, platforms: &[] });
        assert_eq!(paths(&found), *expected, "{text}");
    }
}

#[test]
fn platforms_that_are_named_are_known_and_add_up() {
    let text = "FROM scratch\nARG TARGETARCH TARGETPLATFORM\nCOPY bin/$TARGETARCH p/$TARGETPLATFORM /x";
    let found = |platforms: &[&str]| {
        let platforms: Vec<String> = platforms.iter().map(|platform| (*platform).to_owned()).collect();
        analyse(&Input { text, target: None, args: &args(&[]), platforms: &platforms })
    };
    assert_eq!(paths(&found(&["linux/amd64"])), ["bin/amd64", "p/linux/amd64"]);
    let both = ["bin/amd64", "bin/arm64", "p/linux/amd64", "p/linux/arm64"];
    assert_eq!(paths(&found(&["linux/arm64", "linux/amd64"])), both);
    assert_eq!(paths(&found(&["linux/arm/v7"])), ALL);
}

#[test]
fn only_stages_that_the_target_needs_count() {
    let text = "FROM one AS a\nCOPY a /\nFROM two AS B\nCOPY b /\nFROM three\nCOPY c /\nFROM a AS d\n\
                COPY --from=b /b /\nCOPY d /\nFROM scratch AS e\nCOPY --from=2 /c /\n\
                RUN --mount=from=A,target=/a x\nCOPY --from=four:4 / /\nCOPY e /\n";
    let target = |target: Option<&str>| {
        let found = analyse(&Input { text, target, args: &args(&[]), platforms: &[] });
        assert_eq!(found.unknown, []);
        (paths(&found).join(" "), images(&found).join(" "))
    };
    assert_eq!(target(Some("a")), ("a".to_owned(), "one".to_owned()));
    assert_eq!(target(Some("b")), ("b".to_owned(), "two".to_owned()));
    assert_eq!(target(Some("D")), ("a b d".to_owned(), "one two".to_owned()));
    assert_eq!(target(Some("e")), ("a c e".to_owned(), "four:4 one three".to_owned()));
    assert_eq!(target(None), target(Some("e")));
    assert_eq!(target(Some("")), target(Some("e")));
}

#[test]
fn base_images_are_named_with_their_place_and_use() {
    let text = "ARG V=12\nFROM --platform=$BUILDPLATFORM debian:${V} AS x\n\nFROM okteto.dev/base:1\n\
                COPY --from=x / /\nCOPY --from=busybox /bin /bin\nRUN --mount=from=tools,target=/t x\n";
    let found = analysis(text);
    let image = |name: &str, line, from| BaseImage { name: name.to_owned(), line, from };
    assert_eq!(
        found.base_images,
        [
            image("busybox", 6, false),
            image("debian:12", 2, true),
            image("okteto.dev/base:1", 4, true),
            image("tools", 7, false)
        ]
    );
    assert_eq!(found.unknown, []);
    assert_eq!(paths(&found), [""; 0]);
}

#[test]
fn here_documents_may_stand_anywhere() {
    let body = "import os\nCOPY secret /x\nADD https://example.com/a /x\n  \"' \\\n# no comment\n\n";
    let cases: &[(&str, &str, &[&str])] = &[
        ("RUN cat <<EOF > /etc/x", "EOF", &[]),
        ("RUN python3 <<EOF", "EOF", &[]),
        ("RUN <<-\"EOT\" bash", "\tEOT", &[]),
        ("RUN --mount=type=bind,source=m,target=/m 3<<EOF \\\n cat", "EOF", &["m"]),
        ("RUN <<'one two'", "one two", &[]),
        ("RUN <<EOF cat <<EOT", "EOF\nCOPY b /x\nEOT", &[]),
        ("COPY <<a <<b /dst/", "a\nCOPY c /x\nb", &[]),
        ("COPY f <<\"EOF\" 4<<-E.2 g /dst/", "EOF\n\t\tE.2", &["f", "g"]),
        ("ADD <<EOF /dst", "EOF\r", &[]),
        ("ONBUILD RUN cat <<EOF", "EOF", &[]),
        ("ONBUILD COPY --chmod=1 <<EOF /x", "EOF", &[]),
    ];
    for (line, end, expected) in cases {
        let found = analysis(&format!("FROM scratch\n{line}\n{body}{end}\nCOPY z /x\nADD http://example.com/b /x\n"));
        assert_eq!(paths(&found), [*expected, &["z"]].concat(), "{line}");
        let lines = body.lines().count() + format!("{line}\n{end}").lines().count();
        assert_eq!(found.unknown.iter().map(|unknown| unknown.line).collect::<Vec<_>>(), [lines + 3], "{line}");
    }
    let spaced = |body: &str, end| analysis(&format!("FROM scratch\nRUN cat << EOF > /x\n{body}\n{end}\nCOPY z /x\n"));
    assert_eq!(paths(&spaced("nonsense", "EOF")), ["z"]);
    // Not one for a frontend that builds it.
    let shift = analysis("FROM scratch\nRUN echo $((1 << 4))\nCOPY z /x\n");
    assert_eq!((paths(&shift), shift.unknown.len()), (vec!["z"], 0));
    // An older frontend would go on behind these.
    for body in ["RUN echo \\", "RUN cat <<E\nEOF\nE"] {
        assert_eq!(paths(&spaced(body, "EOF")), ALL, "{body}");
    }
    assert_eq!(paths(&analysis("FROM scratch\nRUN cat << USER\nx\nUSER\n")), ALL);
}

#[test]
fn here_documents_that_cannot_be_told_are_opaque() {
    let lines = [
        "RUN cat <<EOF",
        "COPY <<EOF /x",
        "RUN cat <<$EOF\n$EOF",
        "RUN cat <<eo\\'f\neo'f",
        "RUN ${A#b} <<EOF\nEOF",
        "COPY <<'a b' /x\na b",
        "COPY 'x <<EOF y' /x\nEOF",
        "COPY \"<<EOF\" /x\nEOF",
        "COPY << EOF /x\nEOF",
        "COPY --chown=<<EOF a /x",
        "COPY a\u{a0}<<EOF /x\nEOF",
        "COPY [\"\\u0000\\u0000a\", \"/x\"]",
        "COPY a\rb /x",
        "COPY a\0b /x",
    ];
    for line in lines {
        let found = analysis(&format!("FROM scratch\n{line}\nCOPY z /x\n"));
        assert_eq!((paths(&found), found.unknown.len()), (ALL.to_vec(), 1), "{line}");
    }
}

#[test]
fn what_may_change_by_itself_is_unknown() {
    let commit = "0123456789012345678901234567890123456789";
    let known = [
        "COPY a /x".to_owned(),
        "ADD --checksum=sha256:00 https://example.com/a /x".to_owned(),
        format!("ADD https://example.com/a.git#{commit} /x"),
        format!("ADD git@example.com:a.git#{commit}:dir /x"),
        "ARG D\nCOPY $D /x".to_owned(),
        "FROM debian\nCOPY $D /x".to_owned(),
        "RUN curl https://example.com".to_owned(),
    ];
    for line in known {
        let found = analysis(&format!("FROM scratch\n{line}\n"));
        assert_eq!(found.unknown, [], "{line}");
    }
    let unknown = [
        "ADD https://example.com/a /x",
        "ADD HTTPS://example.com/a /x",
        "ADD --checksum=$NONE https://example.com/a /x",
        "ADD https://example.com/a.git /x",
        "ADD https://example.com/a.git#main /x",
        "ADD https://example.com/a#0123456789012345678901234567890123456789 /x",
        "ADD git@example.com:a.git /x",
        "ADD ssh://git@example.com/a.git /x",
        "ADD $PATH /x",
        "COPY --from=$X a /x",
        "COPY --from=9 a /x",
        "RUN --mount=from=0,target=/x y",
        "RUN --mount=type=unheard,target=/x y",
        "FROM debian:$BUILDARCH",
        "FROM ${X#y}",
        "FROM $NONE",
        "FROM scratch AS o\nONBUILD COPY a /b\nFROM o",
        "RUN --unheard=of x",
        "FROM",
    ];
    for line in unknown {
        let found = analysis(&format!("FROM scratch\n{line}\n"));
        assert_ne!(found.unknown, [], "{line}");
    }
    let elsewhere = analysis("FROM scratch AS unused\nADD https://example.com/a /x\nFROM scratch\n");
    assert_eq!(elsewhere.unknown, []);
    let at = analysis("FROM scratch\n\nADD https://example.com/a /x\n");
    assert_eq!(at.unknown[0].line, 3);
    let missing = analyse(&Input { text: "FROM scratch", target: Some("x"), args: &args(&[]), platforms: &[] });
    assert_ne!(missing.unknown, []);
}

#[test]
fn hostile_ones_are_not_looked_into() {
    let doubles = format!("FROM scratch\nENV A=aa\n{}COPY $A /x\n", "ENV A=$A$A\n".repeat(60));
    let variables: String =
        (0..10_000).fold("FROM scratch AS s0\nENV".to_owned(), |text, at| format!("{text} V{at}=1"));
    let stages = (0..900).fold(variables.clone(), |text, at| format!("{text}\nFROM s{at} AS s{}", at + 1));
    let own = (0..900).fold(variables, |text, at| format!("{text}\nENV W{at}=1"));
    let wide = format!("FROM scratch\nENV A={}\nENV{}\n", "a".repeat(4000), " B=$A".repeat(30_000));
    let many = format!("FROM scratch\nADD{} /x\n", " http://a".repeat(1001));
    let long = format!("FROM scratch\n{}", "RUN x\n".repeat(1000));
    for text in [stages, own, wide, long] {
        let found = analysis(&text);
        let reason = &found.unknown[0].reason;
        assert!(paths(&found) == ALL && reason.contains("too many"), "{reason}");
    }
    assert_eq!(paths(&analysis(&doubles)), ALL);
    let found = analysis(&many);
    assert_eq!((paths(&found), found.unknown.len()), (ALL.to_vec(), 1));
    let each = (0..500).fold(String::new(), |text, at| format!("{text}ADD http://a/{at} /x\n"));
    assert_eq!(analysis(&format!("FROM scratch\n{each}")).unknown.len(), MAX_UNKNOWN);
}

#[test]
fn the_frontend_is_known_or_nothing_is() {
    let official = ["docker/dockerfile:1", "docker/dockerfile", "docker.io/docker/dockerfile:1.7-labs"];
    for name in official {
        let found = analysis(&format!("# syntax={name}\nFROM scratch\nCOPY a /x\n"));
        assert_eq!((found.frontend.as_deref(), paths(&found)), (Some(name), vec!["a"]), "{name}");
        assert_eq!(found.unknown, []);
    }
    let others = [
        "# syntax=example.com/own:1\n",
        "#syntax = docker/dockerfile-upstream:master\n",
        "#!/usr/bin/env x\n# escape=\\\n# syntax=own\n",
        "// syntax=own\n",
        "\u{feff}# SYNTAX=own\n",
    ];
    for line in others {
        let found = analysis(&format!("{line}FROM scratch\nCOPY a /x\n"));
        assert_eq!((found.frontend.as_deref(), paths(&found)), (None, ALL.to_vec()), "{line}");
        assert_ne!(found.unknown, [], "{line}");
    }
    let ordinary = ["# a comment\n# syntax=own\n", "\n# syntax=own\n", "# check=skip=all\n", "# syntax=\n"];
    for line in ordinary {
        let found = analysis(&format!("{line}FROM scratch\nCOPY a /x\n"));
        assert_eq!((found.frontend.as_deref(), paths(&found)), (None, vec!["a"]), "{line}");
        assert_eq!(found.unknown, [], "{line}");
    }
    let text = "FROM scratch\nCOPY a /x\n";
    for value in [Some("own"), None] {
        let found = analyse(&Input { text, target: None, args: &args(&[("BUILDKIT_SYNTAX", value)]), platforms: &[] });
        assert_eq!(paths(&found), ALL);
        assert_ne!(found.unknown, []);
    }
}

#[test]
fn declared_arguments_are_listed() {
    let found = analysis("ARG A=1\nFROM scratch AS u\nARG B C=2\nONBUILD ARG D\nFROM scratch\nARG E=\"x y\"\n");
    assert_eq!(found.declared_args.unwrap().into_iter().collect::<Vec<_>>(), ["A", "B", "C", "D", "E"]);
    assert_eq!(analysis("nonsense").declared_args, None);
}

#[test]
fn covered_is_what_was_named_or_lies_below() {
    let paths: Vec<String> = ["a", "b/c", "*.go", "d/*"].map(str::to_owned).into();
    for (asked, covered) in
        [("a", true), ("a/b", true), ("ab", false), ("b", false), ("*.go", true), ("x.go", false), ("d/*/e", false)]
    {
        assert_eq!(ContextPaths::covers(&paths, asked), covered, "{asked}");
    }
    for (path, clean) in
        [("a", true), ("a/b", true), ("", false), (".", false), ("/a", false), ("a/", false), ("../a", false)]
    {
        assert_eq!(ContextPaths::is_clean(path), clean, "{path}");
    }
}

proptest! {
    #[test]
    fn any_text_is_analysed(text in "\\PC*") {
        analysis(&text);
    }

    #[test]
    fn here_documents_change_nothing(parts in proptest::collection::vec(part(), 0..8)) {
        let join = |of: fn(&(String, String)) -> &String| {
            parts.iter().fold("FROM scratch\n".to_owned(), |text, part| text + of(part))
        };
        let (with, without) = (analysis(&join(|part| &part.0)), analysis(&join(|part| &part.1)));
        prop_assert_eq!(&with.context_paths, &without.context_paths);
        prop_assert!(matches!(with.context_paths, ContextPaths::Only(_)), "{:?}", with.context_paths);
        prop_assert_eq!(with.declared_args, without.declared_args);
        prop_assert_eq!(with.unknown.len(), without.unknown.len());
        let names = |found: &[BaseImage]| found.iter().map(|image| image.name.clone()).collect::<Vec<_>>();
        prop_assert_eq!(names(&with.base_images), names(&without.base_images));
    }

    #[test]
    fn any_lines_are_analysed(lines in proptest::collection::vec(line(), 0..12)) {
        let text = lines.join("\n");
        let found = analysis(&text);
        if let ContextPaths::Only(paths) = &found.context_paths {
            for path in paths {
                prop_assert!(ContextPaths::is_clean(path), "{path:?}");
            }
        }
    }
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        "(FROM|COPY|ADD|ENV|ARG|RUN|ONBUILD|SHELL|# syntax|# escape)[ =][a-z$\\{\\}:+\\-\"'\\\\`\\[\\],<=é#/. ]{0,24}",
        "(COPY|ADD|RUN|FROM) --(from|mount|checksum|platform)=[a-z$\\{\\},=\"/0-9]{0,16} [a-z$. ]{1,10}",
        "FROM (scratch|debian|a)( AS [ab])?",
        "\\PC{0,20}",
    ]
}

/// Some instructions, once with here-documents and once without.
fn part() -> impl Strategy<Value = (String, String)> {
    let name = prop_oneof!["[A-Z]{2,5}", "'[A-Z]{2} [A-Z]'", "\"[a-z.]{2,5}\"", "E'O'[F-H]"];
    let body = proptest::collection::vec(prop_oneof![line(), "\t*[a-z<'\"\\\\$#{} ]{0,12}"], 0..5);
    let heredoc = (name, any::<bool>(), body).prop_map(|(name, tabs, body)| {
        let end = name.replace(['\'', '"'], "");
        let body: String =
            body.iter().filter(|line| line.trim_start_matches('\t') != end).flat_map(|line| [line, "\n"]).collect();
        let (operator, tab) = if tabs { ("<<-", "\t") } else { ("<<", "") };
        (format!("{operator}{name}"), format!("{body}{tab}{end}\n"))
    });
    let run = "(ONBUILD )?RUN( --mount=source=[m-o],target=/m)?( [a-z]{1,4}){0,2}";
    let with_run =
        (run, proptest::collection::vec(heredoc.clone(), 0..3), "( > /x| bash)?").prop_map(|(run, docs, rest)| {
            let (words, bodies): (Vec<String>, Vec<String>) = docs.into_iter().unzip();
            (format!("{run} {}{rest} x\n{}", words.join(" "), bodies.concat()), format!("{run} {rest} x\n"))
        });
    let copy =
        ("(COPY|ADD)( --chmod=1)?", "[a-l]{1,2}", heredoc).prop_filter_map("one word", |(copy, path, (word, body))| {
            let copied = (format!("{copy} {path} {word} /x/\n{body}"), format!("{copy} {path} /x/\n"));
            (!word.contains(' ')).then_some(copied)
        });
    let plain = "(COPY [p-z] /x|ARG [A-C]=[a-c]|RUN echo \\$\\(\\(1<<2\\)\\)|COPY --from=[a-c]{3} /x /x)\n";
    prop_oneof![with_run, copy, plain.prop_map(|plain| (plain.clone(), plain))]
}
