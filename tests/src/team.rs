//! A namespace and its token; a project folder in it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::command::{self, Run, Running};
use crate::service::Service;
use crate::{program, unique};

/// Who asks the service, and for which namespace.
#[derive(Debug, Clone)]
pub struct Team {
    /// The service's URL.
    pub server: String,
    /// The host in image names.
    pub registry: String,
    /// The namespace.
    pub namespace: String,
    /// A token for it.
    pub token: String,
    /// The token's id; empty for the admin's first.
    pub token_id: String,
    log: PathBuf,
}

impl Team {
    pub(crate) fn new(service: &Service) -> Self {
        let admin = Self::admin(service);
        let namespace = unique("t");
        admin.slipway(["namespace", "create", &namespace]).ok();
        let mut team = Self { namespace, ..admin };
        let made =
            team.slipway(["token", "create", "--user", "somebody", "-n", &team.namespace, "--output", "json"]).ok();
        let made: serde_json::Value = serde_json::from_slice(&made.stdout).expect("token create: JSON");
        let text = |name: &str| made[name].as_str().unwrap_or_else(|| panic!("no {name} in {made}")).to_owned();
        (team.token, team.token_id) = (text("secret"), text("id"));
        team
    }

    pub(crate) fn admin(service: &Service) -> Self {
        Self {
            server: service.url(),
            registry: service.registry().to_string(),
            namespace: "dev".to_owned(),
            token: service.admin_token(),
            token_id: String::new(),
            log: service.log_path(),
        }
    }

    /// The same, by way of another address.
    #[must_use]
    pub fn by_way_of(&self, server: &str) -> Self {
        Self { server: server.to_owned(), ..self.clone() }
    }

    /// The same, with another token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// `slipway` with nothing in its environment but who we are.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(program("slipway"));
        command
            .args(args)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOME", "/nonexistent")
            .env("SLIPWAY_SERVER", &self.server)
            .env("SLIPWAY_TOKEN", &self.token)
            .env("SLIPWAY_NAMESPACE", &self.namespace)
            .current_dir("/");
        command
    }

    /// Starts `slipway`.
    pub fn start<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Running {
        command::start(self.command(args), Some(self.log.clone()))
    }

    /// Runs `slipway` to its end.
    pub fn slipway<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        self.start(args).finish()
    }

    /// A job as `job show` has it.
    pub fn show(&self, job: &str) -> serde_json::Value {
        let run = self.slipway(["job", "show", job, "--output", "json"]).ok();
        serde_json::from_slice(&run.stdout).expect("job show: JSON")
    }

    /// Waits for a job's end; its events.
    pub fn attach(&self, job: &str) -> Run {
        self.slipway(["job", "attach", job, "--output", "json"])
    }

    /// A new project folder, with a name that no other has.
    pub fn project(&self) -> Project {
        Project { name: unique("app"), ..self.named_project("") }
    }

    /// A new project folder with this name.
    pub fn named_project(&self, name: &str) -> Project {
        let dir = tempfile::Builder::new().prefix("project-").tempdir_in(scratch()).expect("make a folder");
        fs::create_dir(dir.path().join("p")).expect("make a folder");
        Project { dir, name: name.to_owned(), team: self.clone() }
    }
}

/// A folder with an okteto.yaml, removed when dropped.
#[derive(Debug)]
pub struct Project {
    dir: TempDir,
    /// The application's name.
    pub name: String,
    /// Whose it is.
    pub team: Team,
}

