//! What a test's commands leave for its caller, over the channel to an agent.

use std::io;
use std::time::Duration;

use slipway_runner_agent::{Collect, Collected, FromAgent, OutputStream, ToAgent};
use tokio_util::sync::CancellationToken;

use crate::run::{Channel, RunError};
use crate::story::{Sink, Story};

/// How long the agent may say nothing: it looks for files before it sends any.
const SILENCE: Duration = Duration::from_mins(2);

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
    loop {
        let frame = tokio::select! {
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
            Some(FromAgent::Warning(message)) => story.warn(message),
            Some(frame @ (FromAgent::StreamOpen { .. } | FromAgent::Stream(_))) => channel.connection(frame),
            Some(_) => {}
            None => return Err(RunError::Closed),
        }
    }
}
