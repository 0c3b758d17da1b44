//! kill -9 of the service or of the engine at any moment: what was begun is never begun again, and what is said of it is true.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use slipway_journeys::service::Options;
use slipway_journeys::{Buildkitd, Project, Run, Service, unique};
use tempfile::TempDir;

/// How often something is killed.
const TIMES: usize = 10;
/// About how long a deploy takes, from the command line to its last command.
const DEPLOY: Duration = Duration::from_millis(3500);
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

    /// A deploy of an image and three commands.
    fn deploy(&self, app: &Project, mark: &str) {
        let command = |index: usize| format!("  - curl -sS http://127.0.0.1:{}/{mark}/{index}; sleep 0.3\n", self.port);
        let commands: String = [0, 1, 2].map(command).concat();
        app.manifest(&format!("build:\n  app: .\ndeploy:\n  remote: true\n  commands:\n{commands}"));
        app.file("Dockerfile", format!("FROM debian:trixie-slim\nRUN : {mark}; sleep 0.5\n"));
    }
}

/// Moments of a deploy, each time others; a failure names its own.
struct Moments(u64);

impl Moments {
    fn new() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1)
    }

    /// xorshift64 (Marsaglia, 2003).
    fn next(&mut self) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        DEPLOY.mul_f64((self.0 >> 11) as f64 / (1u64 << 53) as f64)
    }
}

fn engine() -> (Buildkitd, String, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let (engine, address) = Buildkitd::with_mirrors(dir.path());
    (engine, address, dir)
}

fn restart(engine: &mut Buildkitd, dir: &Path) {
    engine.kill();
    *engine = Buildkitd::with_mirrors(dir).0;
}

fn started(run: &Run) -> Vec<u64> {
    run.all("command.started").iter().filter_map(|event| event["index"].as_u64()).collect()
}

#[test]
fn commands_run_once_whenever_the_service_is_killed() {
    let (_engine, address, _dir) = engine();
    let service = Service::with(Options { engines: vec![address], ..Options::default() });
    let (counter, team, mut moments, mut landed) = (Counter::start(), service.team(), Moments::new(), 0);
    for time in 0..TIMES {
        let (app, mark, moment) = (team.project(), unique("m"), moments.next());
        counter.deploy(&app, &mark);
        let running = app.start_events(&["deploy"]);
        thread::sleep(moment);
        landed += usize::from(running.is_running());
        service.crash();
        service.start_again();
        let run = running.finish();
        let what = format!("time {time}, after {moment:?}: {}", run.story());
        assert_eq!(run.last("job.done")["status"], "succeeded", "{what}");
        assert_eq!((counter.ran(&mark), started(&run)), ([1, 1, 1], vec![0, 1, 2]), "{what}");
    }
    assert!(landed >= TIMES / 3, "only {landed} times was there something to interrupt");
}

#[test]
fn what_ran_is_told_whenever_the_engine_is_killed() {
    let (mut engine, address, dir) = engine();
    let service = Service::with(Options { engines: vec![address], ..Options::default() });
    let (counter, team, mut moments, mut landed) = (Counter::start(), service.team(), Moments::new(), 0);
    for time in 0..TIMES {
        let (app, mark, moment) = (team.project(), unique("m"), moments.next());
        counter.deploy(&app, &mark);
        let running = app.start_events(&["deploy"]);
        thread::sleep(moment);
        landed += usize::from(running.is_running());
        let killed = Instant::now();
        restart(&mut engine, dir.path());
        let run = running.finish();
        let (ran, started, done) = (counter.ran(&mark), started(&run), run.last("job.done"));
        let what = format!("time {time}, after {moment:?}: ran {ran:?}, {}", run.story());
        assert!(ran.iter().all(|count| *count <= 1), "twice: {what}");
        let told = |index: u64| started.iter().filter(|known| **known == index).count();
        assert!((0..3).all(|index| told(index) <= 1 && ran[index as usize] <= told(index)), "untold: {what}");
        let succeeded = done["status"] == "succeeded";
        assert!(succeeded || !started.is_empty(), "nothing had started: {what}");
        if succeeded {
            assert_eq!(ran, [1, 1, 1], "{what}");
        } else {
            assert_eq!(done["error"]["code"], "outcome_unknown", "{what}");
            assert!(killed.elapsed() < LIMIT, "after {:?}: {what}", killed.elapsed());
        }
    }
    assert!(landed >= TIMES / 3, "only {landed} times was there something to interrupt");
}
