//! The job's side of the channel, as simple as can be.

use std::{
    io::{Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use slipway_runner_agent::{
    Decoder, Exit, Frame, FromAgent, Hello, Output, OutputStream, Ready, Run, StreamFrame, ToAgent,
};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_slipway-runner-agent");

/// No single frame may take longer, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running agent; killed when dropped, which ends what it started by closing its channel.
pub(crate) struct Agent {
    pub(crate) child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    frames: Receiver<FromAgent>,
    pub(crate) ready: Ready,
}

/// All that a command caused.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) exit: Exit,
    pub(crate) started: bool,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) warnings: Vec<String>,
}

impl Outcome {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }
}

/// The binary, with nothing said to it.
pub(crate) fn spawn() -> Child {
    spawn_by(&mut Command::new(BINARY))
}

fn spawn_by(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

pub(crate) fn hello() -> Hello {
    Hello { no_listen: false, ..Hello::new(Duration::from_millis(300)) }
}

/// A shell command in the root directory, with nothing but a `PATH`.
pub(crate) fn shell(index: u32, script: &str) -> Run {
    Run {
        index,
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        cwd: "/".into(),
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        env_file: false,
    }
}

/// Waits until a condition holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// How many processes have the marker as an argument.
pub(crate) fn processes_with(marker: &str) -> usize {
    let is_marked = |entry: &std::fs::DirEntry| {
        let text = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        text.split(|&byte| byte == 0).any(|argument| argument == marker.as_bytes())
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter(is_marked).count()
}

/// Sends a signal to a process from outside.
pub(crate) fn kill(signal: &str, pid: &str) {
    assert!(Command::new("kill").args(["-s", signal, pid]).status().unwrap().success());
}

impl Agent {
    pub(crate) fn start() -> Self {
        Self::start_with(&hello())
    }

    pub(crate) fn start_with(hello: &Hello) -> Self {
        Self::start_by(&mut Command::new(BINARY), hello)
    }

    /// Starts it with a command that ends in the binary.
    pub(crate) fn start_by(command: &mut Command, hello: &Hello) -> Self {
        let mut child = spawn_by(command);
        let mut stdout = child.stdout.take().unwrap();
        let (sender, frames) = channel();
        thread::spawn(move || {
            let mut decoder = Decoder::<FromAgent>::new();
            let mut block = vec![0; 32 * 1024];
            while let Ok(count @ 1..) = stdout.read(&mut block) {
                decoder.feed(&block[..count]);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    if sender.send(frame).is_err() {
                        return;
                    }
                }
            }
            assert!(decoder.is_at_boundary());
        });
        let ready = Ready {
            protocol: 0,
            version: String::new(),
            pid: 0,
            uid: 0,
            gid: 0,
            home: String::new(),
            listening: Vec::new(),
            not_listening: Vec::new(),
        };
        let mut agent = Self { stdin: child.stdin.take(), child, frames, ready };
        agent.send(&ToAgent::Hello(hello.clone()));
        let FromAgent::Ready(ready) = agent.next() else { panic!("not ready") };
        agent.ready = ready;
        agent
    }

    pub(crate) fn send(&mut self, frame: &ToAgent) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes).unwrap();
        self.stdin.as_mut().unwrap().write_all(&bytes).unwrap();
    }

    pub(crate) fn next(&self) -> FromAgent {
        self.frames.recv_timeout(PATIENCE).expect("a frame")
    }

    /// Takes frames until the command's exit.
    pub(crate) fn outcome(&self, index: u32) -> Outcome {
        let mut outcome = Outcome::default();
        loop {
            match self.next() {
                FromAgent::Started { index: started, pid } => {
                    assert_eq!(started, index);
                    assert!(pid > 1);
                    outcome.started = true;
                }
                FromAgent::Output(Output { index: from, stream, bytes }) => {
                    assert_eq!(from, index);
                    assert!(outcome.started, "output before the start");
                    match stream {
                        OutputStream::Stdout => outcome.stdout.extend(bytes),
                        OutputStream::Stderr => outcome.stderr.extend(bytes),
                    }
                }
                FromAgent::Warning(warning) => outcome.warnings.push(warning),
                FromAgent::Exit(exit) => {
                    assert_eq!(exit.index, index);
                    outcome.exit = exit;
                    return outcome;
                }
                // Credit may come when its stream is gone.
                FromAgent::Stream(StreamFrame::Window { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Starts a command and waits until it has written a line, which is given back.
    pub(crate) fn run_until_line(&mut self, run: Run) -> String {
        self.send(&ToAgent::Run(run));
        let mut text = Vec::new();
        while !text.contains(&b'\n') {
            if let FromAgent::Output(output) = self.next() {
                text.extend(output.bytes);
            }
        }
        String::from_utf8(text).unwrap()
    }

    pub(crate) fn run(&mut self, run: Run) -> Outcome {
        let index = run.index;
        self.send(&ToAgent::Run(run));
        self.outcome(index)
    }

    /// The agent's own exit status.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let mut status = None;
        eventually("the agent's exit", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.and_then(|status| status.code())
    }

    pub(crate) fn finish(mut self) {
        self.send(&ToAgent::Finish);
        assert_eq!(self.wait(), Some(0));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}
