//! The channel to an agent that is a process of ours.

use std::io;
use std::time::Duration;

use slipway_commands::Channel;
use slipway_runner_agent::{BLOCK, Decoder, Frame as _, FromAgent, ToAgent};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout};

/// An agent. Where it is dropped, its input ends, and it ends its commands.
#[derive(Debug)]
pub(super) struct Agent {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    decoder: Decoder<FromAgent>,
}

impl Agent {
    /// Over the pipes of a process.
    pub(super) fn new(mut child: Child) -> io::Result<Self> {
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.ok_or_else(|| io::Error::other("it has no pipes"))?;
        Ok(Self { child, input, output, decoder: Decoder::new() })
    }

    /// Waits until it has gone, for a while; reads what it still has to say.
    pub(super) async fn leave(mut self, patience: Duration) {
        let leave = async {
            while let Ok(Some(_)) = self.next().await {}
            self.child.wait().await
        };
        if !matches!(tokio::time::timeout(patience, leave).await, Ok(Ok(_))) {
            tracing::warn!("the agent did not end in time");
        }
    }
}

impl Channel for Agent {
    type Error = io::Error;

    async fn send(&mut self, frame: ToAgent) -> io::Result<()> {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes).map_err(io::Error::other)?;
        self.input.write_all(&bytes).await?;
        self.input.flush().await
    }

    /// What was read is not lost where this is dropped.
    async fn next(&mut self) -> io::Result<Option<FromAgent>> {
        let mut block = vec![0; BLOCK];
        loop {
            if let Some(frame) = self.decoder.next_frame().map_err(io::Error::other)? {
                return Ok(Some(frame));
            }
            match self.output.read(&mut block).await? {
                0 => return Ok(None),
                count => self.decoder.feed(block.get(..count).unwrap_or_default()),
            }
        }
    }

    fn connection(&mut self, _: FromAgent) {}
}
