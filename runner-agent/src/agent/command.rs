//! One command: from its start to its `Exit`.

use std::{
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    time::Instant,
};

use crate::{ENV_FILE_VARIABLE, Exit, FromAgent, OutputStream, Run};
use rustix::process::{Pid, WaitStatus};

use crate::agent::{
    env_file::EnvFile,
    login::Login,
    outbox::Outbox,
    output::{Drain, Pump},
    supervisor::Event,
};

/// A command that has been started and whose `Exit` has not been sent.
pub(crate) struct Running {
    index: u32,
    pub(crate) pid: Pid,
    pub(crate) pumps: [Arc<Pump>; 2],
    started: Instant,
    env_file: Option<EnvFile>,
    end: Option<(Exit, Drain)>,
}

impl Running {
    /// Starts a command in a process group of its own, and says so; the error is for the user.
    pub(crate) fn start(
        run: &Run,
        login: Option<&Login>,
        outbox: &Arc<Outbox>,
        events: &Sender<Event>,
    ) -> Result<Self, String> {
        let (program, arguments) = run.argv.split_first().ok_or("no command")?;
        check(run)?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(run.env.iter().map(|(name, value)| (name, value)));
        if let Some(login) = login {
            let path = run.env.iter().rev().find(|(name, _)| name == "PATH").map(|(_, path)| path.as_str());
            command.envs(login.variables(path, Login::has_own(run.env.iter().map(|(name, _)| name))));
        }
        let env_file = run.env_file.then(|| variables_file(run, outbox)).flatten();
        command.envs(env_file.as_ref().map(|file| (ENV_FILE_VARIABLE, file.path())));
        // The pipes are read before there's something to read: a command whose output can't be taken never starts.
        let pump = |stream, begin| {
            Pump::start(run.index, stream, outbox, events, begin).map_err(|error| format!("take the output: {error}"))
        };
        let ((begin_stdout, begin), (begin_stderr, begin_too)) = (channel(), channel());
        let (stdout, stdout_writer) = pump(OutputStream::Stdout, begin)?;
        let (stderr, stderr_writer) = pump(OutputStream::Stderr, begin_too)?;
        command.current_dir(&run.cwd).process_group(0);
        command.stdin(Stdio::null()).stdout(stdout_writer).stderr(stderr_writer);
        let started = Instant::now();
        let child = command.spawn().map_err(|error| not_started(&run.cwd, program, &error))?;
        // `command` holds the pipes' ends until it goes, here, or they would never end. `child` is not waited for: the
        // supervisor reaps everything.
        drop(command);
        let pid = Pid::from_child(&child);
        // No output before the start.
        outbox.say(&FromAgent::Started { index: run.index, pid: pid.as_raw_pid().cast_unsigned() });
        for begin in [begin_stdout, begin_stderr] {
            // A thread waits for it.
            let _ = begin.send(());
        }
        Ok(Self { index: run.index, pid, pumps: [stdout, stderr], started, env_file, end: None })
    }

    /// The process has ended.
    pub(crate) fn ended(&mut self, status: WaitStatus) {
        self.end_as(Exit { exit_code: status.exit_status(), signal: status.terminating_signal(), ..Exit::default() });
    }

    /// The process can't be ended, and is not waited for any longer.
    pub(crate) fn given_up(&mut self) {
        if self.is_alive() {
            self.end_as(Exit { error: Some("the process could not be ended".to_owned()), ..Exit::default() });
        }
    }

    fn end_as(&mut self, exit: Exit) {
        let duration_ms = self.started.elapsed().as_millis() as u64;
        self.end = Some((Exit { index: self.index, duration_ms, ..exit }, Drain::start(&self.pumps)));
    }

    /// Whether its process has not ended yet.
    pub(crate) fn is_alive(&self) -> bool {
        self.end.is_none()
    }

    /// When its output should be looked at again, once it has ended.
    pub(crate) fn look_again(&self) -> Option<Instant> {
        self.end.as_ref().map(|(_, drain)| drain.look_again())
    }

    /// What to report, as soon as the output that belongs before it has been passed on.
    pub(crate) fn exit(&self, outbox: &Outbox) -> Option<Exit> {
        let (exit, _) = self.end.as_ref().filter(|(_, drain)| drain.is_done())?;
        let env_file = self.env_file.as_ref().and_then(|file| match file.read() {
            Ok(content) => Some(content),
            Err(error) => {
                outbox.warn(format!("the variables in ${ENV_FILE_VARIABLE} are ignored: {error}"));
                None
            }
        });
        Some(Exit { env_file, ..exit.clone() })
    }
}

/// An image without a place to write may do without the file, so that's worth a warning only.
fn variables_file(run: &Run, outbox: &Outbox) -> Option<EnvFile> {
    EnvFile::create(run.index, &run.cwd)
        .inspect_err(|error| outbox.warn(format!("no ${ENV_FILE_VARIABLE}: no place to make the file: {error}")))
        .ok()
}

/// What the operating system would misunderstand, or explain badly.
fn check(run: &Run) -> Result<(), String> {
    for (name, value) in &run.env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(format!("the variable `{}` can't be in an environment", name.escape_debug()));
        }
    }
    match run.cwd.metadata() {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(format!("working directory `{}`: not a directory", run.cwd.display())),
        Err(error) => Err(format!("working directory `{}`: {error}", run.cwd.display())),
    }
}

fn not_started(cwd: &Path, program: &str, error: &io::Error) -> String {
    let name = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or(program);
    match error.kind() {
        io::ErrorKind::NotFound if matches!(name, "sh" | "bash" | "ash" | "dash" | "zsh") => {
            format!("no such file `{program}`: the image has no such shell")
        }
        io::ErrorKind::NotFound => format!("no such file `{program}`"),
        io::ErrorKind::ArgumentListTooLong => {
            format!("start `{program}`: {error} (one argument or variable can have 128 KiB)")
        }
        _ => format!("start `{program}` in `{}`: {error}", cwd.display()),
    }
}
