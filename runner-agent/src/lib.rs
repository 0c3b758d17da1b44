//! The frames between a job's process and the runner's first process (the agent), and their limits.
//!
//! The agent ([`agent`]) is the binary of this crate, too. It is the first process of a gateway container; the job's process drives it
//! over its stdin ([`ToAgent`]) and hears from it over its stdout ([`FromAgent`]). Commands have pipes of their own, so
//! nothing that they print can be taken for a frame. `slipway` is its own agent where commands run on its machine.
//!
//! ```text
//! job's process                                   agent
//!   Hello{ports, grace}            ->
//!                                  <-   Ready
//!   (writes down command.started)
//!   Run{index, argv, cwd, env}     ->
//!                                  <-   Started, Output..., Exit       (no Started when it could not be started)
//!   next Run, or Stop              ->
//!                                  <-   (Exit of what ran), Stopped    (after Stop; another Run may follow)
//!   Collect{artifacts}             ->
//!                                  <-   Artifacts..., Collected
//!   Finish                         ->
//!                                       ends what is left, sends the rest of the output, exits with 0
//! ```
//!
//! # Rules
//!
//! - [`Hello`] comes first, and once. Anything else before it is a protocol error.
//! - One command at a time: the next [`Run`] only after the [`Exit`] (or [`FromAgent::Stopped`]) before it.
//! - All output that a command had written when it ended comes before its [`Exit`]. What a process that it left behind
//!   writes later still comes, under the same index.
//! - [`Collect`] only while no command runs, and no other one.
//! - A second [`ToAgent::Stop`] ends the grace period at once, or shortens it to the one that it names.
//! - When stdin ends before [`ToAgent::Finish`], when stdout can't be written, or after a protocol error, the agent ends
//!   everything (TERM, grace, KILL) and exits with a status other than 0. So it does when its own process gets TERM, INT
//!   or HUP, after a [`FromAgent::Warning`] and the [`Exit`] of what ran; its status is 128 and the signal's number.
//! - It reaps every process that loses its parent, whether it is the container's first process or not.
//!
//! # Streams
//!
//! A connection to a forwarded port inside the container is a stream: [`FromAgent::StreamOpen`] names it, ids are never
//! used twice. Each side may send at most [`WINDOW`] bytes of data more than the other has given back by
//! [`StreamFrame::Window`]; who sends more has its stream reset. [`StreamFrame::End`] closes one direction, after both
//! the stream is gone. [`StreamFrame::Reset`] ends it at once and is not answered; after an End of
//! the job's side it says that nothing more is read there, which the process inside learns some seconds after what came
//! before has been written to it. Frames for a stream that is gone are ignored, on both sides: they may have been under
//! way, and a few may follow the agent's own Reset. Streams are not ordered against commands: a [`FromAgent::StreamOpen`] may come before the
//! [`FromAgent::Started`] of the command that connects.

pub mod agent;
pub mod connect;
mod decoder;
mod error;
pub mod frames;
pub mod login;

pub use decoder::Decoder;
pub use error::FrameError;
pub use frames::{
    Artifact, Collect, Collected, Exceeded, Exit, Frame, FromAgent, Hello, Limit, Limits, NotListening, Output,
    OutputStream, Ready, Run, StreamFrame, ToAgent,
};

/// The version of the frames. Both ends are shipped together, so another one is an error.
pub const PROTOCOL: u32 = 2;

/// Bytes before a frame's payload: its length as a big-endian `u32`, and its type.
pub const HEADER: usize = 5;

/// The largest payload of a frame that carries data ([`Output`], [`StreamFrame`]).
pub const MAX_DATA: usize = 64 * 1024;

/// The largest payload of any other frame. A [`Run`] holds a whole environment, an [`Exit`] the variables file.
pub const MAX_CONTROL: usize = 8 * 1024 * 1024;

/// The most bytes of data that the agent puts in one frame.
pub const BLOCK: usize = 32 * 1024;

/// How many bytes of a stream may be under way in one direction before the receiver gives credit.
pub const WINDOW: u32 = 256 * 1024;

/// How many streams are open at once; further connections wait.
pub const MAX_STREAMS: usize = 256;

/// The largest variables file (`OKTETO_ENV`) that is sent.
pub const MAX_ENV_FILE: usize = 1024 * 1024;

/// The variable that names a command's variables file.
pub const ENV_FILE_VARIABLE: &str = "OKTETO_ENV";
