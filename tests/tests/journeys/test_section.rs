//! What tests have besides commands: artifacts, caches, hosts, what need not be run again; and that they run side by side.

use std::collections::BTreeMap;
use std::fs;

use slipway_journeys::{Run, SectionImage, Service};

const TOOLS: &str = "build:\n  tools: tools\n";
const IN_TOOLS: &str = "image: ${OKTETO_BUILD_TOOLS_IMAGE}";

fn saved(run: &Run) -> Vec<String> {
    let line = |event: &&serde_json::Value| {
        format!("{} {} {}", event["test"].as_str().unwrap(), event["path"].as_str().unwrap(), event["bytes"])
    };
    run.all("artifact.saved").iter().map(line).collect()
}

#[test]
fn artifacts_come_to_the_caller_also_after_a_failure() {
    let service = Service::shared();
    let app = service.team().project();
    app.section_image(SectionImage::Busybox("0"));
    app.manifest(&format!(
        "{TOOLS}test:\n  unit:\n    {IN_TOOLS}\n    context: web\n    artifacts:\n    - reports/**/*.xml\n    - path: cover\n      \
         destination: out/cover\n    - nothing-*\n    - escape/passwd\n    commands:\n    - |\n      mkdir -p reports/a cover; \
         printf one >reports/1.xml; printf three >reports/a/2.xml; echo no >reports/b.txt; echo c >cover/index.html; \
         ln -s /etc escape; echo x >/etc/passwd; head -c 3000000 /dev/urandom >cover/large; sha256sum cover/large | cut -c -64\n      exit 3\n"
    ))
    .file("web/reports/1.xml", "much older, and longer than what comes")
    .file("web/a", "a");
    let run = app.events(&["test"]).expect(1);
    assert_eq!(run.last("job.done")["error"]["code"], "command_failed");
    let expected = [
        "unit reports/1.xml 3",
        "unit reports/a/2.xml 5",
        "unit out/cover/index.html 2",
        "unit out/cover/large 3000000",
    ];
    assert_eq!(saved(&run), expected, "{}", run.story());
    let read = |path: &str| fs::read(app.path().join("web").join(path)).unwrap();
    assert_eq!((read("reports/1.xml"), read("reports/a/2.xml")), (b"one".to_vec(), b"three".to_vec()));
    assert_eq!(read("out/cover/large").len(), 3_000_000);
    assert_eq!(slipway_context::Digest::of(&read("out/cover/large")).hex(), run.said().trim());
    assert!(!app.path().join("web/reports/b.txt").exists() && !app.path().join("web/escape").exists());
    let warnings: Vec<_> = run.all("warning").iter().map(|event| event["message"].to_string()).collect();
    assert!(warnings.iter().any(|text| text.contains("there is no artifact `nothing-*`")), "{warnings:?}");
    assert!(warnings.iter().any(|text| text.contains("it leads out of the test's folder")), "{warnings:?}");
}

#[test]
fn artifacts_of_a_detached_job_stay_with_it() {
    let service = Service::shared();
    let team = service.team();
    let app = team.project();
    app.manifest(
        "test:\n  a:\n    artifacts: [{path: a.txt, destination: out/}]\n    commands: [echo a >a.txt]\n  b:\n    \
         artifacts: [b.txt]\n    commands: [echo b >b.txt]\n",
    );
    let job = app.slipway(["test", "--detach"]).ok().out().trim().to_owned();
    app.slipway(["job", "wait", &job]).ok();
    assert!(!app.path().join("b.txt").exists());
    app.slipway(["job", "artifacts", &job, "--to", "all"]).ok();
    app.slipway(["job", "artifacts", &job, "--test", "b"]).ok();
    let read = |path: &str| fs::read_to_string(app.path().join(path)).unwrap();
    assert_eq!((read("all/out/a.txt"), read("all/b.txt"), read("b.txt")), ("a\n".into(), "b\n".into(), "b\n".into()));
    assert!(!app.path().join("out").exists());
    let refused = app.slipway(["job", "artifacts", &job, "--test", "c"]).expect(1);
    assert!(refused.stderr.contains("has no artifacts of test `c`"), "{}", refused.stderr);
    // Whose business it is not.
    let other = service.team().project();
    other.slipway(["job", "artifacts", &job]).expect(3);
}

