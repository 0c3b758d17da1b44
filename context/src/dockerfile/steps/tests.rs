use super::*;
use crate::dockerfile::ContextPaths;

const TEXT: &str = "\
ARG TAG=1
FROM debian:$TAG AS base
RUN apt-get install -y make

FROM base AS build
ARG VERSION=0
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY src/*.go ./src/
LABEL stage=build
RUN --mount=type=bind,source=scripts,target=/s /s/build \\
      --all

FROM scratch
COPY --from=build /src/out /
COPY --from=tools /bin/tool /bin/
COPY docs /docs
CMD [\"/out\"]
";

fn nothing() -> Changes<'static> {
    static NONE: BTreeSet<String> = BTreeSet::new();
    Changes { before: "", args: &NONE, images: &NONE, files: &[], all: None, runs: None, target: None, no_cache: &[] }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// The lines that run again, each with why.
fn again(text: &str, changes: &Changes<'_>) -> Vec<String> {
    let args = BTreeMap::new();
    let input = Input { text, target: None, args: &args, platforms: &[] };
    let steps = rebuilt(&input, changes).unwrap();
    steps.iter().map(|step| format!("{}: {}", step.line, step.why)).collect()
}

/// What changed; a folder is a new one.
fn change(path: &str) -> Change {
    let folder = path.ends_with('/');
    let kind = if folder { ChangeKind::Added } else { ChangeKind::Changed };
    Change { path: path.trim_end_matches('/').to_owned(), kind, folder }
}

fn changed(files: &[&str], args: &[&str], images: &[&str]) -> Vec<String> {
    let files: Vec<Change> = files.iter().map(|path| change(path)).collect();
    let [args, images] = [args, images].map(|names| strings(names).into_iter().collect());
    let (args, images) = (&args, &images);
    let changes = Changes { before: TEXT, args, images, files: &files, ..nothing() };
    again(TEXT, &changes)
}

fn edited(from: &str, to: &str) -> Vec<String> {
    assert!(TEXT.contains(from));
    let none = BTreeSet::new();
    let changes = Changes { before: TEXT, args: &none, images: &none, ..nothing() };
    again(&TEXT.replacen(from, to, 1), &changes)
}

#[test]
fn nothing_runs_again_for_nothing() {
    assert_eq!(changed(&[], &[], &[]), [""; 0]);
    assert_eq!(changed(&["README.md", "src/deep/a.go", "goXmod"], &["OTHER"], &["alpine"]), [""; 0]);
    assert_eq!(edited("LABEL stage=build", "LABEL stage=other"), [""; 0]);
    assert_eq!(edited("LABEL stage=build\n", ""), [""; 0]);
    assert_eq!(edited("RUN go", "# why\nLABEL a=b\n\nRUN   go"), [""; 0]);
    assert_eq!(edited("CMD", "EXPOSE 1\nCMD"), [""; 0]);
}

#[test]
fn a_context_stands_before_a_stage_of_its_name() {
    // Its own steps are as they were, and nobody needs them.
    assert_eq!(changed(&[], &[], &["Build"])[..2], ["16: image Build changed", "17: after line 16"]);
    assert_eq!(changed(&[], &[], &["base"])[0], "5: image base changed");
}

#[test]
fn files_count_for_the_steps_that_take_them_and_for_those_after() {
    let build = ["12: after line 10", "16: stage build may give other files", "17: after line 16", "18: after line 17"];
    let whole = |first: &str| [&[first.to_owned()], strings(&build).as_slice()].concat();
    assert_eq!(changed(&["src/a.go"], &[], &[]), whole("10: src/a.go changed"));
    assert_eq!(changed(&["src/"], &[], &[]), whole("10: src changed"), "a folder that came or went");
    assert_eq!(changed(&["src/a.go", "src/b.go"], &[], &[]), whole("10: src/a.go and src/b.go changed"));
    assert_eq!(changed(&["src/a.go", "src/b.go", "src/c.go"], &[], &[])[0], "10: src/a.go and 2 more changed");
    assert_eq!(changed(&["scripts/x/y"], &[], &[])[0], "12: scripts/x/y changed");
    assert_eq!(changed(&["docs/a/b"], &[], &[]), ["18: docs/a/b changed"]);
    assert_eq!(changed(&["go.sum"], &[], &[])[..2], ["8: go.sum changed", "9: after line 8"]);
}

#[test]
fn arguments_count_for_run_and_where_they_are_named() {
    assert_eq!(changed(&[], &["VERSION"], &[])[..2], ["9: argument `VERSION` changed", "10: after line 9"]);
    assert_eq!(edited("COPY docs /docs", "ARG D=docs\nCOPY docs /docs"), [""; 0]);
    assert_eq!(edited("ARG VERSION=0\n", "")[0], "8: `ARG VERSION=0` is gone");
    assert_eq!(edited("ARG VERSION=0", "ARG VERSION=1")[0], "9: argument `VERSION` changed");
    assert_eq!(edited("WORKDIR /src", "ENV A=$VERSION\nWORKDIR /src")[0], "10: variable `A` changed");
    assert_eq!(edited("WORKDIR /src", "USER 1000\nWORKDIR /src")[0], "8: `USER 1000` changed");
    let text = "FROM scratch\nARG DIR\nENV TO=/x/$DIR\nCOPY a ${TO:-/y}/\nCOPY b /b\n";
    let (args, none) = (BTreeSet::from(["DIR".to_owned()]), BTreeSet::new());
    let changes = Changes { before: text, args: &args, images: &none, ..nothing() };
    assert_eq!(again(text, &changes), ["4: variable `TO` changed", "5: after line 4"]);
}

#[test]
fn images_stages_and_lines_count_for_what_comes_from_them() {
    let from_base = changed(&[], &[], &["debian:1"]);
    assert_eq!(
        from_base[..4],
        ["2: image debian:1 changed", "3: after line 2", "5: stage base changed", "7: after line 5"]
    );
    assert_eq!(changed(&[], &[], &["tools"]), ["17: image tools changed", "18: after line 17"]);
    assert_eq!(edited("go mod download", "go mod vendor")[..2], ["9: its line changed", "10: after line 9"]);
    assert_eq!(edited("--all", "--some")[0], "12: its line changed");
    assert_eq!(edited("RUN go", "RUN echo\nRUN go")[..2], ["9: its line changed", "10: after line 9"]);
    assert_eq!(
        edited(
            "AS base\nRUN apt-get install -y make\n\nFROM base",
            "AS other\nRUN apt-get install -y make\n\nFROM other"
        )[0],
        "2: its line changed"
    );
}

#[test]
fn an_image_that_only_the_service_knows_counts_by_its_argument() {
    let text = "ARG OKTETO_BUILD_BASE_IMAGE\nFROM ${OKTETO_BUILD_BASE_IMAGE} AS one\nRUN a\n";
    let (args, none) = (BTreeMap::from([("OKTETO_BUILD_BASE_IMAGE".to_owned(), None)]), BTreeSet::new());
    let others = BTreeSet::from(["OKTETO_BUILD_BASE_IMAGE".to_owned()]);
    let input = Input { text, target: None, args: &args, platforms: &[] };
    let changes = Changes { before: text, args: &others, images: &none, ..nothing() };
    let steps = rebuilt(&input, &changes).unwrap();
    assert_eq!(steps[0].why, Why::Environment("argument `OKTETO_BUILD_BASE_IMAGE` changed".to_owned()));
    assert_eq!((steps.len(), steps[1].line), (2, 3));
}

#[test]
fn options_count_for_all_steps_or_for_run() {
    let none = BTreeSet::new();
    let changes =
        Changes { before: TEXT, args: &none, images: &none, runs: Some("option `network` changed"), ..nothing() };
    let found = again(TEXT, &changes);
    assert_eq!(found[..2], ["3: option `network` changed", "5: stage base changed"]);
    let changes = Changes { runs: None, all: Some("platform changed"), ..changes };
    let from: Vec<_> = again(TEXT, &changes).into_iter().filter(|line| line.ends_with("platform changed")).collect();
    assert_eq!(from.len(), 3, "{from:?}");
}

#[test]
fn another_target_makes_its_own_stages_new_and_stages_without_cache_run_again() {
    let (args, text) = (BTreeMap::new(), format!("{TEXT}FROM base AS other\nRUN lint\n"));
    let steps = |changes: &Changes<'_>, target| {
        let input = Input { text: &text, target, args: &args, platforms: &[] };
        let steps = rebuilt(&input, changes).unwrap();
        steps.iter().map(|step| format!("{}: {}", step.line, step.why)).collect::<Vec<_>>()
    };
    let changes = Changes { before: &text, ..nothing() };
    assert_eq!(steps(&changes, Some("other")), [""; 0]);
    let from_build = Changes { target: Some(Some("build")), ..changes };
    assert_eq!(
        steps(&from_build, Some("other")),
        ["20: its stage was not built then", "21: its stage was not built then"]
    );
    assert_eq!(steps(&Changes { target: Some(Some("other")), ..changes }, Some("base")), [""; 0]);
    let filtered = Changes { no_cache: &["Other".to_owned()], ..changes };
    assert_eq!(steps(&filtered, None), ["20: no cache is used", "21: after line 20"]);
}

#[test]
fn what_a_here_document_holds_counts() {
    let text = "FROM scratch\nCOPY <<EOF /x\none\nEOF\nCOPY a /a\n";
    let none = BTreeSet::new();
    let changes = Changes { before: text, args: &none, images: &none, ..nothing() };
    assert_eq!(again(text, &changes), [""; 0]);
    assert_eq!(again(&text.replace("one", "two"), &changes), ["2: its line changed", "5: after line 2"]);
}

/// What runs again when the text becomes another one and these arguments change.
fn becomes(before: &str, now: &str, args: &[&str]) -> Vec<String> {
    let (args, none) = (strings(args).into_iter().collect(), BTreeSet::new());
    again(now, &Changes { before, args: &args, images: &none, ..nothing() })
}

#[test]
fn what_is_gone_from_the_end_of_a_stage_counts_for_those_that_use_it() {
    let before = "FROM a AS base\nRUN a\nRUN b\nFROM base\nRUN c\nFROM scratch AS last\nCOPY --from=base / /\n";
    let without = |target| {
        let (none, args, text) = (BTreeSet::new(), BTreeMap::new(), before.replace("RUN b\n", ""));
        let input = Input { text: &text, target: Some(target), args: &args, platforms: &[] };
        let built = format!("{before}FROM scratch AS all\nCOPY --from=1 / /\nCOPY --from=last / /\n");
        let changes = Changes { before: &built, args: &none, images: &none, target: Some(Some("all")), ..nothing() };
        let steps = rebuilt(&input, &changes).unwrap();
        steps.iter().map(|step| format!("{}: {}", step.line, step.why)).collect::<Vec<_>>()
    };
    assert_eq!(without("last"), ["6: stage base may give other files"]);
    assert_eq!(
        becomes("FROM a AS base\nRUN b\nFROM base\nRUN c\n", "FROM a AS base\nFROM base\nRUN c\n", &[]),
        ["2: stage base changed", "3: after line 2"]
    );
    let env = |base: &str| format!("FROM a AS base\n{base}FROM base\nRUN c\n");
    assert_eq!(becomes(&env("ENV A=1\n"), &env(""), &[]), ["3: `ENV A=1` is gone"]);
    assert_eq!(becomes(&env("LABEL A=1\n"), &env(""), &[]), [""; 0]);
}

#[test]
fn lines_that_are_the_same_are_found_whatever_comes_between() {
    let before = "FROM a\nRUN a\nENV A=1\nRUN b\nCOPY x /$A\n";
    let now = before.replace("ENV", "RUN new\nENV");
    assert_eq!(becomes(before, &now, &[]), ["3: its line changed", "5: after line 3", "6: after line 5"]);
    assert_eq!(becomes(&now, before, &[]), ["4: `RUN new` is gone", "5: after line 4"]);
    let linked = |run: &str| format!("FROM a\n{run}ENV A=1\nCOPY --link x /$A\n");
    assert_eq!(becomes(&linked("RUN a\n"), &linked("RUN b\nRUN a\n"), &[]), ["2: its line changed", "3: after line 2"]);
    assert_eq!(becomes(&linked("RUN a\n"), &linked(""), &[]), [""; 0]);
}

#[test]
fn variables_that_are_gone_count_where_they_are_named() {
    let copy = |env: &str| format!("FROM scratch\n{env}COPY a /$DIR\nCOPY b /$B\n");
    assert_eq!(becomes(&copy("ENV DIR=x\n"), &copy(""), &[]), ["2: variable `DIR` changed", "3: after line 2"]);
    assert_eq!(becomes(&copy("ENV DIR=x B=2\n"), &copy("ENV DIR=x\n"), &[]).len(), 2);
    assert_eq!(becomes(&copy("ENV DIR=x\nENV B=2\n"), &copy("ENV DIR=x\n"), &[]), ["4: variable `B` changed"]);
    assert_eq!(becomes(&copy("ENV DIR=x\n"), &copy("ENV B=2\nENV DIR=x\n"), &[]), ["5: variable `B` changed"]);
}

#[test]
fn the_global_scope_counts_where_it_is_used() {
    let run = "FROM scratch\nARG VERSION\nRUN make $VERSION\n";
    let of = |value: &str| format!("ARG VERSION={value}\n{run}");
    assert_eq!(becomes(&of("1"), &of("2"), &[]), ["4: argument `VERSION` changed"]);
    assert_eq!(becomes(&of("1"), &of("1"), &[]), [""; 0]);
    let derived = format!("ARG TAG\nARG VERSION=x:$TAG\n{run}");
    assert_eq!(becomes(&derived, &derived, &["TAG"]), ["5: argument `VERSION` changed"]);
    assert_eq!(becomes(&derived, &derived, &["OTHER"]), [""; 0]);
    assert_eq!(becomes(&of("1"), &format!("# 1\n{run}"), &[]), ["4: argument `VERSION` changed"]);
    // One that is given is the same whatever the default is.
    let (args, none) = (BTreeMap::from([("VERSION".to_owned(), Some("3".to_owned()))]), BTreeSet::new());
    let (before, now) = (of("1"), of("2"));
    let input = Input { text: &now, target: None, args: &args, platforms: &[] };
    let changes = Changes { before: &before, args: &none, images: &none, ..nothing() };
    assert_eq!(rebuilt(&input, &changes).unwrap(), []);
}

#[test]
fn a_base_that_an_argument_names_counts_and_so_does_what_nothing_needed() {
    let text = "ARG BASE=one\nFROM a AS one\nRUN 1\nFROM b AS two\nRUN 2\nFROM $BASE\nRUN 3\n";
    let two = text.replace("=one", "=two");
    let told = becomes(text, &two, &[]);
    let new = "its stage was not built then";
    let expected =
        [format!("4: {new}"), format!("5: {new}"), "6: stage two changed".to_owned(), "7: after line 6".to_owned()];
    assert_eq!(told, expected);
    assert_eq!(becomes(text, text, &[]), [""; 0]);
    let (args, given) = (BTreeSet::from(["BASE".to_owned()]), BTreeMap::from([("BASE".to_owned(), None)]));
    let text = "ARG BASE\nARG FROM_IT=$BASE\nFROM $FROM_IT\nRUN 3\n";
    let input = Input { text, target: None, args: &given, platforms: &[] };
    let none = BTreeSet::new();
    let steps = rebuilt(&input, &Changes { before: text, args: &args, images: &none, ..nothing() }).unwrap();
    assert_eq!(steps[0].why, Why::Environment("argument `FROM_IT` changed".to_owned()));
    let reached = |copy: &str| format!("FROM a AS one\nRUN 1\nFROM scratch\n{copy}COPY b /\n");
    let told = becomes(&reached(""), &reached("COPY --from=one /x /\n"), &[]);
    assert_eq!(told[..2], [format!("1: {new}"), format!("2: {new}")]);
}

#[test]
fn a_folder_that_came_counts_for_what_is_beneath_it() {
    for (source, path, takes_it) in [
        ("packages/*/package.json", "packages/foo/", true),
        ("packages/*/package.json", "packages/foo/package.json", true),
        ("packages/*/package.json", "packages/foo/other", false),
        ("packages/*/package.json", "other/foo/", false),
        ("src/*.go", "src/", true),
        ("src/a/b", "src/", true),
        ("src/a/b", "src", true),
        ("src/*.go", "src/a.go/b", true),
        ("s*", "src/deep/a", true),
        ("src", "src2/", false),
    ] {
        assert_eq!(takes(source, &change(path)), takes_it, "{source} {path}");
    }
    let mode = Change { path: "src".to_owned(), kind: ChangeKind::Mode, folder: true };
    assert!(takes("src", &mode) && !takes("src/a", &mode));
    let paths = strings(&["go.mod", "src/*.go"]);
    let held = ["go.mod", "src/a.go", "src/"].map(|path| ContextPaths::hold(&paths, &change(path)));
    assert_eq!(held, [true; 3]);
    assert!(!ContextPaths::hold(&paths, &change("docs/")) && ContextPaths::hold(&[], &change("docs/")));
}

