//! What a test's commands leave for its caller, over the channel to an agent.

use std::io;
use std::time::Duration;

use slipway_runner_agent::{Collect, Collected, FromAgent, OutputStream, ToAgent};
use tokio_util::sync::CancellationToken;

use crate::run::{Channel, RunError};
use crate::story::{Sink, Story};

/// How long the agent may say nothing: it looks for files before it sends any.
const SILENCE: Duration = Duration::from_mins(2);
/// How long all of it may take.
const LONGEST: Duration = Duration::from_mins(30);

/// Asks for files, and gives their archive to `take` as it comes. The inner error is that of `take`, to which nothing more was
/// given then.
pub async fn collect<C: Channel, S: Sink + Sync>(
    channel: &mut C,
    wanted: Collect,
    story: &mut Story<'_, S>,
    cancel: &CancellationToken,
    mut take: impl AsyncFnMut(Vec<u8>) -> io::Result<()> + Send,
) -> Result<io::Result<Collected>, RunError<C::Error>> {
    channel.send(ToAgent::Collect(wanted)).await?;
    let mut taken = Ok(());
    let mut late = std::pin::pin!(tokio::time::sleep(LONGEST));
    loop {
        let frame = tokio::select! {
            () = late.as_mut() => return Err(RunError::Silent),
            frame = tokio::time::timeout(SILENCE, channel.next()) => frame.map_err(|_| RunError::Silent)??,
            () = cancel.cancelled() => return Err(RunError::Cancelled),
        };
        match frame {
            Some(FromAgent::Artifacts(bytes)) if taken.is_ok() => taken = take(bytes).await,
            Some(FromAgent::Collected(collected)) => return Ok(taken.map(|()| collected)),
            // Of what the commands left running.
            Some(FromAgent::Output(output)) => {
                story.output(output.index, output.stream == OutputStream::Stderr, &output.bytes);
            }
            Some(FromAgent::Warning(message)) => story.warn_of_agent(message),
            Some(frame @ (FromAgent::StreamOpen { .. } | FromAgent::Stream(_))) => channel.connection(frame),
            Some(_) => {}
            None => return Err(RunError::Closed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use slipway_manifest::plan::{CommandsPlan, Section, TestOptions};
    use slipway_mask::Masks;
    use slipway_proto::v1::event::Kind;

    use super::*;

    struct Agent(VecDeque<FromAgent>);

    impl Channel for Agent {
        type Error = io::Error;

        async fn send(&mut self, _: ToAgent) -> io::Result<()> {
            Ok(())
        }

        async fn next(&mut self) -> io::Result<Option<FromAgent>> {
            Ok(self.0.pop_front())
        }

        fn connection(&mut self, _: FromAgent) {}
    }

    #[derive(Default)]
    struct Events(Mutex<usize>);

    impl Sink for Events {
        fn emit(&self, _: Kind) {
            *self.0.lock().unwrap() += 1;
        }

        fn try_emit(&self, kind: Kind) -> io::Result<()> {
            self.emit(kind);
            Ok(())
        }

        fn masks(&self) -> Masks {
            Masks::default()
        }

        fn hide(&self, _: &[&str]) {}
    }

    #[tokio::test]
    async fn an_archive_comes_to_its_end_whoever_takes_it() {
        let plan = CommandsPlan {
            section: Section::Test,
            test: Some("unit".to_owned()),
            image: None,
            context: ".".to_owned(),
            remote: None,
            commands: Vec::new(),
            env: Vec::new(),
            keep_going: false,
            required: Vec::new(),
            testing: TestOptions::default(),
        };
        let piece = |text: &str| FromAgent::Artifacts(text.as_bytes().to_vec());
        let end = Collected { unmatched: vec!["x".to_owned()], ..Collected::default() };
        let asked = async |frames: Vec<FromAgent>, room: usize| {
            let (events, cancel) = (Events::default(), CancellationToken::new());
            let (mut agent, mut story) = (Agent(frames.into()), Story::new(&events, &plan));
            let wanted = Collect { folder: "/w".into(), artifacts: Vec::new(), max_files: 1, max_bytes: 1 };
            let mut taken = Vec::new();
            let take = async |bytes: Vec<u8>| {
                taken.extend(bytes);
                if taken.len() > room { Err(io::Error::other("full")) } else { Ok(()) }
            };
            let collected = collect(&mut agent, wanted, &mut story, &cancel, take).await;
            drop(story);
            (collected, String::from_utf8(taken).unwrap(), events.0.into_inner().unwrap())
        };
        let whole =
            || vec![piece("a"), FromAgent::Warning("w".to_owned()), piece("b"), FromAgent::Collected(end.clone())];
        let (collected, taken, told) = asked(whole(), 9).await;
        assert_eq!((collected.unwrap().unwrap(), taken.as_str(), told), (end.clone(), "ab", 1));
        let (collected, taken, _) = asked(whole(), 0).await;
        assert_eq!((collected.unwrap().unwrap_err().to_string().as_str(), taken.as_str()), ("full", "a"));
        assert!(matches!(asked(vec![piece("a")], 9).await.0, Err(RunError::Closed)));
    }
}
