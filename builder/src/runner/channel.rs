//! Frames to and from the agent, over its standard input and output.

use slipway_runner_agent::{Decoder, Frame as _, FrameError, FromAgent, ToAgent};
use tokio::sync::mpsc;

use crate::buildkit::gateway::{Input, Output, Said};
use crate::buildkit::{self};

/// Frames on their way to the agent.
const QUEUE: usize = 64;
/// The agent's own last words that are kept.
const MAX_STDERR: usize = 4096;

/// Why the channel is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The agent ended, or the engine ended it.
    #[error("it ended unexpectedly")]
    Closed,
    /// It ended with something to say.
    #[error("it ended with status {code}: {stderr}")]
    Ended {
        /// Its exit status.
        code: u32,
        /// What it wrote to its standard error.
        stderr: String,
    },
    /// The image doesn't know the user that it names.
    #[error("{0}")]
    User(String),
    /// No answer.
    #[error("it does not answer")]
    Silent,
    /// A frame that makes no sense.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The engine's call failed.
    #[error(transparent)]
    Engine(#[from] Box<buildkit::Error>),
}

/// The channel to one agent.
#[derive(Debug)]
pub struct Channel {
    /// Gone once nothing more is to be sent.
    frames: Option<mpsc::Sender<ToAgent>>,
    output: Output,
    decoder: Decoder<FromAgent>,
    stderr: Vec<u8>,
}

impl Channel {
    /// Over a process's input and output.
    pub fn new(input: Input, output: Output) -> Self {
        let (frames, mut queue) = mpsc::channel::<ToAgent>(QUEUE);
        // A task of its own, so that reading never waits for writing. It ends with the channel or the process.
        tokio::spawn(async move {
            let mut bytes = Vec::new();
            while let Some(frame) = queue.recv().await {
                bytes.clear();
                if let Err(error) = frame.encode(&mut bytes) {
                    tracing::error!(%error, "can't send a frame to the runner");
                    break;
                }
                if input.write(&bytes).await.is_err() {
                    break;
                }
            }
            let _ = input.close().await;
        });
        Self { frames: Some(frames), output, decoder: Decoder::new(), stderr: Vec::new() }
    }

    /// The container that the agent is in.
    pub fn container(&self) -> &str {
        self.output.container()
    }

    /// For those who send frames on their own.
    pub fn sender(&self) -> Option<mpsc::Sender<ToAgent>> {
        self.frames.clone()
    }

    /// Sends a frame.
    pub async fn send(&self, frame: ToAgent) -> Result<(), ChannelError> {
        let frames = self.frames.as_ref().ok_or(ChannelError::Closed)?;
        frames.send(frame).await.map_err(|_| ChannelError::Closed)
    }

    /// Ends the agent's input once what was sent is written and no other sender is left. Only then does BuildKit say that the
    /// process is done.
    pub fn close_input(&mut self) {
        self.frames = None;
    }

    /// The next frame; nothing after the agent's end in good order. May be dropped and called again.
    pub async fn next(&mut self) -> Result<Option<FromAgent>, ChannelError> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(Some(frame));
            }
            match self.output.next().await.map_err(Box::new)? {
                Some(Said::Stdout(bytes)) => self.decoder.feed(&bytes),
                Some(Said::Stderr(bytes)) => {
                    let room = MAX_STDERR.saturating_sub(self.stderr.len());
                    self.stderr.extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
                Some(Said::Exited(0, _)) => {}
                Some(Said::Exited(code, message)) => {
                    let stderr = String::from_utf8_lossy(&self.stderr).trim().to_owned();
                    if is_unknown_user(&message) {
                        return Err(ChannelError::User(message));
                    }
                    let stderr = if stderr.is_empty() { message } else { stderr };
                    return Err(ChannelError::Ended { code, stderr });
                }
                None => return Ok(None),
            }
        }
    }
}

/// As BuildKit says it before it starts a process (moby/sys/user, `GetExecUser`).
fn is_unknown_user(message: &str) -> bool {
    ["unable to find user ", "unable to find group "].iter().any(|words| message.contains(words))
}