impl Project {
    /// The folder.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("p")
    }

    /// A path beside the folder, for what is no part of the project.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file, and its folders.
    pub fn file(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("make a folder");
        fs::write(&path, content).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
        self
    }

    /// Sets a file's mode bits.
    pub fn mode(&self, path: &str, mode: u32) -> &Self {
        fs::set_permissions(self.path().join(path), fs::Permissions::from_mode(mode)).expect("set a mode");
        self
    }

    /// Makes a symlink.
    pub fn link(&self, path: &str, target: &str) -> &Self {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("make a folder");
        std::os::unix::fs::symlink(target, path).expect("make a symlink");
        self
    }

    /// Writes the manifest: the name, then this.
    pub fn manifest(&self, rest: &str) -> &Self {
        self.file("okteto.yaml", format!("name: {}\n{rest}", self.name))
    }

    /// A manifest with one image, and its Dockerfile.
    pub fn image(&self, dockerfile: &str) -> &Self {
        self.manifest("build:\n  app:\n    context: .\n").file("Dockerfile", dockerfile)
    }

    /// A manifest with these deploy commands, each a line of shell or more.
    pub fn deploy(&self, commands: &[&str]) -> &Self {
        self.manifest(&deploy_section(commands))
    }

    /// The same files and name in another folder, as a fresh checkout has them: with the time of now.
    pub fn checkout(&self) -> Self {
        let copy = self.team.named_project(&self.name);
        copy_tree(&self.path(), &copy.path());
        copy
    }

    /// The same files and name, for somebody else.
    #[must_use]
    pub fn of(mut self, team: &Team) -> Self {
        self.team = team.clone();
        self
    }

    /// Starts `slipway` in the folder.
    pub fn start<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Running {
        let mut command = self.team.command(args);
        command.current_dir(self.path());
        command::start(command, Some(self.team.log.clone()))
    }

    /// Runs `slipway` in the folder to its end.
    pub fn slipway<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        self.start(args).finish()
    }

    /// Runs it with `--output json`, and this to read.
    pub fn events_reading(&self, stdin: &str, args: &[&str]) -> Run {
        let path = self.beside("stdin");
        fs::write(&path, stdin).expect("write a file");
        let mut command = self.team.command(args.iter().chain(&["--output", "json"]));
        command.current_dir(self.path());
        let stdin = fs::File::open(path).expect("open a file");
        command::start_reading(stdin.into(), command, Some(self.team.log.clone())).finish()
    }

    /// Runs it with `--output json`.
    pub fn events(&self, args: &[&str]) -> Run {
        self.slipway(args.iter().chain(&["--output", "json"]))
    }

    /// The same, with more in its environment.
    pub fn events_with(&self, args: &[&str], env: &[(&str, &str)]) -> Run {
        let mut command = self.team.command(args.iter().chain(&["--output", "json"]));
        command.current_dir(self.path()).envs(env.iter().copied());
        command::start(command, Some(self.team.log.clone())).finish()
    }

    /// Starts it with `--output json`.
    pub fn start_events(&self, args: &[&str]) -> Running {
        self.start(args.iter().chain(&["--output", "json"]))
    }

    /// Hands a job over and leaves; its id.
    pub fn detach(&self, args: &[&str]) -> String {
        self.slipway(args.iter().chain(&["--detach"])).ok().out().trim().to_owned()
    }

    /// Builds the image `app`, unless that is there already, and gives its reference.
    pub fn build_app(&self) -> String {
        let run = self.events(&["build"]).ok();
        let kind = if run.all("build.skipped").is_empty() { "build.done" } else { "build.skipped" };
        run.last(kind)["image"].as_str().expect("a reference").to_owned()
    }
}

/// Where folders go that live for a test: in memory where there is room, since small disks take minutes to forget 60,000 files.
fn scratch() -> PathBuf {
    const ROOM: u64 = 2 << 30;
    let memory = PathBuf::from("/dev/shm");
    match rustix::fs::statvfs(&memory) {
        Ok(found) if found.f_bavail * found.f_frsize > ROOM => memory,
        _ => std::env::temp_dir(),
    }
}

/// A `deploy:` section with these commands.
pub fn deploy_section(commands: &[&str]) -> String {
    let items = commands.iter().map(|command| format!("- {}\n", serde_json::Value::from(*command)));
    format!("deploy:\n  remote: true\n  commands:\n  {}", items.collect::<Vec<_>>().join("  "))
}

/// Copies files, folders, symlinks and mode bits; times are those of now.
pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("make a folder");
    for entry in fs::read_dir(from).expect("read a folder") {
        let entry = entry.expect("read a folder");
        let (kind, target) = (entry.file_type().expect("a type"), to.join(entry.file_name()));
        if kind.is_dir() {
            copy_tree(&entry.path(), &target);
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path()).expect("a link"), target).expect("link");
        } else {
            // Not fs::copy, which may clone the times too.
            fs::write(&target, fs::read(entry.path()).expect("read")).expect("write");
            let mode = fs::metadata(entry.path()).expect("metadata").permissions();
            fs::set_permissions(&target, mode).expect("set a mode");
        }
    }
}
