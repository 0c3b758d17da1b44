//! kill -9 of the service or of the engine at any moment: what was begun is never begun again, and what is said of it is true.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use slipway_journeys::command::Running;
use slipway_journeys::service::Options;
use slipway_journeys::wait::{SOON, until};
use slipway_journeys::{OwnEngine, Project, SectionImage, Service, Team, on_docker, process, random, unique};

/// How often something is killed.
const TIMES: usize = 10;
/// When a job whose engine was killed has to have ended.
const LIMIT: Duration = Duration::from_secs(30);

/// Counts what was really run: each command asks for a page of its own.
struct Counter {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Counter {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, asked) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
        let pages = Arc::clone(&asked);
        // Until the test's process ends.
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut line = String::new();
                let _ = BufReader::new(&stream).read_line(&mut line);
                if let Some(page) = line.split(' ').nth(1) {
                    pages.lock().unwrap().push(page.to_owned());
                }
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        Self { port, asked }
    }

    /// How often each of a deploy's three commands ran.
    fn ran(&self, mark: &str) -> [usize; 3] {
        let asked = self.asked.lock().unwrap();
        [0, 1, 2].map(|index| asked.iter().filter(|page| **page == format!("/{mark}/{index}")).count())
    }

    /// How long a deploy takes that nothing happens to, once the engine knows the images.
    fn time_of_a_deploy(&self, team: &Team) -> Duration {
        let took = [(); 2].map(|()| {
            let (app, mark, begin) = (team.project(), unique("m"), Instant::now());
            self.deploy(&app, SectionImage::Runner, &mark);
            app.events(&["deploy"]).ok();
            assert_eq!(self.ran(&mark), [1, 1, 1]);
            begin.elapsed()
        });
        took[1]
    }

    /// A deploy of an image and three commands.
    fn deploy(&self, app: &Project, image: SectionImage, mark: &str) {
        let ask = if image == SectionImage::Runner { "curl -sS --noproxy ''" } else { "wget -q -O -" };
        let command = |index: usize| format!("{ask} http://127.0.0.1:{}/{mark}/{index}; sleep 0.3", self.port);
        let section = image.deploy_section(&[&command(0), &command(1), &command(2)]);
        app.manifest(&format!("build:\n  app: .\n{}{section}", image.service())).section_image(image);
        app.file("Dockerfile", format!("FROM debian:trixie-slim\nRUN --network=none : {mark}; sleep 0.5\n"));
    }
}

/// Moments of a deploy that takes this long, each time others; a failure names its own.
struct Moments {
    state: u64,
    deploy: Duration,
}

impl Moments {
    fn of(deploy: Duration) -> Self {
        Self { state: SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1, deploy }
    }

    /// xorshift64 (Marsaglia, 2003). Not near its end, which may come sooner this time.
    fn next(&mut self) -> Duration {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.deploy.mul_f64(0.8 * (self.state >> 11) as f64 / (1u64 << 53) as f64)
    }
}

/// A deploy in the middle of which something was killed.
struct Interrupted {
    /// How often each command ran.
    ran: [usize; 3],
    /// The commands that the job's events say were begun.
    started: Vec<u64>,
    /// The job's end.
    done: Value,
    /// Whether the deploy went on when it happened.
    landed: bool,
    /// From then until the job's end.
    took: Duration,
    /// All of it, for a failure's text.
    what: String,
}

impl Interrupted {
    fn succeeded_once(&self) {
        assert_eq!(self.done["status"], "succeeded", "{}", self.what);
        assert_eq!((self.ran, &*self.started), ([1, 1, 1], [0, 1, 2].as_slice()), "{}", self.what);
    }

    /// Nothing that was begun was begun again, all that ran is told, and what had begun nothing succeeded.
    fn is_told(&self) {
        let Self { ran, started, done, what, .. } = self;
        assert!(ran.iter().all(|count| *count <= 1), "twice: {what}");
        let told = |index: u64| started.iter().filter(|known| **known == index).count();
        assert!((0..3).all(|index| told(index) <= 1 && ran[index as usize] <= told(index)), "untold: {what}");
        if done["status"] == "succeeded" {
            assert_eq!(*ran, [1, 1, 1], "{what}");
        } else {
            assert!(!started.is_empty(), "nothing had started: {what}");
            assert_eq!(done["error"]["code"], "outcome_unknown", "{what}");
            assert!(self.took < LIMIT, "after {:?}: {what}", self.took);
        }
    }
}

/// Deploys in this image, and kills something when that time has come.
fn interrupt(
    (counter, team): (&Counter, &Team),
    image: SectionImage,
    moment: impl FnOnce(&Running),
    kill: impl FnOnce(),
) -> Interrupted {
    interrupt_in((counter, &team.project()), image, moment, kill)
}

/// The same in a folder that has more in it.
fn interrupt_in(
    (counter, app): (&Counter, &Project),
    image: SectionImage,
    moment: impl FnOnce(&Running),
    kill: impl FnOnce(),
) -> Interrupted {
    let mark = unique("m");
    counter.deploy(app, image, &mark);
    let running = app.start_events(&["deploy"]);
    moment(&running);
    let (landed, killed) = (running.is_running(), Instant::now());
    kill();
    let run = running.finish();
    let (ran, took) = (counter.ran(&mark), killed.elapsed());
    let started = run.all("command.started").iter().filter_map(|event| event["index"].as_u64()).collect();
    let what = format!("ran {ran:?}, {}", run.story());
    Interrupted { ran, started, done: run.last("job.done").clone(), landed, took, what }
}

