//! The frames of both directions.

mod wire;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::FrameError;

/// A frame of one direction, as bytes: `[u32 length, big-endian][u8 type][payload]`, the length being the payload's.
pub trait Frame: Sized {
    /// The largest payload of a type, `None` if this direction has no such type.
    fn limit(kind: u8) -> Option<usize>;

    /// Reads a payload of a type.
    fn parse(kind: u8, payload: &[u8]) -> Result<Self, FrameError>;

    /// Appends the frame to `out`; an error leaves `out` as it was.
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), FrameError>;
}

/// What the job's process says to the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToAgent {
    /// The first frame.
    Hello(Hello),
    /// Start a command.
    Run(Run),
    /// End everything that runs: TERM, the grace period, KILL. Answered with [`FromAgent::Stopped`].
    Stop {
        /// Another grace period than that of [`Hello`].
        grace_ms: Option<u64>,
    },
    /// Nothing more will be asked: exit with 0 when everything has been reported.
    Finish,
    /// Send files; while no command runs. Answered with [`FromAgent::Artifacts`] and [`FromAgent::Collected`].
    Collect(Collect),
    /// A frame of a forwarded connection.
    Stream(StreamFrame),
}

/// What the agent says to the job's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromAgent {
    /// The answer to [`ToAgent::Hello`].
    Ready(Ready),
    /// A command's process exists.
    Started {
        /// The command.
        index: u32,
        /// Its process id, as the container counts them.
        pid: u32,
    },
    /// A piece of a command's output.
    Output(Output),
    /// A command has ended, or could not be started.
    Exit(Exit),
    /// Nothing of what was running is left.
    Stopped,
    /// Something the job's log should say.
    Warning(String),
    /// A process inside has connected to a forwarded port.
    StreamOpen {
        /// The new stream.
        id: u32,
        /// The port.
        port: u16,
    },
    /// The next bytes of the archive (tar) that was asked for, at most [`crate::BLOCK`] of them.
    Artifacts(Vec<u8>),
    /// The archive has ended.
    Collected(Collected),
    /// A frame of a forwarded connection.
    Stream(StreamFrame),
}

/// How the channel is to be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// [`crate::PROTOCOL`].
    pub protocol: u32,
    /// The ports to listen on, on `127.0.0.1` and `::1`.
    pub listen: Vec<u16>,
    /// Listen on none of them: the engine's steps share the host's network, where the real ports are.
    pub no_listen: bool,
    /// How long processes may take to end after TERM.
    pub grace_ms: u64,
    /// The registry (`host[:port]`) to which commands' tools are logged in with the token that they have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// What all commands may use together.
    #[serde(default)]
    pub limits: Limits,
}

impl Hello {
    /// Of commands that are on their own for so long after TERM: nothing is listened on.
    pub fn new(grace: Duration) -> Self {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        Self {
            protocol: crate::PROTOCOL,
            listen: Vec::new(),
            no_listen: true,
            grace_ms,
            registry: None,
            limits: Limits::default(),
        }
    }
}

/// What all that runs may use together, from the first command on; each 0 where there is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Time, the pauses between commands included.
    pub time_ms: u64,
    /// Output, on the average: what is more waits.
    pub output_bytes_per_s: u64,
    /// Memory, without what is only kept of files.
    pub memory_bytes: u64,
    /// Processors' time.
    pub cpu_ms: u64,
    /// Processes and threads at one moment.
    pub pids: u64,
}

impl Limits {
    /// Whether usage has to be looked at.
    pub(crate) fn watches_usage(&self) -> bool {
        self.memory_bytes > 0 || self.cpu_ms > 0 || self.pids > 0
    }
}

/// What can be exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// [`Limits::time_ms`]
    Time,
    /// [`Limits::memory_bytes`]
    Memory,
    /// [`Limits::cpu_ms`]
    Cpu,
    /// [`Limits::pids`]
    Pids,
}

