//! On the real Distribution registry.

use std::net::TcpListener;

use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::*;

const REALM: &str = "http://127.0.0.1:7700/token";

struct Site {
    data: TempDir,
    config: Config,
    shutdown: CancellationToken,
}

impl Site {
    fn new() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("free port").port();
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let config = Config { listen, ..Config::default() };
        Self { data: TempDir::new().expect("temporary directory"), config, shutdown: CancellationToken::new() }
    }

    async fn try_start(&self, realm: &str) -> Result<ManagedRegistry, ManagedError> {
        ManagedRegistry::start(&self.config, self.data.path(), realm, self.shutdown.clone()).await
    }

    async fn start(&self) -> ManagedRegistry {
        self.try_start(REALM).await.expect("start the registry: is it installed (`make setup`)?")
    }

    /// The process that the pid file names.
    fn pid(&self) -> i32 {
        let text = std::fs::read(self.data.path().join("registry/registry.pid")).expect("pid file");
        let entry: serde_json::Value = serde_json::from_slice(&text).expect("json");
        entry["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("pid")
    }

    async fn stop(&self, registry: &ManagedRegistry) {
        self.shutdown.cancel();
        registry.stopped().await;
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        kill_leftover(self.data.path());
    }
}

/// Ends the registry of a test that failed: by design it doesn't end with its parent.
pub(in crate::registry) fn kill_leftover(data_dir: &Path) {
    let directory = data_dir.join("registry");
    let found = directory
        .canonicalize()
        .ok()
        .and_then(|directory| PidFile(&directory.join("registry.pid")).find(&directory.join("config.yml")));
    if let Some(found) = found {
        let stop = async move {
            if let Some(mut running) = Running::adopted(found.process) {
                running.stop(Duration::ZERO).await;
            }
        };
        // A runtime of its own: this runs in `drop`, inside of one or outside of any.
        std::thread::spawn(|| Runtime::new().expect("runtime").block_on(stop)).join().expect("stop");
    }
}

fn runs(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn it_starts_answers_and_stops_without_a_trace() {
    let site = Site::new();
    let registry = site.start().await;
    assert!(registry.healthy().await);
    let pid = site.pid();
    assert!(runs(pid));
    site.stop(&registry).await;
    assert!(!registry.healthy().await);
    assert!(!runs(pid));
    assert!(!site.data.path().join("registry/registry.pid").exists());
    TcpListener::bind(site.config.listen).expect("the address is free again");
}

#[tokio::test]
async fn it_comes_back_when_it_dies() {
    let site = Site::new();
    let registry = site.start().await;
    let first = site.pid();
    let raw = rustix::process::Pid::from_raw(first).expect("pid");
    rustix::process::kill_process(raw, rustix::process::Signal::KILL).expect("kill");
    let started = Instant::now();
    while !registry.healthy().await || site.pid() == first {
        assert!(started.elapsed() < Duration::from_secs(20), "it doesn't come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    site.stop(&registry).await;
}

/// Starts a registry from a runtime that then goes away without any order, as a killed slipwayd does.
fn abandon(site: &Site) -> i32 {
    let runtime = Runtime::new().expect("runtime");
    let registry = runtime.block_on(site.start());
    runtime.shutdown_background();
    std::mem::forget(registry);
    let pid = site.pid();
    assert!(runs(pid));
    pid
}

#[test]
fn it_outlives_a_killed_service_and_is_adopted() {
    let site = Site::new();
    let pid = abandon(&site);
    Runtime::new().expect("runtime").block_on(async {
        let registry = site.start().await;
        assert_eq!(site.pid(), pid, "the same process goes on");
        assert!(registry.healthy().await);
        site.stop(&registry).await;
    });
    assert!(!runs(pid));
}

#[test]
fn it_is_replaced_when_its_settings_changed() {
    let site = Site::new();
    let pid = abandon(&site);
    Runtime::new().expect("runtime").block_on(async {
        let registry = site.try_start("https://builds.example.com/token").await.expect("start");
        assert_ne!(site.pid(), pid);
        assert!(!runs(pid));
        assert!(registry.healthy().await);
        site.stop(&registry).await;
    });
}

#[test]
fn it_is_found_without_its_pid_file() {
    let site = Site::new();
    let pid = abandon(&site);
    std::fs::remove_file(site.data.path().join("registry/registry.pid")).expect("remove");
    Runtime::new().expect("runtime").block_on(async {
        let registry = site.start().await;
        assert!(!runs(pid), "what it was started with is unknown, so it is replaced");
        site.stop(&registry).await;
    });
}

#[test]
fn a_pid_file_that_names_another_process_harms_nobody() {
    let site = Site::new();
    let directory = site.data.path().join("registry");
    std::fs::create_dir_all(&directory).expect("create");
    let mut bystander = std::process::Command::new("sleep").arg("60").spawn().expect("start");
    let pid = i32::try_from(bystander.id()).expect("pid");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let start_time = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(19)).expect("start time");
    let entry = format!("{{\"pid\":{pid},\"start_time\":{start_time},\"settings\":\"x\"}}");
    std::fs::write(directory.join("registry.pid"), entry).expect("write");
    Runtime::new().expect("runtime").block_on(async {
        let registry = site.start().await;
        assert!(runs(pid));
        site.stop(&registry).await;
    });
    assert!(runs(pid));
    bystander.kill().expect("kill");
    bystander.wait().expect("wait");
}

#[tokio::test]
async fn a_taken_port_is_named_with_the_setting() {
    let site = Site::new();
    let _holder = TcpListener::bind(site.config.listen).expect("bind");
    let error = site.try_start(REALM).await.expect_err("taken");
    let text = error.to_string();
    assert!(text.contains(&site.config.listen.to_string()) && text.contains("registry.listen"), "{text}");
}

#[tokio::test]
async fn a_program_that_fails_shows_its_words() {
    let mut site = Site::new();
    site.config.binary = Some("/bin/ls".into());
    let error = site.try_start(REALM).await.expect_err("ls is no registry").to_string();
    assert!(error.contains("ended at once"), "{error}");
    site.config.binary = Some("/no/such/program".into());
    assert!(matches!(site.try_start(REALM).await, Err(ManagedError::Spawn { .. })));
}
