//! slipwayd with its own data directory and ports.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::team::Team;
use crate::wait::{SOON, until};
use crate::{imported, process, program};

/// A service. Dropping it ends it, its registry and its jobs, and removes its data.
#[derive(Debug)]
pub struct Service {
    dir: TempDir,
    listen: SocketAddr,
    registry: SocketAddr,
    env: Vec<(String, String)>,
    disk: Option<Disk>,
    registry_settings: String,
    child: Mutex<Option<Child>>,
}

/// What may be different from `slipwayd --dev`.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// More of slipwayd's environment.
    pub env: Vec<(String, String)>,
    /// A disk of its own, which is gone when slipwayd ends.
    pub disk: Option<Disk>,
    /// More of `[registry]` in the configuration file (TOML).
    pub registry: String,
    /// Addresses of several engines, instead of the one that the tests use.
    pub engines: Vec<String>,
    /// More of each of them (TOML).
    pub each_engine: &'static str,
}

/// A small disk, by its size in bytes.
#[derive(Debug, Clone, Copy)]
pub enum Disk {
    /// The blobs are on it.
    Blobs(u64),
    /// All data are.
    Data(u64),
}

impl Options {
    /// Sets a variable of slipwayd's environment.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }
}

impl Service {
    /// The one that tests share which do nothing to it. It ends with the last test that uses it.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Service>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(service) = shared.upgrade() {
            return service;
        }
        let service = Arc::new(Self::start());
        *shared = Arc::downgrade(&service);
        service
    }

    /// One of one's own.
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    /// One of one's own, with settings.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn with(options: Options) -> Self {
        let is_usual = options.env.is_empty() && options.disk.is_none() && options.registry.is_empty();
        let service = Self::prepare(options);
        let registry = service.data_path().join("registry/data");
        // A disk of its own is not there yet, and another registry has its own content.
        if service.disk.is_none() && !service.is_external() {
            imported::give(&registry);
        }
        service.start_again();
        if is_usual {
            imported::keep(&registry);
        }
        service
    }

    /// Its folder and ports; nothing runs yet.
    pub fn prepare(options: Options) -> Self {
        let parent = std::env::var_os("SLIPWAY_JOURNEYS_DIR").map(PathBuf::from);
        let parent = parent.unwrap_or_else(|| crate::target_dir().join("journeys"));
        fs::create_dir_all(&parent).expect("make a folder under target");
        let dir = tempfile::Builder::new().prefix("service-").tempdir_in(parent).expect("make a data directory");
        let mut env = options.env;
        if options.engines.is_empty() {
            env.insert(0, ("SLIPWAYD_ENGINE__ADDRESS".to_owned(), crate::engine()));
        }
        let (listen, registry) = (free_address(), free_address());
        let Options { disk, registry: settings, engines, each_engine, .. } = options;
        let engine = |address: &String| format!("\n[[engines]]\naddress = \"{address}\"\n{each_engine}");
        let registry_settings = settings + &engines.iter().map(engine).collect::<String>();
        Self { dir, listen, registry, env, disk, registry_settings, child: Mutex::new(None) }
    }

    /// Starts it over the data that are there, and waits until it is ready.
    ///
    /// # Panics
    /// When it ends instead.
    pub fn start_again(&self) {
        crate::engine_socket();
        self.spawn();
        self.ready();
    }

    /// `slipwayd verify` over its data, whether it runs or not.
    pub fn verify(&self) -> crate::Run {
        let mut command = Command::new(crate::program("slipwayd"));
        command.args(["--dev", "--config"]).arg(self.config()).arg("verify");
        crate::command::start(command, Some(self.log_path())).finish()
    }

    /// Waits until it is ready.
    ///
    /// # Panics
    /// When it ends instead.
    pub fn ready(&self) {
        until("slipwayd is ready", SOON, || {
            if let Some(status) = self.child().as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                panic!("slipwayd ended with {status}:\n{}", self.log());
            }
            (self.http_status("/readyz") == Some(200)).then_some(())
        });
    }

    /// Starts it, and does not wait.
    ///
    /// # Panics
    /// When it runs already.
    pub fn spawn(&self) {
        assert!(self.child().is_none(), "it runs");
        // A file, so that every process of the service has the folder in its command line, by which it is found.
        let config = self.config();
        let settings = format!(
            "data_dir = \"{}\"\nlisten = \"{}\"\nlog = \"info,slipway_builder=debug\"\n[registry]\n{}{}",
            self.data_path().display(),
            self.listen,
            if self.is_external() { String::new() } else { format!("listen = \"{}\"\n", self.registry) },
            self.registry_settings
        );
        fs::write(&config, settings).expect("write the configuration");
        let log = File::options().create(true).append(true).open(self.log_path()).expect("open the log");
        let child = self
            .program()
            .arg("--dev")
            .arg("--config")
            .arg(&config)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOME", self.dir.path())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("start slipwayd");
        *self.child() = Some(child);
    }

    /// slipwayd; with a small disk in a mount namespace of its own, where nobody else sees the file system.
    fn program(&self) -> Command {
        let (bytes, folder) = match self.disk {
            None => return Command::new(program("slipwayd")),
            Some(Disk::Blobs(bytes)) => (bytes, self.data_path().join("blobs")),
            Some(Disk::Data(bytes)) => (bytes, self.data_path()),
        };
        fs::create_dir_all(&folder).expect("make the folder of the disk");
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "sh", "-c", "mount -t tmpfs -o size=$0 small \"$1\" && shift && exec \"$@\""]);
        command.arg(bytes.to_string()).arg(&folder).arg(program("slipwayd"));
        command
    }

    /// The folder of the blobs as slipwayd sees it, also when it is on a disk of its own.
    pub fn blobs_dir(&self) -> PathBuf {
        self.seen(&self.data_path().join("blobs"))
    }

    fn seen(&self, path: &Path) -> PathBuf {
        let id = self.child().as_ref().expect("it runs").id();
        PathBuf::from(format!("/proc/{id}/root")).join(path.strip_prefix("/").expect("an absolute path"))
    }

    fn is_external(&self) -> bool {
        self.env.iter().any(|(name, value)| name == "SLIPWAYD_REGISTRY__KIND" && value == "external")
    }

    /// kill -9.
    pub fn crash(&self) {
        let mut child = self.child().take().expect("it runs");
        child.kill().expect("kill slipwayd");
        child.wait().expect("wait for slipwayd");
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let id = self.child().as_ref().expect("it runs").id();
        process::signal(i32::try_from(id).expect("a process id"), signal);
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Panics
    /// When it does not end, or not well.
    pub fn stop(&self) {
        self.signal(Signal::TERM);
        let mut child = self.child().take().expect("it runs");
        let status = until("slipwayd ends after SIGTERM", SOON, || child.try_wait().expect("wait for slipwayd"));
        assert!(status.success(), "slipwayd ended with {status} (signal {:?}):\n{}", status.signal(), self.log());
    }

    /// Waits until it ends by itself, and gives its exit code and its log.
    pub fn ended(&self) -> (Option<i32>, String) {
        let mut child = self.child().take().expect("it runs");
        let status = until("slipwayd ends by itself", SOON, || child.try_wait().expect("wait for slipwayd"));
        (status.code(), self.log())
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Where its registry is: the host in image names.
    pub fn registry(&self) -> SocketAddr {
        self.registry
    }

    /// Its data.
    pub fn data_dir(&self) -> PathBuf {
        let path = self.data_path();
        if matches!(self.disk, Some(Disk::Data(_))) { self.seen(&path) } else { path }
    }

    /// Where it has them itself.
    fn data_path(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("slipwayd.toml")
    }

    /// The process, which has to run.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child().as_ref().expect("it runs").id()).expect("a process id")
    }

    /// The folder of a job.
    pub fn job_dir(&self, job: &str) -> PathBuf {
        self.data_dir().join("jobs").join(job)
    }

    /// The first admin's token.
    pub fn admin_token(&self) -> String {
        fs::read_to_string(self.data_dir().join("admin.token")).expect("read admin.token").trim().to_owned()
    }

    /// Where its log is.
    pub fn log_path(&self) -> PathBuf {
        self.dir.path().join("slipwayd.log")
    }

    /// Its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// A new namespace with a token that opens it and nothing else.
    pub fn team(&self) -> Team {
        Team::new(self)
    }

    /// The admin, in the namespace `dev`.
    pub fn admin(&self) -> Team {
        Team::admin(self)
    }

    /// The processes of a job that run: one, or none.
    pub fn job_processes(&self, job: &str) -> Vec<process::Process> {
        process::mentioning(&self.job_dir(job).to_string_lossy())
    }

    /// `GET path`, without a token.
    pub fn http_status(&self, path: &str) -> Option<u16> {
        http_status(self.listen, path)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(mut child) = self.child().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        // Its registry and its jobs, which outlive it.
        let ours = self.dir.path().to_string_lossy().into_owned() + "/";
        let end = std::time::Instant::now() + Duration::from_secs(10);
        loop {
            let left = process::mentioning(&ours);
            if left.is_empty() || std::time::Instant::now() > end {
                break;
            }
            for process in &left {
                process::kill(process.pid);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The status of `GET path`; none when nobody answers.
pub fn http_status(address: SocketAddr, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    // In one piece: a server that answers after the first would reset the connection over the rest.
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

/// An address on the loopback that nobody has, below the ports that the kernel gives to outgoing connections.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 9000).expect("small");
    loop {
        let port = 22_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 9000;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if is_free(address).is_ok() {
            return address;
        }
    }
}

/// Bound, and not listened on: a process that is just being started may hold our descriptor until it runs its program, and
/// would be in the way of whoever listens there next.
fn is_free(address: SocketAddr) -> rustix::io::Result<()> {
    use rustix::net;
    let socket = net::socket_with(net::AddressFamily::INET, net::SocketType::STREAM, net::SocketFlags::CLOEXEC, None)?;
    net::sockopt::set_socket_reuseaddr(&socket, true)?;
    net::bind(&socket, &address)
}

/// The end of a file, for a failure's text.
pub(crate) fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}
