use std::collections::VecDeque;
use std::io;
use std::sync::Mutex;

use slipway_manifest::plan::{Command, Section};
use slipway_mask::Masks;
use slipway_proto::v1::event::Kind;
use slipway_runner_agent::Output;
use tokio::sync::watch;

use super::*;

/// Says what a command does: exits with the number that its text is, after printing and leaving a variable.
#[derive(Default)]
struct Agent {
    leaves: &'static str,
    runs: Vec<Run>,
    answers: VecDeque<FromAgent>,
}

impl Channel for Agent {
    type Error = io::Error;

    async fn send(&mut self, frame: ToAgent) -> io::Result<()> {
        if let ToAgent::Run(run) = frame {
            let (index, text) = (run.index, run.argv.last().unwrap().clone());
            let password = run.env.iter().find(|(name, _)| name == "DB_PASSWORD");
            let password = password.map(|(_, value)| format!(" {value}")).unwrap_or_default();
            let bytes = format!("command {text}{password}\n").into_bytes();
            self.answers.push_back(FromAgent::Output(Output { index, stream: OutputStream::Stdout, bytes }));
            let env_file = Some(format!("LAST={text}\n{}", self.leaves).into_bytes());
            let exit = Exit { index, exit_code: text.parse().ok(), signal: Some(9), env_file, ..Exit::default() };
            self.answers.push_back(FromAgent::Exit(exit));
            self.runs.push(run);
        }
        Ok(())
    }

    async fn next(&mut self) -> io::Result<Option<FromAgent>> {
        Ok(self.answers.pop_front())
    }

    fn connection(&mut self, _: FromAgent) {}
}

#[derive(Default)]
struct Events(Mutex<Vec<String>>, Mutex<Masks>);

impl Sink for Events {
    fn emit(&self, kind: Kind) {
        let line = match kind {
            Kind::CommandStarted(started) => format!("{:?} {} started", started.test, started.index),
            Kind::CommandLog(log) => String::from_utf8(log.text).unwrap().trim_end().to_owned(),
            Kind::CommandDone(done) => format!("{} exited with {}", done.index, done.exit_code),
            other => format!("{other:?}"),
        };
        self.0.lock().unwrap().push(line);
    }

    fn try_emit(&self, kind: Kind) -> io::Result<()> {
        self.emit(kind);
        Ok(())
    }

    fn masks(&self) -> Masks {
        self.1.lock().unwrap().clone()
    }

    fn hide(&self, values: &[&str]) {
        let mut masks = self.1.lock().unwrap();
        *masks = masks.and(values);
    }
}

fn plan(commands: &[&str], keep_going: bool) -> CommandsPlan {
    let command = |text: &&str| Command { name: format!("c{text}"), command: (*text).to_owned() };
    CommandsPlan {
        section: Section::Destroy,
        test: None,
        image: None,
        context: ".".to_owned(),
        remote: None,
        commands: commands.iter().map(command).collect(),
        env: Vec::new(),
        keep_going,
        required: Vec::new(),
        testing: slipway_manifest::plan::TestOptions::default(),
    }
}

async fn ran(plan: &CommandsPlan) -> (Option<Failed>, Agent, Vec<String>) {
    let (failed, agent, events) = ran_leaving("", plan).await;
    (failed.unwrap(), agent, events)
}

async fn ran_leaving(
    leaves: &'static str,
    plan: &CommandsPlan,
) -> (Result<Option<Failed>, RunError<io::Error>>, Agent, Vec<String>) {
    let (mut agent, events) = (Agent { leaves, ..Agent::default() }, Events::default());
    let mut story = Story::new(&events, plan);
    let failed = run(&mut agent, plan, place(), &mut story, &CancellationToken::new()).await;
    drop(story);
    (failed, agent, events.0.into_inner().unwrap())
}

/// An agent that looks at what is written down when it is told to run something.
struct Looking<'e> {
    events: &'e Events,
    agent: Agent,
    seen: Vec<Vec<String>>,
}

impl Channel for Looking<'_> {
    type Error = io::Error;

    async fn send(&mut self, frame: ToAgent) -> io::Result<()> {
        if matches!(frame, ToAgent::Run(_)) {
            self.seen.push(self.events.0.lock().unwrap().clone());
        }
        self.agent.send(frame).await
    }

    async fn next(&mut self) -> io::Result<Option<FromAgent>> {
        self.agent.next().await
    }

    fn connection(&mut self, _: FromAgent) {}
}

/// Events that can't be written down.
struct Full;

impl Sink for Full {
    fn emit(&self, _: Kind) {}

    fn try_emit(&self, _: Kind) -> io::Result<()> {
        Err(io::Error::other("the disk is full"))
    }