#[test]
fn workdir_makes_its_folder_for_the_user_at_the_time_that_is_given() {
    let text = |base: &str, user: &str| format!("FROM a AS base\n{base}FROM base\n{user}WORKDIR /x\nCOPY a b\n");
    let plain = text("", "");
    assert_eq!(becomes(&plain, &text("", "USER 1\n"), &[]), ["4: `USER 1` changed", "5: after line 4"]);
    assert_eq!(becomes(&text("", "USER 1\n"), &plain, &[])[0], "3: `USER 1` is gone");
    assert_eq!(
        becomes(&plain, &text("USER 1\n", ""), &[])[0],
        "4: `USER 1` changed",
        "of the stage that it starts from"
    );
    assert_eq!(becomes(&text("", "USER 2\n"), &text("USER 1\n", "USER 2\n"), &[]), [""; 0], "set again");
    assert_eq!(becomes(&plain, &plain, &["SOURCE_DATE_EPOCH"])[0], "3: argument `SOURCE_DATE_EPOCH` changed");
}

#[test]
fn mounts_of_memory_links_and_arguments_without_a_value_use_nothing() {
    let text = "FROM scratch\nRUN --mount=type=tmpfs,target=/t x\nRUN --mount=type=bind,target=/c y\n";
    let (files, none) = ([change("a")], BTreeSet::new());
    let changes = Changes { before: text, args: &none, images: &none, files: &files, ..nothing() };
    assert_eq!(again(text, &changes), ["3: a changed"]);
    let text = |run: &str, flags: &str| format!("FROM scratch\nRUN {run}\nCOPY {flags} a /a\nRUN c\n");
    let link = |flags| becomes(&text("1", flags), &text("2", flags), &[]);
    assert_eq!(link("--link"), ["2: its line changed", "4: after line 2"]);
    for other in ["--link=false", "--link --chmod=1", "--chown=1"] {
        assert_eq!(link(other)[1], "3: after line 2", "{other}");
    }
    let run = "FROM scratch\nRUN c\n";
    assert_eq!(becomes(run, "FROM scratch\nARG X\nRUN c\n", &[]), [""; 0]);
    assert_eq!(becomes("FROM scratch\nARG X\nRUN c\n", run, &[]), [""; 0]);
    assert_eq!(becomes(run, "FROM scratch\nARG X\nRUN c\n", &["X"]), ["3: argument `X` changed"]);
}

#[test]
fn what_copies_too_many_variables_is_not_looked_into() {
    let env: Vec<String> = (0..400).map(|n| format!("A{n}={}", "x".repeat(400))).collect();
    let stages = format!("FROM scratch AS s\nENV {}\n{}", env.join(" "), "FROM s\nENV B=1\n".repeat(300));
    let copies: Vec<String> = (1..300).map(|n| format!("COPY --from={n} / /")).collect();
    let text = format!("{stages}FROM scratch\n{}\n", copies.join("\n"));
    let (none, args) = (BTreeSet::new(), BTreeMap::new());
    let input = Input { text: &text, target: None, args: &args, platforms: &[] };
    let told = rebuilt(&input, &Changes { before: &text, args: &none, images: &none, ..nothing() });
    assert!(told.unwrap_err().reason.contains("variables"));
}
