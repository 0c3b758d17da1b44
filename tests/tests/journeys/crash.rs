//! kill -9 of the service and of its jobs: what runs goes on, once, and nothing is forgotten.

use rustix::process::Signal;
use slipway_journeys::service::Options;
use slipway_journeys::wait::{SOON, until};
use slipway_journeys::{Project, Run, Service, process, unique};

/// Waits until a job has said something; by its log.
fn says(app: &Project, job: &str, text: &str) {
    until(&format!("job {job} says {text}"), SOON, || {
        let run = app.team.slipway(["job", "logs", job, "--output", "json"]);
        run.events.iter().any(|event| event["text"].as_str().is_some_and(|said| said.contains(text))).then_some(())
    });
}

fn kill_job(service: &Service, job: &str) {
    let processes = service.job_processes(job);
    assert_eq!(processes.len(), 1, "one process for one job");
    process::kill(processes[0].pid);
    until("the job's process is gone", SOON, || service.job_processes(job).is_empty().then_some(()));
}

/// An image whose build has said `building-<mark>` two seconds before it ends, and a deploy command after it.
fn slow_build(service: &Service) -> (Project, String) {
    let (app, mark) = (service.team().project(), unique("m"));
    let deploy =
        slipway_journeys::team::deploy_section(&[&format!("echo deployed-{mark}; echo $OKTETO_BUILD_APP_IMAGE")]);
    app.manifest(&format!("build:\n  app: .\n{deploy}"))
        .file("Dockerfile", format!("FROM debian:trixie-slim\nRUN echo building-{mark}; sleep 2\n"));
    (app, mark)
}

fn deployed_once(run: &Run, mark: &str) {
    let said = run.said();
    assert_eq!(said.matches(&format!("deployed-{mark}")).count(), 1, "{said}");
    let image = run.last("build.done")["image"].as_str().unwrap();
    assert!(said.contains(image), "the command got the image's variable: {said}");
    assert_eq!(run.all("command.started").len(), 1);
}

#[test]
fn a_command_goes_on_when_the_service_is_killed_and_every_line_is_there_once() {
    let service = Service::start();
    let (app, mark) = (service.team().project(), unique("m"));
    app.deploy(&[
        &format!("echo {mark}-start; for i in 1 2 3 4 5 6; do echo {mark}-$i; sleep 0.5; done"),
        &format!("echo {mark}-second"),
    ]);
    let watching = app.start_events(&["deploy"]);
    let job = watching.says(&format!("{mark}-2"))["job"].as_str().unwrap().to_owned();
    service.crash();
    // For as long as nobody serves, the job runs on by itself.
    assert_eq!(service.job_processes(&job).len(), 1);
    std::thread::sleep(std::time::Duration::from_secs(1));
    service.start_again();

    let expected: String = ["start", "1", "2", "3", "4", "5", "6", "second"].map(|t| format!("{mark}-{t}\n")).concat();
    assert_eq!(app.team.slipway(["job", "wait", &job]).expect(0).out(), "");
    assert_eq!(app.team.slipway(["job", "logs", &job, "--output", "json"]).ok().said(), expected);
    let watched = watching.finish().ok();
    assert_eq!(watched.said(), expected, "a client that watched all the time missed nothing and saw nothing twice");
    assert_eq!(app.team.show(&job)["state"], "succeeded");
}

#[test]
fn a_job_that_builds_when_the_service_is_killed_succeeds() {
    let service = Service::start();
    let (app, mark) = slow_build(&service);
    let job = app.detach(&["deploy"]);
    says(&app, &job, &format!("building-{mark}"));
    service.crash();
    service.start_again();
    let run = app.team.attach(&job).ok();
    deployed_once(&run, &mark);
    assert_eq!(run.all("build.started").len(), 1, "it was not begun again");
}

#[test]
fn a_job_that_is_killed_with_its_service_before_its_first_command_is_run_again() {
    let service = Service::start();
    let (app, mark) = slow_build(&service);
    let job = app.detach(&["deploy"]);
    says(&app, &job, &format!("building-{mark}"));
    service.crash();
    kill_job(&service, &job);
    service.start_again();
    deployed_once(&app.team.attach(&job).ok(), &mark);
}

#[test]
fn a_jobs_process_that_dies_alone_before_the_first_command_is_replaced() {
    let service = Service::shared();
    let (app, mark) = slow_build(&service);
    let job = app.detach(&["deploy"]);
    says(&app, &job, &format!("building-{mark}"));
    kill_job(&service, &job);
    deployed_once(&app.team.attach(&job).ok(), &mark);
}