    fn masks(&self) -> Masks {
        Masks::default()
    }

    fn hide(&self, _: &[&str]) {}
}

fn place() -> Place {
    Place {
        shell: ["sh", "-c"].map(str::to_owned).to_vec(),
        cwd: "/w".into(),
        env: BTreeMap::from([("A".to_owned(), "b".to_owned())]),
        grace: GRACE.into(),
        limits: Limits::default(),
    }
}

#[tokio::test]
async fn a_start_is_written_down_before_anybody_is_told_to_run_it() {
    let (plan, events, cancel) = (plan(&["0", "0"], false), Events::default(), CancellationToken::new());
    let mut agent = Looking { events: &events, agent: Agent::default(), seen: Vec::new() };
    let mut story = Story::new(&events, &plan);
    assert!(run(&mut agent, &plan, place(), &mut story, &cancel).await.unwrap().is_none());
    let last: Vec<_> = agent.seen.iter().map(|seen| seen.last().unwrap().as_str()).collect();
    assert_eq!(last, ["None 0 started", "None 1 started"]);
    // What can't be written down is not run.
    let mut agent = Agent::default();
    let ended = run(&mut agent, &plan, place(), &mut Story::new(&Full, &plan), &cancel).await;
    assert!(matches!(ended, Err(RunError::NotStarted(message)) if message.contains("the disk is full")));
    assert!(agent.runs.is_empty());
}

#[tokio::test]
async fn the_first_failure_ends_it() {
    let (failed, agent, events) = ran(&plan(&["0", "3", "0"], false)).await;
    let expected = ["None 0 started", "command 0", "0 exited with 0", "None 1 started", "command 3", "1 exited with 3"];
    assert_eq!(events, expected);
    let failed = failed.unwrap();
    insta::assert_snapshot!(failed.message("test `unit`"), @"
    test `unit` command 2 failed with exit code 3: c3
    its last output:
    command 3
    ");
    assert_eq!(agent.runs[1].argv, ["sh", "-c", "3"]);
    let env = |run: &Run| run.env.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
    assert_eq!(env(&agent.runs[0]), ["A=b"]);
    assert_eq!(env(&agent.runs[1]), ["A=b", "LAST=0"]);
}

#[tokio::test]
async fn who_keeps_going_hears_of_the_last_failure() {
    let (failed, agent, _) = ran(&plan(&["4", "x", "0"], true)).await;
    assert_eq!(agent.runs.len(), 3);
    let failed = failed.unwrap();
    assert_eq!((failed.index, failed.exit_code, failed.name.as_str()), (1, 137, "cx"));
    assert!(ran(&plan(&["0", "0"], true)).await.0.is_none());
}

/// An agent that says nothing more once a command has started.
#[derive(Default)]
struct Mute;

impl Channel for Mute {
    type Error = io::Error;

    async fn send(&mut self, _: ToAgent) -> io::Result<()> {
        Ok(())
    }

    async fn next(&mut self) -> io::Result<Option<FromAgent>> {
        std::future::pending().await
    }

    fn connection(&mut self, _: FromAgent) {}
}

#[tokio::test(start_paused = true)]
async fn what_the_agent_does_not_end_in_time_is_given_up() {
    let (plan, events, began) = (plan(&["0"], false), Events::default(), Instant::now());
    let limits = Limits { time_ms: 60_000, ..Limits::default() };
    let place = Place {
        shell: Vec::new(),
        cwd: "/".into(),
        env: BTreeMap::new(),
        grace: Duration::from_secs(5).into(),
        limits,
    };
    let mut story = Story::new(&events, &plan);
    let ended = run(&mut Mute, &plan, place, &mut story, &CancellationToken::new()).await;
    assert!(
        matches!(ended, Err(RunError::Exceeded(Exceeded { limit: Limit::Time, allowed: 60_000, .. }))),
        "{ended:?}"
    );
    assert_eq!(began.elapsed().as_secs(), 60 + 5 + 10, "the limit, the grace period and what a stop may take");
}

/// Ends nothing before the last stop that it is told of has had its time; knows what it was told.
#[derive(Default)]
struct Stubborn(Vec<Option<u64>>);

impl Channel for Stubborn {
    type Error = io::Error;

    async fn send(&mut self, frame: ToAgent) -> io::Result<()> {
        if let ToAgent::Stop { grace_ms } = frame {
            self.0.push(grace_ms);
        }
        Ok(())
    }

    async fn next(&mut self) -> io::Result<Option<FromAgent>> {
        std::future::pending().await
    }

    fn connection(&mut self, _: FromAgent) {}
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_for_the_end_says_how_long_it_may_take_and_may_shorten_it() {
    // What is said at once, what ten seconds later; what the agent hears, and when it is given up.
    let seconds = |all: &[u64]| all.iter().map(|s| Some(s * 1000)).collect::<Vec<_>>();
    for (first, second, heard, given_up) in [
        (None, None, vec![None], 5 + 10),
        (Some(60), None, seconds(&[60]), 60 + 10),
        (Some(60), Some(1), seconds(&[60, 1]), 10 + 1 + 10),
        (Some(20), Some(300), seconds(&[20, 300]), 20 + 10),
    ] {
        let (plan, events, began) = (plan(&["0"], false), Events::default(), Instant::now());
        let (say, asked) = watch::channel(first.map(Duration::from_secs));
        let grace = Grace::from(Duration::from_secs(5)).unless(asked);
        let place =
            Place { shell: Vec::new(), cwd: "/".into(), env: BTreeMap::new(), grace, limits: Limits::default() };
        let (mut agent, mut story, cancel) =
            (Stubborn::default(), Story::new(&events, &plan), CancellationToken::new());
        cancel_later(&cancel);
        let saying = async {
            tokio::time::sleep(Duration::from_secs(11)).await;
            if let Some(second) = second {
                say.send_replace(Some(Duration::from_secs(second)));
            }
        };
        let (ended, ()) = tokio::join!(run(&mut agent, &plan, place, &mut story, &cancel), saying);
        assert!(matches!(ended, Err(RunError::Cancelled)), "{ended:?}");
        assert_eq!((agent.0, began.elapsed().as_secs()), (heard, 1 + given_up));
    }
}

/// A second from now: not before the command has started.
fn cancel_later(cancel: &CancellationToken) {
    let cancel = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cancel.cancel();
    });
}

