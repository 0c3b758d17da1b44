//! The main thread: it alone starts processes and reaps them, so that no status is lost or mixed up.

mod ending;

use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, Sender},
    },
    time::{Duration, Instant},
};

use crate::{Collect, Collected, Exit, FromAgent, Hello, Limits, PROTOCOL, Ready, Run, ToAgent};
use rustix::{
    io::Errno,
    process::{WaitOptions, getgid, getpid, getuid, wait},
};
use signal_hook::consts::SIGCHLD;

use self::ending::Ending;
use crate::agent::{
    collect, command::Running, diagnose, env_file::PLACES, forward::Forward, home::home, limits::Watch, login::Login,
    outbox::Outbox, output::Pump, spawn,
};

/// The channel has closed before its end.
const CLOSED: u8 = 1;
/// The other side does not speak as it should.
const MISUSED: u8 = 2;

/// The grace period until the job's process names one.
const GRACE: Duration = Duration::from_secs(10);
/// The longest one that can be named: an instant has to hold it.
const LONGEST_GRACE: Duration = Duration::from_hours(24);
/// For what commands have left behind when the job has ended well.
const GRACE_AT_FINISH: Duration = Duration::from_secs(1);
/// How long the last frames may take, once nobody waits for them.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What wakes the supervisor.
pub(crate) enum Event {
    /// The job's process wants something.
    Frame(ToAgent),
    /// The channel can't be used any more.
    Closed(String),
    /// The job's process sent what is no frame.
    Misused(String),
    /// Our process got a signal.
    Signal(i32),
    /// A pump has come to its end.
    OutputEnded,
}

/// All that is to be known about what runs.
pub(crate) struct Supervisor {
    outbox: Arc<Outbox>,
    forward: Arc<Forward>,
    events: Sender<Event>,
    inbox: Receiver<Event>,
    /// From `Hello` on.
    grace: Option<Duration>,
    /// Where commands' tools are to be logged in, until they are.
    registry: Option<String>,
    login: Option<Login>,
    running: Option<Running>,
    /// Pipes that are still open, also those of earlier commands.
    pumps: Vec<Arc<Pump>>,
    /// Whether we have any child; all that we start, and all that it starts, is below one.
    has_children: bool,
    ending: Option<Ending>,
    /// Files that are asked for while what ran is ended.
    collect_then: Option<Collect>,
    watch: Watch,
}

impl Supervisor {
    pub(crate) fn new(
        outbox: Arc<Outbox>,
        forward: Arc<Forward>,
        events: Sender<Event>,
        inbox: Receiver<Event>,
    ) -> Self {
        Self {
            outbox,
            forward,
            events,
            inbox,
            grace: None,
            registry: None,
            login: None,
            running: None,
            pumps: Vec::new(),
            has_children: false,
            ending: None,
            collect_then: None,
            watch: Watch::new(Limits::default()),
        }
    }

    /// Runs until there's nothing left to do, and says what to exit with.
    pub(crate) fn run(mut self) -> u8 {
        loop {
            let event = match self.look_again() {
                None => self.inbox.recv().ok(),
                Some(at) => self.inbox.recv_timeout(at.saturating_duration_since(Instant::now())).ok(),
            };
            if let Some(event) = event {
                self.handle(event);
            }
            self.reap();
            self.keep_limits();
            self.report_exit();
            if let Some(code) = self.go_on_ending() {
                return code;
            }
        }
    }

