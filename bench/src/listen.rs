//! Clients whose output is timed as it comes, not when they have ended.

use std::io::{BufRead as _, BufReader, PipeReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

use crate::command::{PATIENCE, tail};

/// What a command in the runner writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// A line with this in it.
    Text(String),
    /// The numbers from 1 to this, each at the end of a line, in order.
    Numbers(u64),
}

/// When it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard {
    /// From the client's start to the first of it.
    pub(crate) first: Duration,
    /// To the last of it.
    pub(crate) last: Duration,
}

/// Runs a client to its end, which has to be a success, after all that is awaited.
pub(crate) async fn listen(mut command: Command, awaited: Awaited) -> Result<Heard> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let (reader, writer) = std::io::pipe().context("make a pipe")?;
    // Some show progress on one stream, some on the other.
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    command.process_group(0).kill_on_drop(true);
    let start = Instant::now();
    let mut child = command.spawn().with_context(|| format!("start {name}"))?;
    // It holds an end of the pipe, too.
    drop(command);
    let mut ear = Ear::new(awaited);
    let reading = tokio::task::spawn_blocking(move || ear.read(reader).map(|()| ear));
    let end = async { Ok::<_, anyhow::Error>((child.wait().await.context("wait for it")?, reading.await??)) };
    let end = tokio::time::timeout(PATIENCE, end).await;
    let (status, ear) = end.with_context(|| format!("{name} still runs after {} s", PATIENCE.as_secs()))??;
    let shown = String::from_utf8_lossy(&ear.output);
    if !status.success() {
        bail!("{name} ended with {status}:\n{}", tail(&shown));
    }
    match (ear.first, ear.last) {
        (Some(first), Some(last)) => Ok(Heard { first: first - start, last: last - start }),
        _ => bail!("{name} did not show {}:\n{}", ear.missing(), tail(&shown)),
    }
}

#[derive(Debug)]
struct Ear {
    awaited: Awaited,
    /// Numbers that came.
    numbers: u64,
    first: Option<Instant>,
    last: Option<Instant>,
    /// The end of what was read.
    output: Vec<u8>,
}

impl Ear {
    fn new(awaited: Awaited) -> Self {
        Self { awaited, numbers: 0, first: None, last: None, output: Vec::new() }
    }

    fn read(&mut self, pipe: PipeReader) -> std::io::Result<()> {
        /// More than is shown of a failure.
        const KEPT: usize = 20_000;
        let (mut lines, mut line) = (BufReader::with_capacity(1 << 16, pipe), Vec::new());
        while lines.read_until(b'\n', &mut line)? > 0 {
            self.line(&line, Instant::now());
            if self.output.len() > KEPT {
                self.output.clear();
            }
            self.output.append(&mut line);
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], now: Instant) {
        let is_last = match &self.awaited {
            Awaited::Text(text) => {
                if !line.windows(text.len()).any(|part| part == text.as_bytes()) {
                    return;
                }
                self.first.is_none()
            }
            Awaited::Numbers(all) => {
                let word = line.trim_ascii_end().rsplit(|byte| *byte == b' ').next();
                let number = word.and_then(|word| std::str::from_utf8(word).ok()?.parse::<u64>().ok());
                if number != Some(self.numbers + 1) {
                    return;
                }
                self.numbers += 1;
                self.numbers == *all
            }
        };
        self.first.get_or_insert(now);
        if is_last {
            self.last = Some(now);
        }
    }

    fn missing(&self) -> String {
        match &self.awaited {
            Awaited::Text(text) => format!("`{text}`"),
            Awaited::Numbers(all) => format!("{} after {} of {all} lines", self.numbers + 1, self.numbers),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn the_first_and_the_last_are_timed_on_either_stream() {
        let numbers = Awaited::Numbers(3);
        let heard = listen(sh("echo 7; echo '#5 0.1 1'; sleep 0.2; echo 2 >&2; echo 3; sleep 0.2"), numbers).await;
        let heard = heard.unwrap();
        assert!(heard.last >= heard.first + Duration::from_millis(200), "{heard:?}");
        let heard = listen(sh("echo no; sleep 0.1; echo '#5 yes sir' >&2"), Awaited::Text("yes".to_owned())).await;
        let heard = heard.unwrap();
        assert!(heard.first >= Duration::from_millis(100) && heard.first == heard.last, "{heard:?}");
    }

    #[tokio::test]
    async fn what_does_not_come_or_fails_is_an_error_with_what_was_shown() {
        let error = listen(sh("echo 1; echo 3; echo 2; echo 4"), Awaited::Numbers(3)).await.unwrap_err();
        assert!(error.to_string().contains("did not show 3 after 2 of 3 lines:\n1\n3\n2\n4"), "{error}");
        let error = listen(sh("echo why >&2; exit 3"), Awaited::Text("x".to_owned())).await.unwrap_err();
        assert!(error.to_string().contains("exit status: 3:\nwhy"), "{error}");
    }
}