#[test]
fn a_command_whose_process_died_is_never_run_twice() {
    let service = Service::shared();
    let (app, seconds) = (service.team().project(), process::unique_seconds());
    app.deploy(&[&format!("echo begun; sleep {seconds}"), "echo later"]);
    let watching = app.start_events(&["deploy"]);
    let job = watching.says("begun")["job"].as_str().unwrap().to_owned();
    // The shell has said so before it starts it.
    until("the command runs", SOON, || (process::running(&["sleep", &seconds]).len() == 1).then_some(()));
    kill_job(&service, &job);
    let run = watching.finish().expect(1);
    let error = &run.last("job.done")["error"];
    assert_eq!(error["code"], "outcome_unknown", "{error}");
    let started = run.last("command.started")["name"].as_str().unwrap();
    assert!(started.contains(&seconds) && error["message"].as_str().unwrap().contains(started), "{error}");
    assert_eq!(run.all("command.started").len(), 1);
    assert_eq!(run.said(), "begun\n");
    until("the command is gone", SOON, || process::running(&["sleep", &seconds]).is_empty().then_some(()));
    // The environment is free again.
    app.deploy(&["echo next"]);
    assert_eq!(app.events(&["deploy"]).ok().said(), "next\n");
}

#[test]
fn the_queue_survives_a_crash() {
    let service = Service::with(Options::default().set("SLIPWAYD_JOBS__MAX_RUNNING", "1"));
    let team = service.team();
    let apps = [team.project(), team.project(), team.project()];
    apps[0].deploy(&["echo first-runs; sleep 2"]);
    apps[1].deploy(&["echo second"]);
    apps[2].deploy(&["echo third"]);
    let jobs = apps.each_ref().map(|app| app.detach(&["deploy"]));
    says(&apps[0], &jobs[0], "first-runs");
    assert_eq!(team.show(&jobs[1])["state"], "queued");
    service.crash();
    service.start_again();
    let runs = jobs.each_ref().map(|job| team.attach(job).ok());
    let start = |run: &Run| run.last("command.started")["time"].as_str().unwrap().to_owned();
    assert!(start(&runs[0]) < start(&runs[1]) && start(&runs[1]) < start(&runs[2]), "in their order");
    assert_eq!(runs[0].said(), "first-runs\n", "once");
}

#[test]
fn a_service_that_is_stopped_waits_for_the_job_that_runs_and_starts_no_other() {
    let service = Service::with(Options::default().set("SLIPWAYD_JOBS__MAX_RUNNING", "1"));
    let team = service.team();
    let (first, second) = (team.project(), team.project());
    first.deploy(&["echo begin; sleep 1.5; echo end", "echo second"]);
    second.deploy(&["echo queued"]);
    let jobs = [first.detach(&["deploy"]), second.detach(&["deploy"])];
    says(&first, &jobs[0], "begin");
    service.stop();
    assert!(service.job_processes(&jobs[0]).is_empty() && service.job_processes(&jobs[1]).is_empty());
    let registry = process::mentioning(&format!("{}/registry/", service.data_dir().display()));
    assert!(registry.is_empty(), "a service that stopped leaves no registry behind: {registry:?}");
    service.start_again();
    assert_eq!(team.attach(&jobs[0]).ok().said(), "begin\nend\nsecond\n");
    assert_eq!(team.attach(&jobs[1]).ok().said(), "queued\n");
}

#[test]
fn a_service_that_is_told_twice_to_stop_leaves_its_job_running() {
    let service = Service::start();
    let app = service.team().project();
    app.deploy(&["echo begin; sleep 3; echo end", "echo second"]);
    let job = app.detach(&["deploy"]);
    says(&app, &job, "begin");
    service.signal(Signal::TERM);
    until("it says that it waits", SOON, || service.log().contains("stop again to leave now").then_some(()));
    service.stop();
    assert_eq!(service.job_processes(&job).len(), 1, "it goes on");
    service.start_again();
    assert_eq!(app.team.attach(&job).ok().said(), "begin\nend\nsecond\n");
}

#[test]
fn a_build_that_runs_while_the_service_is_restarted_in_order_succeeds() {
    let service = Service::start();
    let (app, mark) = slow_build(&service);
    let job = app.detach(&["deploy"]);
    says(&app, &job, &format!("building-{mark}"));
    service.stop();
    service.start_again();
    deployed_once(&app.team.attach(&job).ok(), &mark);
}

#[test]
fn a_registry_that_dies_is_started_again() {
    let service = Service::start();
    let app = service.team().project();
    app.image("FROM scratch\nCOPY x /\n").file("x", unique("x")).build_app();
    let registry = format!("{}/registry/", service.data_dir().display());
    let before = process::mentioning(&registry);
    assert_eq!(before.len(), 1);
    process::kill(before[0].pid);
    let after =
        until("another registry", SOON, || process::mentioning(&registry).into_iter().find(|p| *p != before[0]));
    app.file("x", unique("x")).build_app();
    // After a crash it is adopted, not started a second time.
    service.crash();
    service.start_again();
    assert_eq!(process::mentioning(&registry), [after]);
    app.file("x", unique("x")).build_app();
}
