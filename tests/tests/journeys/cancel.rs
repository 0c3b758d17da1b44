//! Cancelled jobs end at once, and nothing of them runs on.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use slipway_journeys::api::{Api, SmallTree};
use slipway_journeys::service::Options;
use slipway_journeys::wait::{SOON, until};
use slipway_journeys::{Project, SectionImage, Service, process, random};

/// What issue 2 allows.
const LIMIT: Duration = Duration::from_secs(2);

fn gone(argv: &[&str], since: Instant) {
    until(&format!("{argv:?} has ended"), SOON, || process::running(argv).is_empty().then_some(()));
    assert!(since.elapsed() < LIMIT, "{argv:?} ended after {:?}", since.elapsed());
}

fn runs(argv: &[&str]) {
    until(&format!("{argv:?} runs"), SOON, || (!process::running(argv).is_empty()).then_some(()));
}

#[test]
fn job_cancel_stops_a_sleeping_command_and_everything_it_started() {
    let service = Service::shared();
    for image in SectionImage::EACH {
        everything_is_stopped(&service.team().project(), image);
    }
}

fn everything_is_stopped(app: &Project, image: SectionImage) {
    let [one, two, three] = [(); 3].map(|()| process::unique_seconds());
    app.deploy_in(image, &[&format!("sleep {one} & setsid sleep {two} & sleep {three}; echo never"), "echo never"]);
    let watching = app.start_events(&["deploy"]);
    for seconds in [&one, &two, &three] {
        runs(&["sleep", seconds]);
    }
    let asked = Instant::now();
    app.team.slipway(["job", "cancel", &watching.job()]).ok();
    for seconds in [&one, &two, &three] {
        gone(&["sleep", seconds], asked);
    }
    let run = watching.finish().expect(1);
    assert_eq!(run.last("job.done")["status"], "cancelled");
    assert!(!run.said().contains("never"));
    assert_eq!(app.team.show(&run.job())["state"], "cancelled");
    assert_eq!(app.team.slipway(["job", "wait", &run.job()]).status, 1);
}

#[test]
fn ctrl_c_ends_the_job_and_the_status_is_130() {
    let service = Service::shared();
    let (app, seconds) = (service.team().project(), process::unique_seconds());
    app.deploy(&[&format!("sleep {seconds}")]);
    let running = app.start_events(&["deploy"]);
    runs(&["sleep", &seconds]);
    let job = running.job();
    let asked = Instant::now();
    running.signal(Signal::INT);
    gone(&["sleep", &seconds], asked);
    running.finish().expect(130);
    assert_eq!(app.team.show(&job)["state"], "cancelled");
}

#[test]
fn commands_may_clean_up_when_they_are_cancelled() {
    let service = Service::shared();
    for image in SectionImage::EACH {
        let (app, seconds) = (service.team().project(), process::unique_seconds());
        let command = format!("trap 'echo cleaned up; exit 0' TERM; echo ready; sleep {seconds} & wait; echo never");
        app.deploy_in(image, &[&command, "echo never"]);
        let running = app.start_events(&["deploy"]);
        running.says("ready");
        app.team.slipway(["job", "cancel", &running.job()]).ok();
        let run = running.finish().expect(1);
        assert_eq!(run.said(), "ready\ncleaned up\n", "{image:?}");
        assert_eq!(run.last("job.done")["status"], "cancelled");
    }
}

#[test]
fn a_command_that_will_not_end_is_killed_after_its_grace() {
    let service = Service::shared();
    let (app, seconds) = (service.team().project(), process::unique_seconds());
    app.deploy(&[&format!("trap '' TERM INT; echo ready; sleep {seconds}")]);
    let running = app.start_events(&["deploy"]);
    running.says("ready");
    runs(&["sleep", &seconds]);
    let asked = Instant::now();
    app.team.slipway(["job", "cancel", &running.job()]).ok();
    until("it is killed", SOON, || process::running(&["sleep", &seconds]).is_empty().then_some(()));
    let killed = asked.elapsed();
    // Nobody said --grace: 10 s, and some for a machine that is busy.
    assert!((10..20).contains(&killed.as_secs()), "killed {killed:?} after the cancel");
    assert_eq!(running.finish().expect(1).last("job.done")["status"], "cancelled");
}

#[test]
fn a_build_step_is_cancelled() {
    let service = Service::shared();
    let (app, seconds) = (service.team().project(), process::unique_seconds());
    app.image(&format!("FROM debian:trixie-slim\nRUN sleep {seconds}\n"));
    let running = app.start_events(&["build"]);
    runs(&["sleep", &seconds]);
    let asked = Instant::now();
    running.signal(Signal::INT);
    gone(&["sleep", &seconds], asked);
    let run = running.finish().expect(130);
    assert_eq!(run.last("job.done")["status"], "cancelled");
}

#[test]
fn queued_and_syncing_jobs_are_cancelled_without_ever_running() {
    let service = Service::with(Options::default().set("SLIPWAYD_JOBS__MAX_RUNNING", "1"));
    let team = service.team();
    let (first, second, seconds) = (team.project(), team.project(), process::unique_seconds());
    first.deploy(&[&format!("sleep {seconds}")]);
    second.deploy(&["echo never"]);
    let (running, queued) = (first.detach(&["deploy"]), second.detach(&["deploy"]));
    runs(&["sleep", &seconds]);
    assert_eq!(team.show(&queued)["state"], "queued");
    team.slipway(["job", "cancel", &queued]).ok();
    let run = team.attach(&queued).expect(1);
    assert_eq!(run.last("job.done")["status"], "cancelled");
    assert!(run.all("job.started").is_empty() && run.all("command.started").is_empty());

    let api = Api::new(&team);
    let tree = SmallTree::new(&[("a", &random(10))]);
    let syncing = api.syncing(&tree, "echo never").id;
    team.slipway(["job", "cancel", &syncing]).ok();
    assert_eq!(team.show(&syncing)["state"], "cancelled");
    let late = api.send_tree(&syncing, &tree).unwrap_err();
    assert_eq!(late.code(), tonic::Code::FailedPrecondition, "{late}");
    let late = api.check(&syncing).unwrap_err();
    assert_eq!(late.code(), tonic::Code::FailedPrecondition, "{late}");

    // The one that runs is not touched, and has its end still to come.
    assert_eq!(team.show(&running)["state"], "running");
    team.slipway(["job", "cancel", &running]).ok();
    team.attach(&running).expect(1);
}

#[test]
fn a_job_that_has_ended_stays_as_it_is() {
    let service = Service::shared();
    let app = service.team().project();
    app.deploy(&["true"]);
    let job = app.events(&["deploy"]).ok().job();
    app.team.slipway(["job", "cancel", &job]).ok();
    assert_eq!(app.team.show(&job)["state"], "succeeded");
    assert_eq!(app.team.attach(&job).ok().all("job.done").len(), 1);
}
