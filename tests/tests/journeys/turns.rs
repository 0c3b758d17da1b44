//! Jobs that change one environment: who waits tells for whom, who does not want to wait is told so, and how long ends may take.

use std::time::{Duration, Instant};

use slipway_journeys::{SectionImage, Service, process};

#[test]
fn who_waits_says_behind_what() {
    let service = Service::shared();
    for image in [SectionImage::Runner, SectionImage::Busybox("1000:1000")] {
        says_behind_what(&service, image);
    }
    let other = service.team().project();
    other.deploy(&["true"]);
    assert!(other.events(&["deploy"]).ok().last("job.queued").get("behind").is_none(), "nobody is in its way");
}

fn says_behind_what(service: &Service, image: SectionImage) {
    let app = service.team().project();
    // Long enough for both others to be in the queue meanwhile.
    app.deploy_in(image, &["echo begin; sleep ${PAUSE:-0}"]);
    let first = app.start_events(&["deploy", "--var", "PAUSE=6"]);
    first.says("begin");
    let second = app.start_events(&["deploy"]);
    let queued = second.event("the second is in the queue", |event| event["type"] == "job.queued");
    let behind = &queued["behind"];
    assert_eq!([&behind["job"], &behind["kind"], &behind["environment"]], [&*first.job(), "deploy", &*app.name]);
    let third = app.start(["deploy", "--output", "plain"]);
    first.finish().ok();
    let second = second.finish().ok().job();
    let said = third.finish().ok().out();
    let line = format!("job queued: waiting for job {second} (deploy of {})", app.name);
    assert!(said.lines().any(|said| said == line), "`{line}` is not in:\n{said}");
}

#[test]
fn who_does_not_want_to_wait_is_refused_and_told_by_what() {
    let service = Service::shared();
    let app = service.team().project();
    app.manifest("deploy:\n  remote: true\n  commands: [echo begin; sleep 6]\ndestroy:\n  remote: true\n  commands: [\"true\"]\n");
    let first = app.start_events(&["deploy"]);
    first.says("begin");
    for verb in ["deploy", "destroy"] {
        let refused = app.events(&[verb, "--wait=false"]).expect(3);
        assert!(refused.events.is_empty(), "it made no job: {}", refused.story());
        let message = format!("job {} (deploy of {}) changes it", first.job(), app.name);
        assert!(refused.stderr.contains(&message), "{}", refused.stderr);
    }
    // Somewhere else nobody is in its way, and there neither any more once it has ended.
    app.events(&["deploy", "--wait=false", "--name", "elsewhere"]).ok();
    first.finish().ok();
    app.events(&["deploy", "--wait=false"]).ok();
    app.events(&["destroy", "--wait"]).ok();
}

/// What a deploy with a grace period of its own has said when it was cancelled, once for each of these arguments, and how long that
/// took.
fn cancelled(service: &Service, image: SectionImage, grace: &str, asked: &[&str], trap: &str) -> (String, Duration) {
    let (app, seconds) = (service.team().project(), process::unique_seconds());
    let command = format!("trap '{trap}' TERM; echo ready; sleep {seconds} & wait; wait; sleep {seconds}");
    let running = app.deploy_in(image, &[&command]).start_events(&["deploy", "--grace", grace]);
    running.says("ready");
    let began = Instant::now();
    for more in asked {
        let args = ["job", "cancel", &running.job(), more];
        app.team.slipway(args.into_iter().filter(|arg| !arg.is_empty())).ok();
    }
    let run = running.finish().expect(1);
    assert_eq!(run.last("job.done")["status"], "cancelled");
    assert!(process::running(&["sleep", &seconds]).is_empty(), "nothing runs when the job has ended");
    (run.said(), began.elapsed())
}

#[test]
fn the_grace_period_is_the_callers() {
    let service = Service::shared();
    for image in SectionImage::EACH {
        let (_, took) = cancelled(&service, image, "500ms", &[""], "true");
        assert!(took < Duration::from_secs(6), "it took {took:?} in {image:?}");
    }
    let somebody = SectionImage::Busybox("1000:1000");
    let (said, took) = cancelled(&service, somebody, "30s", &[""], "sleep 11; echo cleaned up; exit 0");
    assert!(said.ends_with("cleaned up\n") && took > Duration::from_secs(11), "{said} {took:?}");
    let refused = service.team().project().deploy(&["true"]).events(&["deploy", "--grace", "1h"]).expect(2);
    assert!(refused.stderr.contains("at most 10m"), "{}", refused.stderr);
}

#[test]
fn whoever_cancels_may_give_another_grace_period_and_shorten_it() {
    let service = Service::shared();
    for (grace, asked) in
        [("10m", vec!["--grace=500ms"]), ("10m", vec!["", "--grace=500ms"]), ("1s", vec!["--grace=9m", "--grace=0s"])]
    {
        let (_, took) = cancelled(&service, SectionImage::Runner, grace, &asked, "true");
        assert!(took < Duration::from_secs(6), "it took {took:?} with {asked:?}");
    }
    let (said, _) =
        cancelled(&service, SectionImage::Runner, "0s", &["--grace=30s"], "sleep 1; echo cleaned up; exit 0");
    assert!(said.ends_with("cleaned up\n"), "{said}");
    let refused = service.admin().slipway(["job", "cancel", "x", "--grace", "1h"]).expect(2);
    assert!(refused.stderr.contains("at most 10m"), "{}", refused.stderr);
}
