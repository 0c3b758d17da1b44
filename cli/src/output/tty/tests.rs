use std::time::{Duration, Instant};

use slipway_proto::v1::{BuildDone, BuildSkipped, JobDone, JobStatus, StepDone, StepStarted};

use super::*;

fn view(now: Instant) -> View {
    let mut view = View::new(now);
    view.started("api", 3, "[2/5] RUN make -j all && make install", now + Duration::from_millis(1200));
    view.log("api", 3, b"\x1b[32mgreen\x1b[0m one\n10%\r20%\rdone\ntw");
    view.log("api", 3, b"o\nthree\nfour\nunfinished");
    view.started("web", 1, "[1/2] FROM debian", now + Duration::from_secs(2));
    view.done("web", 7);
    view
}

#[test]
fn running_steps_and_what_they_say() {
    let now = Instant::now();
    let lines = |size| view(now).lines(now + Duration::from_millis(3400), size).join("\n");
    insta::assert_snapshot!(lines((76, 24)), @"
    1 done, 3.4s
    > api [2/5] RUN make -j all && make install 2.2s
        two
        three
        four
        unfinished
    > web [1/2] FROM debian 1.4s
    ");
    insta::assert_snapshot!(lines((24, 10)), @"
    1 done, 3.4s
    > api [2/5] RUN ma… 2.2s
        four
        unfinished
    > web [1/2] FROM d… 1.4s
    ");
    // In a very low window only what runs.
    assert_eq!(lines((76, 4)).lines().count(), 3);
}

#[test]
fn what_moves_is_told_in_bytes() {
    let now = Instant::now();
    let mut view = View::new(now);
    view.started("api", 1, "[1/2] FROM debian", now);
    view.moved("api", 1, 12_300_000, 30_100_000);
    view.started("api", 2, "transferring the context of everything", now);
    view.moved("api", 2, 500_000, 0);
    view.moved("gone", 1, 1, 1);
    insta::assert_snapshot!(view.lines(now, (60, 24)).join("\n"), @"
    0 done, 0.0s
    > api [1/2] FROM debian 12.3 MB / 30.1 MB 0.0s
    > api transferring the context of everything 500.0 kB 0.0s
    ");
}

#[test]
fn what_is_queued_or_paused_is_no_step() {
    let now = Instant::now();
    let mut view = View::new(now);
    assert!(view.lines(now, (76, 24)).is_empty());
    view.queued(3, None);
    assert_eq!(view.lines(now + Duration::from_millis(500), (76, 24)), ["queued at position 3, 0.5s"]);
    view.queued(2, Some("waiting for job j (deploy of shop)".to_owned()));
    assert_eq!(view.lines(now + Duration::from_secs(1), (76, 24)), ["waiting for job j (deploy of shop), 1.0s"]);
    view.began();
    assert!(view.lines(now, (76, 24)).is_empty());
    view.started("a", 1, "x", now);
    view.pause(true);
    assert!(view.lines(now, (76, 24)).is_empty());
    view.pause(false);
    assert_eq!(view.lines(now, (76, 24)).len(), 2);
    view.ended("a");
    assert!(view.lines(now, (76, 24)).is_empty());
}

#[tokio::test]
async fn what_has_been_done_is_told_once_and_summed_up() {
    let (mut tty, mut out, mut err) = (Tty::new(), Vec::new(), Vec::new());
    let step = |step, name: &str, cached, duration_ms, error: Option<&str>| {
        let (service, name, error) = ("api".to_owned(), name.to_owned(), error.map(str::to_owned));
        Kind::StepDone(StepDone { service, step, name, cached, duration_ms, error })
    };
    let image = |service: &str| format!("reg/dev/{service}@sha256:1");
    let started = StepStarted { service: "api".to_owned(), step: 1, name: "[internal] load".to_owned() };
    for kind in [
        Kind::StepStarted(started),
        step(1, "[internal] load", false, 20, None),
        step(2, "[1/3] FROM debian", true, 0, None),
        step(3, "[2/3] RUN make", false, 4200, None),
        step(4, "[3/3] RUN false", false, 100, Some("exit code: 1")),
        Kind::BuildDone(BuildDone {
            service: "api".to_owned(),
            image: image("api"),
            duration_ms: 4500,
            ..BuildDone::default()
        }),
        Kind::BuildSkipped(BuildSkipped { service: "web".to_owned(), image: image("web"), ..BuildSkipped::default() }),
        Kind::JobDone(JobDone { status: JobStatus::Succeeded.into(), error: None }),
    ] {
        let event = Event { seq: 1, time: None, job: "j".to_owned(), kind: Some(kind) };
        tty.event(&event, &mut out, &mut err).unwrap();
    }
    insta::assert_snapshot!(String::from_utf8(out).unwrap(), @"
    api CACHED [1/3] FROM debian
    api [2/3] RUN make 4.2s
    api ERROR [3/3] RUN false
    job j
    api build done in 4.5s; the engine asked for 0 B
    api image reg/dev/api@sha256:1
    web build skipped: 
    web image reg/dev/web@sha256:1
    images:
      api  built in 4.5s  reg/dev/api@sha256:1
      web  not changed  reg/dev/web@sha256:1
    job succeeded
    ");
    assert!(err.is_empty());
}
