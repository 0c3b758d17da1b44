use std::collections::VecDeque;
use std::io;
use std::sync::Mutex;

use slipway_manifest::plan::{Command, Section};
use slipway_mask::Masks;
use slipway_proto::v1::event::Kind;
use slipway_runner_agent::Output;

use super::*;

/// Says what a command does: exits with the number that its text is, after printing and leaving a variable.
#[derive(Default)]
struct Agent {
    runs: Vec<Run>,
    answers: VecDeque<FromAgent>,
}

impl Channel for Agent {
    type Error = io::Error;

    async fn send(&mut self, frame: ToAgent) -> io::Result<()> {
        if let ToAgent::Run(run) = frame {
            let (index, text) = (run.index, run.argv.last().unwrap().clone());
            let bytes = format!("command {text}\n").into_bytes();
            self.answers.push_back(FromAgent::Output(Output { index, stream: OutputStream::Stdout, bytes }));
            let env_file = Some(format!("LAST={text}\n").into_bytes());
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
struct Events(Mutex<Vec<String>>, Masks);

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

    fn masks(&self) -> &Masks {
        &self.1
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
    }
}

async fn ran(plan: &CommandsPlan) -> (Option<Failed>, Agent, Vec<String>) {
    let (mut agent, events) = (Agent::default(), Events::default());
    let place = Place {
        shell: ["sh", "-c"].map(str::to_owned).to_vec(),
        cwd: "/w".into(),
        env: BTreeMap::from([("A".to_owned(), "b".to_owned())]),
    };
    let mut story = Story::new(&events, plan);
    let failed = run(&mut agent, plan, place, &mut story, &CancellationToken::new()).await.unwrap();
    drop(story);
    (failed, agent, events.0.into_inner().unwrap())
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
