use slipway_proto::v1::{
    ArtifactSaved, BuildDone, BuildSkipped, BuildStarted, CommandDone, CommandLog, CommandStarted, JobBefore, JobDone,
    JobError, JobQueued, JobStarted, JobStatus, OutputStream, StepDone, StepLog, StepStarted, SyncDone, TestSkipped,
    Warning,
};

use super::*;

/// What a renderer makes of these events, both streams as a terminal would show them.
fn shown(events: Vec<(u32, Kind)>) -> String {
    let (mut plain, mut text) = (Plain::default(), Vec::new());
    for (seq, (millis, kind)) in (1..).zip(events) {
        let time = Timestamp { seconds: 100 + i64::from(millis / 1000), nanos: (millis % 1000 * 1_000_000) as i32 };
        let event = Event { seq, time: Some(time), job: "0190-job".to_owned(), kind: Some(kind) };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        plain.event(&event, &mut out, &mut err).unwrap();
        text.extend(out);
        text.extend(err);
    }
    plain.finish(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

fn step(step: u32, name: &str) -> Kind {
    Kind::StepStarted(StepStarted { service: "app".to_owned(), step, name: name.to_owned() })
}

fn step_done(step: u32, name: &str, cached: bool, error: Option<&str>) -> Kind {
    let (service, name, error) = ("app".to_owned(), name.to_owned(), error.map(str::to_owned));
    Kind::StepDone(StepDone { service, step, name, cached, duration_ms: 1250, error })
}

fn log(step: u32, stream: OutputStream, text: &str) -> Kind {
    let (service, stream, text) = ("app".to_owned(), stream.into(), text.as_bytes().to_vec());
    Kind::StepLog(StepLog { service, step, stream, text })
}

fn output(text: &str) -> Kind {
    let (section, stream, text) = ("deploy".to_owned(), OutputStream::Stdout.into(), text.as_bytes().to_vec());
    Kind::CommandLog(CommandLog { section, test: None, index: 0, stream, text })
}

fn build_done(service: &str) -> Kind {
    let (image, digest) = (format!("reg/dev/{service}@sha256:1"), "sha256:1".to_owned());
    Kind::BuildDone(BuildDone { service: service.to_owned(), image, digest, duration_ms: 2900, ..BuildDone::default() })
}

fn done(status: JobStatus, error: Option<JobError>) -> Kind {
    Kind::JobDone(JobDone { status: status.into(), error })
}

#[test]
fn a_deploy_that_succeeds() {
    let sync = SyncDone { files: 120, bytes: 1_234_567, sent_bytes: 999, reused_bytes: 1_233_568, duration_ms: 210 };
    let skipped = BuildSkipped {
        service: "base".to_owned(),
        reason: "the image is there".to_owned(),
        image: "reg/dev/base@sha256:2".to_owned(),
        digest: "sha256:2".to_owned(),
        names: Vec::new(),
    };
    let command =
        |name: &str| CommandStarted { section: "deploy".to_owned(), test: None, index: 0, name: name.to_owned() };
    let ended =
        |exit_code| CommandDone { section: "deploy".to_owned(), test: None, index: 0, exit_code, duration_ms: 340 };
    let warning = Warning { message: "look".to_owned(), place: Some("okteto.yaml:3:1".to_owned()) };
    let shop = JobBefore { job: "j".to_owned(), kind: "deploy".to_owned(), environment: "shop".to_owned() };
    let text = shown(vec![
        (0, Kind::SyncDone(sync)),
        (0, Kind::JobQueued(JobQueued { position: 3, behind: None })),
        (0, Kind::JobQueued(JobQueued { position: 1, behind: None })),
        (0, Kind::JobQueued(JobQueued { position: 2, behind: Some(shop) })),
        (10, Kind::JobStarted(JobStarted { engine: "unix:///run/buildkit/buildkitd.sock".to_owned() })),
        (10, Kind::Warning(warning)),
        (20, Kind::BuildSkipped(skipped)),
        (20, Kind::BuildStarted(BuildStarted { service: "app".to_owned(), engine: "docker://".to_owned() })),
        (30, step(1, "[1/2] FROM debian")),
        (30, step_done(1, "[1/2] FROM debian", true, None)),
        (40, step(2, "[2/2] RUN make")),
        (540, log(2, OutputStream::Stdout, "one\ntw")),
        (1340, log(2, OutputStream::Stderr, "note\r\n")),
        (1540, log(2, OutputStream::Stdout, "o\nno end")),
        (1640, step_done(2, "[2/2] RUN make", false, None)),
        (2900, build_done("app")),
        (3000, Kind::CommandStarted(command("echo a\nexit 0\n"))),
        (3010, output("raw, no end")),
        (3020, Kind::CommandDone(ended(0))),
        (3030, Kind::CommandStarted(command("exit 7"))),
        (3040, Kind::CommandDone(ended(7))),
        (3050, done(JobStatus::Succeeded, None)),
    ]);
    insta::assert_snapshot!(text);
}

#[test]
fn a_build_that_fails() {
    let name = "[2/2] RUN echo before-it && exit 93";
    let error = JobError {
        code: "build_failed".to_owned(),
        message: "build of `app` failed: Dockerfile:2: exit code: 93\n   1 | FROM debian\n>> 2 | RUN echo before-it && exit 93\n"
            .to_owned(),
        hint: Some("look at line 2".to_owned()),
    };
    let text = shown(vec![
        (0, Kind::BuildStarted(BuildStarted { service: "app".to_owned(), engine: "docker://".to_owned() })),
        (30, step(2, name)),
        (540, log(2, OutputStream::Stdout, "before-it\n")),
        (640, step_done(2, name, false, Some("process did not complete successfully: exit code: 93"))),
        (700, done(JobStatus::Failed, Some(error))),
    ]);
    insta::assert_snapshot!(text);
}

#[test]
fn a_log_from_its_middle() {
    let text = shown(vec![
        (0, log(4, OutputStream::Stdout, "no start was seen\nnor an end")),
        (9, done(JobStatus::Cancelled, None)),
    ]);
    insta::assert_snapshot!(text);
}

#[test]
fn tests_that_run_side_by_side_are_told_apart() {
    let (section, named) = (|| "test".to_owned(), |test: &str| Some(test.to_owned()));
    let started = |test: &str| {
        Kind::CommandStarted(CommandStarted {
            section: section(),
            test: named(test),
            index: 0,
            name: "make".to_owned(),
        })
    };
    let said = |test: &str, text: &str| {
        let (stream, text) = (OutputStream::Stdout.into(), text.as_bytes().to_vec());
        Kind::CommandLog(CommandLog { section: section(), test: named(test), index: 0, stream, text })
    };
    let ended = |test: &str, exit_code| {
        let (test, duration_ms) = (named(test), 1000);
        Kind::CommandDone(CommandDone { section: section(), test, index: 0, exit_code, duration_ms })
    };
    let artifact = ArtifactSaved { path: "out/a.xml".to_owned(), bytes: 12, test: "unit".to_owned() };
    let text = shown(vec![
        (0, started("lint")),
        (1, said("lint", "alone\nhalf")),
        (2, started("unit")),
        (3, said("lint", " a line\n")),
        (4, said("unit", "one\ntw")),
        (5, said("lint", "two\nthr")),
        (6, said("unit", "o\n")),
        (7, ended("lint", 0)),
        (8, said("unit", "no end")),
        (9, ended("unit", 1)),
        (10, Kind::ArtifactSaved(artifact)),
        (11, Kind::TestSkipped(TestSkipped { test: "e2e".to_owned(), job: "0190-before".to_owned() })),
        (12, done(JobStatus::Failed, None)),
    ]);
    insta::assert_snapshot!(text, @"
    job 0190-job
    test lint #1 make
    alone
    half
    test unit #1 make
    lint |  a line
    unit | one
    lint | two
    unit | two
    lint | thr
    test lint #1 DONE 1.0s
    unit | no end
    test unit #1 FAILED (exit code: 1) 1.0s
    test unit artifact out/a.xml: 12 B
    test e2e skipped: nothing changed since job 0190-before
    job failed
    ");
}