/// A limit that was exceeded, so that all that ran was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exceeded {
    /// Which.
    pub limit: Limit,
    /// How much is allowed, as in [`Limits`].
    pub allowed: u64,
    /// How much it was.
    pub found: u64,
}

/// A command to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Names the command in all that is said about it.
    pub index: u32,
    /// The program, looked up in the `PATH` of `env`, and its arguments.
    pub argv: Vec<String>,
    /// The working directory.
    pub cwd: PathBuf,
    /// The whole environment; of two entries with one name the later counts.
    pub env: Vec<(String, String)>,
    /// Make a new empty file, name it in [`crate::ENV_FILE_VARIABLE`], and send it with the [`Exit`].
    pub env_file: bool,
}

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collect {
    /// What the paths are below; nothing outside of it is sent.
    pub folder: PathBuf,
    /// The files.
    pub artifacts: Vec<Artifact>,
    /// How many files may be sent.
    pub max_files: usize,
    /// How many bytes of all of them.
    pub max_bytes: u64,
}

/// Files to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// A path or a pattern (`*`, `?`, `[…]`, `**`). A folder is all that is in it.
    pub path: String,
    /// What it is called in the archive; none: as it is. A folder if it ends with `/`, or if the path is a pattern.
    pub destination: Option<String>,
}

/// What was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collected {
    /// The files' names in the archive, and their bytes.
    pub files: Vec<(String, u64)>,
    /// The paths and patterns of which there is nothing.
    pub unmatched: Vec<String>,
    /// What was left out, and why.
    pub problems: Vec<String>,
}

/// The agent is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// [`crate::PROTOCOL`].
    pub protocol: u32,
    /// The agent's version.
    pub version: String,
    /// Its process id: 1 in a container of its own.
    pub pid: u32,
    /// The user it and all commands run as.
    pub uid: u32,
    /// The group it and all commands run as.
    pub gid: u32,
    /// That user's home.
    #[serde(default)]
    pub home: String,
    /// The ports it listens on.
    pub listening: Vec<u16>,
    /// The ports it could not listen on.
    pub not_listening: Vec<NotListening>,
}

/// A port that could not be listened on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotListening {
    /// The port.
    pub port: u16,
    /// Why not.
    pub error: String,
}

/// One of a command's two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of output, split anywhere. The two streams of a command are not ordered against each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The command.
    pub index: u32,
    /// Where it was written.
    pub stream: OutputStream,
    /// The bytes, at most [`crate::BLOCK`] of them.
    pub bytes: Vec<u8>,
}

/// How a command ended. One of `exit_code`, `signal` and `error` is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exit {
    /// The command.
    pub index: u32,
    /// The status it exited with.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Why it could not be started, or not be waited for.
    pub error: Option<String>,
    /// The limit that ended it, or that was exceeded before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exceeded: Option<Exceeded>,
    /// From its start to its end, without the wait for the rest of its output.
    pub duration_ms: u64,
    /// What it left in its variables file, if it was to have one (carried beside the JSON, as it may be any bytes).
    #[serde(skip)]
    pub env_file: Option<Vec<u8>>,
}

/// A frame of a forwarded connection, the same in both directions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamFrame {
    /// Bytes; they use up the receiver's window.
    Data {
        /// The stream.
        id: u32,
        /// The bytes, at most [`crate::MAX_DATA`] - 4 of them.
        bytes: Vec<u8>,
    },
    /// No more bytes from this side.
    End {
        /// The stream.
        id: u32,
    },
    /// The connection is broken or refused, in both directions.
    Reset {
        /// The stream.
        id: u32,
    },
    /// The receiver has passed on bytes: as many more may be sent.
    Window {
        /// The stream.
        id: u32,
        /// How many bytes.
        credit: u32,
    },
}

impl StreamFrame {
    /// The stream that the frame belongs to.
    pub fn id(&self) -> u32 {
        match *self {
            Self::Data { id, .. } | Self::End { id } | Self::Reset { id } | Self::Window { id, .. } => id,
        }
    }
}