/// The same at random moments.
fn at_random_moments((counter, team): (&Counter, &Team), mut kill: impl FnMut(), judge: impl Fn(&Interrupted)) {
    let (mut moments, mut landed) = (Moments::of(counter.time_of_a_deploy(team)), 0);
    for time in 0..TIMES {
        let moment = moments.next();
        let wait = |_: &Running| thread::sleep(moment);
        let mut deploy = interrupt((counter, team), SectionImage::Runner, wait, &mut kill);
        deploy.what = format!("time {time}, after {moment:?}: {}", deploy.what);
        landed += usize::from(deploy.landed);
        if !deploy.landed {
            // The machine has become faster since.
            moments.deploy = moments.deploy.mul_f64(0.7);
        }
        judge(&deploy);
    }
    assert!(landed >= TIMES / 2, "only {landed} times was there something to interrupt");
}

/// A service with this engine, whose commands reach what counts them: on a Docker Engine, whose network leads nowhere, through the
/// service.
fn service_on(engine: &OwnEngine, counter: &Counter) -> Service {
    let allow = format!("\n[runner.network]\nmode = \"restricted\"\nallow = \"127.0.0.1:{}\"\n", counter.port);
    let registry = if on_docker() { allow } else { String::new() };
    Service::with(Options { engines: vec![engine.address()], registry, ..Options::default() })
}

#[test]
fn commands_run_once_whenever_the_service_is_killed() {
    let (engine, counter) = (OwnEngine::start(), Counter::start());
    let service = service_on(&engine, &counter);
    let kill = || {
        service.crash();
        service.start_again();
    };
    at_random_moments((&counter, &service.team()), kill, Interrupted::succeeded_once);
}

#[test]
fn what_ran_is_told_whenever_the_engine_is_killed() {
    let (mut engine, counter) = (OwnEngine::start(), Counter::start());
    let service = service_on(&engine, &counter);
    at_random_moments((&counter, &service.team()), || engine.restart(), Interrupted::is_told);
}

#[test]
fn the_same_is_so_in_images_that_are_not_ours() {
    let (mut engine, counter) = (OwnEngine::start(), Counter::start());
    let service = service_on(&engine, &counter);
    let team = service.team();
    let begun = |running: &Running| drop(running.event("a command begins", |event| event["type"] == "command.started"));
    for image in [SectionImage::Busybox("0"), SectionImage::Busybox("1000:1000")] {
        let kill = || {
            service.crash();
            service.start_again();
        };
        interrupt((&counter, &team), image, begun, kill).succeeded_once();
        let deploy = interrupt((&counter, &team), image, begun, || engine.restart());
        deploy.is_told();
        assert_eq!(deploy.done["status"], "failed", "{}", deploy.what);
    }
}

#[test]
fn commands_end_with_their_engine() {
    let mut engine = OwnEngine::start();
    let service = service_on(&engine, &Counter::start());
    for image in SectionImage::EACH {
        let (app, seconds) = (service.team().project(), process::unique_seconds());
        let command = format!("sleep {seconds}");
        app.deploy_in(image, &["echo first", &command, "echo third"]);
        let deploying = app.start_events(&["deploy"]);
        deploying.event("the second command begins", |event| event["type"] == "command.started" && event["index"] == 1);
        let sleeping = || process::running(&["sleep", &seconds]);
        until("the command runs", SOON, || (sleeping().len() == 1).then_some(()));
        // It stays away: nobody but the agent is there to end the command.
        engine.kill();
        let killed = Instant::now();
        until("the command is gone", LIMIT, || sleeping().is_empty().then_some(()));
        let run = deploying.finish().expect(1);
        assert!(killed.elapsed() < LIMIT, "{image:?}: after {:?}: {}", killed.elapsed(), run.story());
        let error = &run.last("job.done")["error"];
        assert_eq!(error["code"], "outcome_unknown", "{image:?}: {error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(&format!("deploy command 2 ran ({command})")), "{image:?}: {message}");
        assert_eq!((run.all("command.started").len(), &*run.said()), (2, "first\n"), "{image:?}: {}", run.story());
        engine.restart();
    }
}

#[test]
fn an_engine_lost_before_the_first_command_is_tried_again() {
    let (mut engine, counter) = (OwnEngine::start(), Counter::start());
    let service = service_on(&engine, &counter);
    let team = service.team();
    // What makes the way long from the image to the first command: the engine has to get the tree before.
    let noise = random(64 << 20);
    for event in ["build.started", "build.done"] {
        let app = team.project();
        app.file("noise", &noise);
        let moment = |running: &Running| drop(running.event(event, |seen| seen["type"] == event));
        let mut deploy = interrupt_in((&counter, &app), SectionImage::Runner, moment, || engine.restart());
        deploy.what = format!("at {event}: {}", deploy.what);
        assert!(deploy.landed, "{}", deploy.what);
        deploy.succeeded_once();
    }
}
