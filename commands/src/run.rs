//! One command after another, over the channel to an agent.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use slipway_manifest::plan::{Command, CommandsPlan};
use slipway_runner_agent::{Exceeded, Exit, FromAgent, Hello, Limit, Limits, OutputStream, Ready, Run, ToAgent};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::grace::Grace;
use crate::room;
use crate::story::{Failed, Sink, Story};

#[cfg(test)]
mod tests;

/// How long the commands' processes may take to end after TERM, where nobody says.
pub const GRACE: Duration = Duration::from_secs(10);
/// The longest that somebody can say: nobody else changes the environment meanwhile.
pub const MAX_GRACE: Duration = Duration::from_mins(10);
/// What a stop may take beyond the grace period, until what KILL ends is gone and its last output told.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the agent may take to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(30);

/// Frames to an agent, and from it.
pub trait Channel: Send {
    /// Why it is of no more use.
    type Error: Send;

    /// Sends a frame.
    fn send(&mut self, frame: ToAgent) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// The next frame; none: the agent has ended.
    fn next(&mut self) -> impl Future<Output = Result<Option<FromAgent>, Self::Error>> + Send;

    /// A frame of a connection, which is no command's.
    fn connection(&mut self, frame: FromAgent);
}

/// Where commands run.
#[derive(Debug, Clone)]
pub struct Place {
    /// What a command's text is given to as one more argument.
    pub shell: Vec<String>,
    /// The working directory.
    pub cwd: PathBuf,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// How long processes may take to end after TERM; the agent's hello named the job's own.
    pub grace: Grace,
    /// What they may use together; the agent's hello named the same.
    pub limits: Limits,
}

/// Why commands could not be run to their end. A command that failed is none of these.
#[derive(Debug, thiserror::Error)]
pub enum RunError<E> {
    /// Somebody asked for the end, and what ran has ended.
    #[error("cancelled")]
    Cancelled,
    /// A command could not be started.
    #[error("{0}")]
    NotStarted(String),
    /// They used more than they may, and what ran has ended.
    #[error("a limit is exceeded")]
    Exceeded(Exceeded),
    /// All went well, and a variable that must have a value has none.
    #[error(transparent)]
    Required(Required),
    /// The agent has ended.
    #[error("the agent ended unexpectedly")]
    Closed,
    /// The agent says nothing.
    #[error("the agent does not answer")]
    Silent,
    /// The channel.
    #[error(transparent)]
    Channel(#[from] E),
}

/// A variable without a value, where the URL of something should be that runs elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` has no value: an endpoint of `external` has no `url`, and no command has set it")]
pub struct Required(pub String);

impl Required {
    /// What its job ends with.
    pub const CODE: &str = "variable_missing";

    /// What to do.
    pub fn hint(&self) -> String {
        format!("give the endpoint a `url`, or have a deploy command write `{}=…` to $OKTETO_ENV", self.0)
    }
}

/// Greets a new agent, and hears that it is there.
pub async fn hello<C: Channel>(channel: &mut C, hello: Hello) -> Result<Ready, RunError<C::Error>> {
    channel.send(ToAgent::Hello(hello)).await?;
    match tokio::time::timeout(HELLO_TIMEOUT, channel.next()).await.map_err(|_| RunError::Silent)?? {
        Some(FromAgent::Ready(ready)) => Ok(ready),
        Some(_) => Err(RunError::Silent),
        None => Err(RunError::Closed),
    }
}

/// Finds out whether the shell can be started, before any command is said to.
pub async fn probe<C: Channel>(channel: &mut C, place: &Place) -> Result<(), RunError<C::Error>> {
    // No command of a plan has it.
    const INDEX: u32 = u32::MAX;
    let argv = place.shell.iter().cloned().chain([":".to_owned()]).collect();
    let (cwd, env) = (place.cwd.clone(), place.env.clone().into_iter().collect());
    channel.send(ToAgent::Run(Run { index: INDEX, argv, cwd, env, env_file: false })).await?;
    loop {
        match tokio::time::timeout(HELLO_TIMEOUT, channel.next()).await.map_err(|_| RunError::Silent)?? {
            Some(FromAgent::Exit(exit)) if exit.index == INDEX => {
                return match exit {
                    Exit { error: Some(error), .. } => Err(RunError::NotStarted(error)),
                    Exit { exit_code: Some(0), .. } => Ok(()),
                    Exit { exit_code: Some(code), .. } => Err(RunError::NotStarted(format!("it ends with {code}"))),
                    Exit { signal, .. } => {
                        Err(RunError::NotStarted(format!("signal {} ends it", signal.unwrap_or_default())))
                    }
                };
            }
            Some(frame @ (FromAgent::StreamOpen { .. } | FromAgent::Stream(_))) => channel.connection(frame),
            Some(_) => {}
            None => return Err(RunError::Closed),
        }
    }
}

/// Runs the commands one after another until one fails, or all of them where the plan keeps going, and gives the last one that
/// failed.
pub async fn run<C: Channel, S: Sink + Sync>(
    channel: &mut C,
    plan: &CommandsPlan,
    place: Place,
    story: &mut Story<'_, S>,
    cancel: &CancellationToken,
) -> Result<Option<Failed>, RunError<C::Error>> {
    let argv = |command: &Command| place.shell.iter().chain([&command.command]).cloned().collect::<Vec<_>>();
    let mut env = place.env.clone();
    let fits = |command: &Command, env: &_| room::check(&argv(command), env).map_err(RunError::NotStarted);
    // What one of them can't be started with is told before the first one does anything.
    plan.commands.iter().try_for_each(|command| fits(command, &env))?;
    let (mut failed, began) = (None, Instant::now());
    for (index, command) in (0u32..).zip(&plan.commands) {
        if cancel.is_cancelled() {
            return Err(RunError::Cancelled);
        }
        fits(command, &env)?;
        story.started(index, command).map_err(|error| RunError::NotStarted(error.to_string()))?;
        let run = Run {
            index,
            argv: argv(command),
            cwd: place.cwd.clone(),
            env: env.clone().into_iter().collect(),
            env_file: true,
        };
        channel.send(ToAgent::Run(run)).await?;
        let exit = wait(channel, index, story, cancel, &place, began).await?;
        if let (Some(exceeded), Some(_)) = (exit.exceeded, &exit.error) {
            return Err(RunError::Exceeded(exceeded));
        }
        if let Some(error) = exit.error {
            return Err(RunError::NotStarted(error));
        }
        // As a shell reports a signal.
        let code = exit.exit_code.unwrap_or_else(|| 128 + exit.signal.unwrap_or(0));
        // Of one that failed as well: what it made is there.
        let left = story.variables(exit.env_file.as_deref().unwrap_or_default());
        story.done(index, code, exit.duration_ms);
        if cancel.is_cancelled() {
            return Err(RunError::Cancelled);
        }
        if let Some(exceeded) = exit.exceeded {
            return Err(RunError::Exceeded(exceeded));
        }
        if code != 0 {
            failed = Some(story.failed(code));
            if !plan.keep_going {
                break;
            }
        }
        env.extend(left);
    }
    match required(plan, &env).filter(|_| failed.is_none()) {
        Some(variable) => Err(RunError::Required(Required(variable.to_owned()))),
        None => Ok(failed),
    }
}

/// The first variable that must have a value after the commands and has none.
fn required<'p>(plan: &'p CommandsPlan, env: &BTreeMap<String, String>) -> Option<&'p str> {
    plan.required.iter().map(String::as_str).find(|name| env.get(*name).is_none_or(String::is_empty))
}

