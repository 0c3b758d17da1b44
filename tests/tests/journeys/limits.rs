//! Sections that use more than they may are ended, and the limit is named.

use slipway_journeys::service::Options;
use slipway_journeys::{Project, Run, SectionImage, Service, process};

/// The error of a deploy that a limit ended.
fn exceeded(run: &Run) -> (String, String) {
    let error = &run.last("job.done")["error"];
    assert_eq!(error["code"], "limit_exceeded", "{}", run.story());
    assert_eq!(run.all("command.started").len(), run.all("command.done").len(), "what ran has ended");
    let text = |field: &str| error[field].as_str().unwrap().to_owned();
    (text("message"), text("hint"))
}

fn ended(app: &Project, image: SectionImage, command: &str) -> (String, String) {
    app.deploy_in(image, &[command, "echo never"]);
    let run = app.events(&["deploy"]).expect(1);
    assert!(!run.said().contains("never"));
    exceeded(&run)
}

#[test]
fn a_section_has_so_much_time_and_no_more() {
    let service = Service::with(Options::default().set("SLIPWAYD_LIMITS__TIME_S", "3"));
    for image in SectionImage::EACH {
        time_is_up(&service.team().project(), image);
    }
}

fn time_is_up(app: &Project, image: SectionImage) {
    let seconds = process::unique_seconds();
    // All its commands together, also where failures end nothing.
    app.manifest_in(image, "destroy", &["sleep 1.6", &format!("sleep {seconds} & sleep 1.6; echo over"), "echo never"]);
    let run = app.events(&["destroy", "--force"]).expect(1);
    let (message, hint) = exceeded(&run);
    assert!(message.contains("destroy command 2") && message.contains("its limit of time, 3 s"), "{message}");
    assert!(hint.contains("`limits.time_s`"), "{hint}");
    assert!(!run.said().contains("never"));
    assert!(process::running(&["sleep", &seconds]).is_empty(), "nothing runs on");
    // What it had made is there, though something of it still runs when the command has ended.
    app.manifest(
        "test:\n  unit:\n    artifacts: [a.txt]\n    commands:\n    - (trap '' TERM; sleep 60) & echo made >a.txt; sleep 60\n",
    );
    let run = app.events_with(&["test", "--grace", "1s"], &[]).expect(1);
    assert!(exceeded(&run).0.contains("its limit of time"), "{}", run.story());
    assert_eq!(std::fs::read_to_string(app.path().join("a.txt")).unwrap(), "made\n", "{}", run.story());
    // Who is quick is left alone.
    app.deploy_in(image, &["sleep 0.5"]);
    app.events(&["deploy"]).ok();
}

#[test]
fn a_namespace_has_limits_of_its_own() {
    let settings = "\n[limits.namespaces.dev]\ntime_s = 2\n".to_owned();
    let service = Service::with(Options { registry: settings, ..Options::default() });
    let command = "sleep 4; echo over";
    for image in SectionImage::EACH {
        let app = service.admin().project();
        app.deploy_in(image, &[command]);
        let run = app.events(&["deploy"]).expect(1);
        let (message, _) = exceeded(&run);
        assert!(message.contains("its limit of time, 2 s") && run.said().is_empty(), "{image:?}: {}", run.story());
        let app = service.team().project();
        app.deploy_in(image, &[command]);
        assert_eq!(app.events(&["deploy"]).ok().said(), "over\n", "{image:?}: another namespace");
    }
}

#[test]
fn each_test_has_the_time_of_a_section() {
    let service = Service::with(Options::default().set("SLIPWAYD_LIMITS__TIME_S", "5"));
    let app = service.team().project();
    app.manifest(
        "test:\n  first:\n    commands: [sleep 3; echo one]\n  second:\n    depends_on: [first]\n    commands: [sleep 3; echo two]\n",
    );
    assert_eq!(app.events(&["test"]).ok().said(), "one\ntwo\n");
}

#[test]
fn memory_processors_time_and_processes_have_limits() {
    let options = Options::default()
        .set("SLIPWAYD_LIMITS__MEMORY_BYTES", "60000000")
        .set("SLIPWAYD_LIMITS__CPU_S", "3")
        .set("SLIPWAYD_LIMITS__PIDS", "30");
    let service = Service::with(options);
    for image in SectionImage::EACH {
        limits_end(&service.team().project(), image);
    }
}

fn limits_end(app: &Project, image: SectionImage) {
    let (message, hint) = ended(app, image, "x=$(head -c 100000000 /dev/zero | tr '\\0' x); sleep 60; echo ${#x}");
    assert!(
        message.contains("its limit of memory, 60000000 bytes") && hint.contains("limits.memory_bytes"),
        "{message} {hint}"
    );
    let (message, hint) = ended(app, image, "while :; do :; done & while :; do :; done");
    assert!(
        message.contains("its limit of processors' time, 3 s") && hint.contains("limits.cpu_s"),
        "{message} {hint}"
    );
    let (message, hint) = ended(app, image, "n=0; while [ $n -lt 50 ]; do sleep 60 & n=$((n+1)); done; wait");
    assert!(message.contains("its limit of 30 processes") && hint.contains("limits.pids"), "{message} {hint}");
    app.deploy_in(image, &["for n in 1 2 3; do echo $n; done; sleep 1"]);
    app.events(&["deploy"]).ok();
}

#[test]
fn output_above_its_rate_waits_and_is_told() {
    let service = Service::with(Options::default().set("SLIPWAYD_LIMITS__OUTPUT_BYTES_PER_S", "200000"));
    for image in SectionImage::EACH {
        let app = service.team().project();
        app.deploy_in(image, &["head -c 800000 /dev/zero | tr '\\0' x"]);
        let run = app.events(&["deploy"]).ok();
        assert_eq!(run.output("stdout").len(), 800_000, "all of it comes");
        assert!(run.last("command.done")["duration_ms"].as_u64().unwrap() > 2000, "{}", run.story());
        let warnings = run.all("warning");
        assert!(
            warnings.len() == 1 && warnings[0]["message"].as_str().unwrap().contains("200000 bytes a second"),
            "{warnings:?}"
        );
    }
}