    /// When to wake up without an event.
    fn look_again(&self) -> Option<Instant> {
        let running = self.running.as_ref().and_then(Running::look_again);
        let ending = self.ending.as_ref().map(Ending::look_again);
        let limits = self.watch.look_again().filter(|_| ending.is_none());
        running.into_iter().chain(ending).chain(limits).min()
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Frame(ToAgent::Hello(hello)) if self.grace.is_none() => self.hello(&hello),
            Event::Frame(_) if self.grace.is_none() => self.misused("a frame before Hello"),
            Event::Frame(ToAgent::Hello(_)) => self.misused("a second Hello"),
            Event::Frame(ToAgent::Run(run)) => self.start(&run),
            Event::Frame(ToAgent::Collect(collect)) => self.collect(collect),
            Event::Frame(ToAgent::Stop { grace_ms }) => self.stop(grace_ms),
            Event::Frame(ToAgent::Finish) => self.exit_with(0, GRACE_AT_FINISH.min(self.grace())),
            // The reader hands these to the forwarder.
            Event::Frame(ToAgent::Stream(_)) | Event::OutputEnded | Event::Signal(SIGCHLD) => {}
            Event::Signal(signal) => {
                self.outbox.warn(format!("the runner's first process got signal {signal}"));
                self.exit_with((128 + signal) as u8, self.grace());
            }
            Event::Closed(why) => self.closed(&why),
            Event::Misused(why) => self.misused(&why),
        }
    }

    fn hello(&mut self, hello: &Hello) {
        self.grace = Some(Duration::from_millis(hello.grace_ms).min(LONGEST_GRACE));
        self.watch = Watch::new(hello.limits);
        self.outbox.pace.set(hello.limits.output_bytes_per_s);
        if hello.protocol != PROTOCOL {
            return self.misused(&format!("protocol {}, this is {PROTOCOL}", hello.protocol));
        }
        self.registry.clone_from(&hello.registry);
        let ports = if hello.no_listen { &[] } else { hello.listen.as_slice() };
        let (listening, not_listening) = self.forward.listen(ports);
        self.outbox.say(&FromAgent::Ready(Ready {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: getpid().as_raw_pid().cast_unsigned(),
            uid: getuid().as_raw(),
            gid: getgid().as_raw(),
            home: home(),
            listening,
            not_listening,
        }));
    }

    fn start(&mut self, run: &Run) {
        let index = run.index;
        if let Some(exceeded) = self.watch.exceeded() {
            let (error, exceeded) = (Some("a limit is exceeded".to_owned()), Some(exceeded));
            return self.outbox.say(&FromAgent::Exit(Exit { index, error, exceeded, ..Exit::default() }));
        }
        self.watch.begin();
        let started = if self.running.is_some() {
            Err("another command is running".to_owned())
        } else if self.ending.is_some() {
            Err("the commands are being ended".to_owned())
        } else {
            self.log_in(run);
            Running::start(run, self.login.as_ref(), &self.outbox, &self.events)
        };
        match started {
            Ok(running) => {
                self.has_children = true;
                self.pumps.retain(|pump| !pump.ended());
                self.pumps.extend(running.pumps.iter().cloned());
                self.running = Some(running);
            }
            Err(error) => self.outbox.say(&FromAgent::Exit(Exit { index, error: Some(error), ..Exit::default() })),
        }
    }

    /// Before the first command, since its environment says where its home is.
    fn log_in(&mut self, run: &Run) {
        let Some(registry) = self.registry.take() else { return };
        let home = run.env.iter().rev().find(|(name, _)| name == "HOME").map_or_else(home, |(_, home)| home.clone());
        match Login::create(&registry, Some(&home), &PLACES) {
            Ok(login) => self.login = Some(login),
            // Few commands need it.
            Err(error) => diagnose(&format!("no place for Docker's configuration: {error}")),
        }
    }

    /// In a thread of its own, so that the end of all can come meanwhile. Of what a limit ends, once that has ended.
    fn collect(&mut self, collect: Collect) {
        if self.running.is_none() && self.ending.as_ref().is_some_and(Ending::may_go_on) {
            self.collect_then = Some(collect);
            return;
        }
        let refused = if self.running.is_some() || self.ending.is_some() {
            Some("commands are running".to_owned())
        } else {
            let outbox = Arc::clone(&self.outbox);
            let spawned = spawn("collect", move || collect::send(&collect, &outbox));
            spawned.err().map(|error| error.to_string())
        };
        if let Some(problem) = refused {
            self.outbox.say(&FromAgent::Collected(Collected { problems: vec![problem], ..Collected::default() }));
        }
    }

    fn misused(&mut self, why: &str) {
        diagnose(why);
        self.outbox.warn(format!("the runner's channel is misused: {why}"));
        self.exit_with(MISUSED, self.grace());
    }

    fn closed(&mut self, why: &str) {
        if self.ending.as_mut().is_some_and(Ending::closed_after_finish) {
            return;
        }
        diagnose(why);
        // Nobody hears us: commands must not wait until somebody does.
        self.outbox.close();
        self.exit_with(CLOSED, self.grace());
    }

    fn grace(&self) -> Duration {
        self.grace.unwrap_or(GRACE)
    }

    /// Takes the status of every process that has ended: our command's, and those of orphans that came to us.
    fn reap(&mut self) {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if let Some(running) = self.running.as_mut().filter(|running| running.pid == pid) {
                        running.ended(status);
                    }
                }
                Err(Errno::INTR) => {}
                Ok(None) => {
                    self.has_children = true;
                    return;
                }
                Err(error) => {
                    self.has_children = false;
                    if error != Errno::CHILD {
                        diagnose(&format!("wait: {}", io::Error::from(error)));
                    }
                    return;
                }
            }
        }
    }

    /// Ends all that runs where it uses more than it may.
    fn keep_limits(&mut self) {
        if self.ending.is_none() && self.watch.check().is_some() {
            // What exceeds a limit is not to go on for as long as its caller likes.
            self.end(self.grace().min(GRACE));
        }
    }

    fn report_exit(&mut self) {
        if let Some(exit) = self.running.as_ref().and_then(|running| running.exit(&self.outbox)) {
            self.running = None;
            self.outbox.say(&FromAgent::Exit(Exit { exceeded: self.watch.exceeded(), ..exit }));
        }
    }
}