/// Until the command has ended. A cancel ends what runs, and is seen by the exit that it causes.
async fn wait<C: Channel, S: Sink + Sync>(
    channel: &mut C,
    index: u32,
    story: &mut Story<'_, S>,
    cancel: &CancellationToken,
    place: &Place,
    began: Instant,
) -> Result<Exit, RunError<C::Error>> {
    let mut grace = place.grace.clone();
    let patience = grace.own() + STOP_TIMEOUT;
    // The agent sees to the limit. Where it does not, the container goes.
    let allowed = place.limits.time_ms;
    let latest = Duration::from_millis(if allowed == 0 { u64::MAX } else { allowed }).saturating_add(patience);
    let latest = tokio::time::sleep(latest.saturating_sub(began.elapsed()));
    tokio::pin!(latest);
    let mut stopping = false;
    // Once we have asked for the end, it has to come: an engine that hangs loses the container instead.
    let deadline = tokio::time::sleep(Duration::MAX);
    tokio::pin!(deadline);
    loop {
        let stop = async { if stopping { grace.asked_again().await } else { cancel.cancelled().await } };
        let frame = tokio::select! {
            frame = channel.next() => frame?,
            () = stop => {
                let asked = grace.asked();
                let end = Instant::now() + asked.unwrap_or(grace.own()) + STOP_TIMEOUT;
                // Whoever asks again can have it earlier, not later.
                if !stopping || end < deadline.deadline() {
                    deadline.as_mut().reset(end);
                }
                stopping = true;
                let stop = channel.send(ToAgent::Stop { grace_ms: asked.map(|asked| asked.as_millis() as u64) });
                tokio::time::timeout(STOP_TIMEOUT, stop).await.map_err(|_| RunError::Cancelled)??;
                continue;
            }
            () = deadline.as_mut(), if stopping => return Err(RunError::Cancelled),
            () = latest.as_mut(), if !stopping => {
                let found = began.elapsed().as_millis() as u64;
                return Err(RunError::Exceeded(Exceeded { limit: Limit::Time, allowed, found }));
            }
        };
        match frame {
            Some(FromAgent::Output(output)) => {
                story.output(output.index, output.stream == OutputStream::Stderr, &output.bytes);
            }
            Some(FromAgent::Exit(exit)) if exit.index == index => return Ok(exit),
            Some(FromAgent::Warning(message)) => story.warn_of_agent(message),
            Some(frame @ (FromAgent::StreamOpen { .. } | FromAgent::Stream(_))) => channel.connection(frame),
            // An end of something else, or what nobody has asked for.
            Some(
                FromAgent::Stopped
                | FromAgent::Started { .. }
                | FromAgent::Ready(_)
                | FromAgent::Exit(_)
                | FromAgent::Artifacts(_)
                | FromAgent::Collected(_),
            ) => {}
            None => return Err(RunError::Closed),
        }
    }
}