#[test]
fn tests_run_side_by_side_and_a_failure_starts_no_more_of_them() {
    let service = Service::shared();
    let app = service.team().project();
    app.manifest(
        "test:\n  one:\n    commands: [echo one begins; sleep 4; echo one ends]\n  two:\n    \
         commands: [echo two begins; sleep 4; echo two ends]\n  three:\n    depends_on: [one, two]\n    commands: [echo three]\n",
    );
    let run = app.slipway(["test", "--output", "plain"]).ok();
    let out = run.out();
    let place = |text: &str| out.find(text).unwrap_or_else(|| panic!("no `{text}` in {out}"));
    assert!(
        place("test one #1") < place("test two #1 DONE") && place("test two #1") < place("test one #1 DONE"),
        "{out}"
    );
    assert!(out.contains("one | one ends\n") && out.contains("two | two ends\n"), "{out}");
    assert!(place("test three #1") > place("test one #1 DONE").max(place("test two #1 DONE")), "{out}");

    app.manifest(
        "test:\n  bad:\n    commands: [sleep 1; exit 7]\n  slow:\n    commands: [sleep 5, echo to its end]\n  \
         never:\n    depends_on: [bad]\n    commands: [echo never]\n",
    );
    let run = app.events(&["test"]).expect(1);
    assert_eq!(run.said(), "to its end\n", "{}", run.story());
    assert!(run.last("job.done")["error"]["message"].as_str().unwrap().starts_with("test `bad` command 1 failed"));
}

/// What a run finds in its caches, on one line: the files, how many runs there were before it, and the mode of a new one.
const COUNT: &str = "echo $(ls -A store) . $(ls -A /root/kept) . $(stat -c %a store)\necho x >store/$OKTETO_TEST_NAME\necho x >>/root/kept/more\n\
                     wc -l </root/kept/more\n";

#[test]
fn caches_are_found_again_and_are_each_tests_own() {
    let service = Service::shared();
    let own = "caches: [store, /root/kept]\n    commands: [sh count.sh]\n";
    let project = || {
        let app = service.team().project();
        app.section_image(SectionImage::Busybox("1000"));
        app.manifest(&format!(
            "{TOOLS}test:\n  unit:\n    {IN_TOOLS}\n    {own}  other:\n    depends_on: [unit]\n    {own}"
        ));
        app.file("count.sh", COUNT).file("store/in-the-tree", "hidden");
        app
    };
    let app = project();
    let said = |args: &[&str]| app.events(args).ok().said();
    assert_eq!(said(&["test", "unit"]), ". . 777\n1\n");
    assert_eq!(said(&["test"]), "unit . more . 777\n2\n. . 777\n1\n", "another test has its own");
    assert!(!app.path().join("store/unit").exists());
    assert_eq!(said(&["test", "unit", "--no-cache"]), ". . 777\n1\n");
    assert_eq!(said(&["test", "unit"]), "unit . more . 777\n2\n", "what that run left is there");
    let listed = app.slipway(["cache", "list"]).ok().out();
    assert!(listed.contains("/okteto/src/store") && listed.contains("/root/kept"), "{listed}");
    // Of the same name elsewhere.
    let elsewhere = service.team().named_project(&app.name);
    elsewhere.section_image(SectionImage::Busybox("1000"));
    elsewhere.manifest(&format!("{TOOLS}test:\n  unit:\n    {IN_TOOLS}\n    {own}")).file("count.sh", COUNT);
    assert_eq!(elsewhere.events(&["test", "unit"]).ok().said(), ". . 777\n1\n");
}

#[test]
fn hosts_are_known_to_the_commands() {
    let service = Service::shared();
    let app = service.team().project();
    app.section_image(SectionImage::Busybox("0"));
    let hosts = "hosts: ['db:10.11.12.13', {hostname: six.example, ip: '${SIX}'}]";
    app.manifest(&format!(
        "{TOOLS}test:\n  unit:\n    {IN_TOOLS}\n    {hosts}\n    commands: [\"grep -E 'db|six' /etc/hosts | tr '\\t' ' '\"]\n  runner:\n    \
         {hosts}\n    commands: [getent hosts db six.example | tr -s ' ']\n  none:\n    commands: ['! getent hosts db']\n"
    ));
    let run = app.events_with(&["test"], &[("SIX", "fd00::1")]).ok();
    for test in ["unit", "runner"] {
        let said: String = run
            .all("command.log")
            .iter()
            .filter(|event| event["test"] == test)
            .map(|event| event["text"].as_str().unwrap())
            .collect();
        assert!(said.contains("10.11.12.13 db") && said.contains("fd00::1 six.example"), "{test}: {said}");
    }
}