#[tokio::test]
async fn what_is_required_is_given_or_left() {
    let ended = async |leaves, required: &str, code| {
        let plan = CommandsPlan { required: vec![required.to_owned()], ..plan(&[code], false) };
        match ran_leaving(leaves, &plan).await.0 {
            Err(RunError::Required(Required(variable))) => format!("{variable} is missing"),
            Ok(None) => "done".to_owned(),
            other => format!("{other:?}").chars().take(8).collect(),
        }
    };
    assert_eq!(ended("", "A", "0").await, "done");
    assert_eq!(ended("URL=x\n", "URL", "0").await, "done");
    assert_eq!(ended("URL=\n", "URL", "0").await, "URL is missing");
    assert_eq!(ended("", "URL", "0").await, "URL is missing");
    assert_eq!(ended("", "URL", "3").await, "Ok(Some(", "the command's own failure says more");
}

#[tokio::test]
async fn what_a_command_leaves_as_a_secret_is_not_seen_of_those_after_it() {
    let (failed, agent, events) = ran_leaving("DB_PASSWORD=sesame\n", &plan(&["0", "3"], false)).await;
    assert_eq!(agent.runs[1].env[1], ("DB_PASSWORD".to_owned(), "sesame".to_owned()));
    assert_eq!(failed.unwrap().unwrap().tail, "command 3 ***\n");
    assert_eq!(events[4], "command 3 ***");
}

#[tokio::test]
async fn what_no_program_can_be_started_with_is_told_before_the_first_one() {
    let long = "x".repeat(128 << 10);
    let (failed, agent, events) = ran_leaving("", &plan(&["0", &long], false)).await;
    let Err(RunError::NotStarted(message)) = failed else { panic!("{failed:?}") };
    assert!(message.contains("has 131072 bytes") && message.len() < 200, "{message}");
    assert_eq!((agent.runs.len(), events.len()), (0, 0));
}

#[tokio::test]
async fn the_agents_warnings_are_bounded() {
    let mut agent = Agent::default();
    agent.answers.extend((0..1000).map(|_| FromAgent::Warning("é".repeat(1 << 20))));
    let events = Events::default();
    let plan = plan(&["0"], false);
    let mut story = Story::new(&events, &plan);
    let place = Place {
        shell: vec!["sh".to_owned()],
        cwd: "/".into(),
        env: BTreeMap::new(),
        grace: GRACE.into(),
        limits: Limits::default(),
    };
    assert_eq!(run(&mut agent, &plan, place, &mut story, &CancellationToken::new()).await.unwrap(), None);
    drop(story);
    let told = events.0.into_inner().unwrap();
    let warnings: Vec<_> = told.iter().filter(|line| line.starts_with("Warning")).collect();
    assert_eq!(warnings.len(), 100);
    assert!(warnings.iter().all(|line| line.len() < 5000), "{}", warnings[0].len());
}