#[test]
fn a_test_is_skipped_while_nothing_that_goes_into_it_changes() {
    let service = Service::shared();
    let team = service.team();
    let app = team.project();
    app.section_image(SectionImage::Busybox("0"));
    let manifest = |first: &str| {
        format!(
            "{TOOLS}test:\n  unit:\n    {IN_TOOLS}\n    context: src\n    skipIfNoFileChanges: true\n    commands: [\"{first}\"]\n  \
             e2e:\n    depends_on: [unit]\n    context: other\n    skipIfNoFileChanges: true\n    commands: [echo e2e]\n  \
             always:\n    context: other\n    commands: [echo always]\n"
        )
    };
    app.manifest(&manifest("echo unit")).file("src/a", "1").file("other/b", "1");
    // What ran, and which job each skipped test repeats.
    let run = |args: &[&str]| {
        let run = app.events(&[&["test"], args].concat()).ok();
        let mut ran: Vec<_> = run.all("command.started").iter().map(|event| event["test"].to_string()).collect();
        ran.sort();
        let skipped: BTreeMap<_, _> =
            run.all("test.skipped").iter().map(|event| (event["test"].to_string(), event["job"].to_string())).collect();
        (ran.join(" ").replace('"', ""), skipped, format!("\"{}\"", run.job()))
    };
    let all = "always e2e unit";
    let (ran, skipped, first) = run(&[]);
    assert_eq!((ran.as_str(), skipped.len()), (all, 0));
    let (ran, skipped, _) = run(&[]);
    assert_eq!((ran.as_str(), skipped.len()), ("always", 2));
    assert!(skipped.values().all(|job| *job == first), "{skipped:?} {first}");
    // Another time of the file is no other file; another file of another test is no input.
    app.file("src/a", "1");
    assert_eq!(run(&[]).0, "always");
    app.file("other/b", "2");
    assert_eq!(run(&[]).0, "always e2e");
    app.file("src/a", "2");
    assert_eq!(run(&[]).0, all, "who depends on one that changed runs as well");
    assert_eq!(run(&["--var", "MINE=1"]).0, all);
    assert_eq!(run(&["--var", "MINE=1"]).0, "always");
    app.manifest(&manifest("echo other"));
    assert_eq!(run(&["unit"]).0, "unit");
    app.manifest(&manifest("echo unit"));
    assert_eq!(run(&["unit"]).0, "", "what it was before has succeeded before");
    assert_eq!(run(&["--no-cache"]).0, all);
    team.slipway(["variable", "set", "--scope", "namespace", "DB=1"]).ok();
    assert_eq!(run(&["unit"]).0, "unit");
    // A failure is never a reason to skip.
    app.manifest(&manifest("exit 1"));
    for _ in 0..2 {
        assert_eq!(app.events(&["test", "unit"]).expect(1).all("command.started").len(), 1);
    }
}

#[test]
fn a_skipped_test_brings_what_it_left_or_runs_again() {
    let service = Service::shared();
    let app = service.team().project();
    app.section_image(SectionImage::Busybox("0"));
    app.manifest(&format!(
        "{TOOLS}test:\n  unit:\n    {IN_TOOLS}\n    context: src\n    skipIfNoFileChanges: true\n    artifacts: [out/]\n    commands:\n    \
         - mkdir out; echo report >out/a.txt\n"
    ))
    .file("src/a", "1");
    let first = app.events(&["test"]).ok();
    let file = app.path().join("src/out/a.txt");
    fs::remove_dir_all(file.parent().unwrap()).unwrap();
    let run = app.events(&["test"]).ok();
    assert_eq!(run.last("test.skipped")["job"], first.job());
    assert_eq!((saved(&run), fs::read_to_string(&file).unwrap()), (saved(&first), "report\n".to_owned()));
    let exports = |job: &str| service.data_dir().join("exports").join(job);
    // That of the first job is no longer needed, as the second one has it, too; but it is the one that is named.
    fs::remove_dir_all(exports(&first.job())).unwrap();
    fs::remove_dir_all(file.parent().unwrap()).unwrap();
    let run = app.events(&["test"]).ok();
    assert_eq!(run.all("test.skipped").len(), 0, "what it left has gone: {}", run.story());
    assert_eq!(fs::read_to_string(&file).unwrap(), "report\n");
}
