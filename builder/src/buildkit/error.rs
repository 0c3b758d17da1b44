//! What goes wrong with an engine, and what a failed solve says about itself.
//!
//! BuildKit sends typed details in `grpc-status-details-bin` (`google.rpc.Status`); each detail's value is JSON, and its type
//! URL is `github.com/moby/buildkit/<type>+json` (BuildKit, `util/grpcerrors` and `solver/errdefs`).

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard_buildkit_proto::google::rpc;
use prost::Message as _;
use serde::Deserialize;
use tonic::{Code, Status};

use super::address::Address;

/// What goes wrong with an engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection.
    #[error("connect to engine {address}: {source}")]
    Connect {
        /// The engine.
        address: Address,
        /// Why.
        source: std::io::Error,
    },
    /// A connection, but no answer.
    #[error("engine {address} does not answer: {}", .source.message())]
    Unreachable {
        /// The engine.
        address: Address,
        /// Its answer.
        source: Box<Status>,
    },
    /// A TLS configuration that can't be used.
    #[error("TLS for engine {address}: {source}")]
    Tls {
        /// The engine.
        address: Address,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A Docker Engine that can't push from inside a build.
    #[error(
        "Docker Engine {address} keeps images in its old store ({driver}), which can't push from inside a build: turn the containerd \
         image store on ({{\"features\": {{\"containerd-snapshotter\": true}}}} in its daemon.json, then restart it), or set `engine` \
         to a buildkitd"
    )]
    OldImageStore {
        /// The engine.
        address: Address,
        /// Its storage driver.
        driver: String,
    },
    /// An engine that can build nothing.
    #[error("engine {address} has no worker")]
    NoWorker {
        /// The engine.
        address: Address,
    },
    /// What the daemon's processes share of the engines can't be read or written.
    #[error("the engines' shared folder: {0}")]
    Pool(String),
    /// The solve failed: what the user asked for can't be done.
    #[error("{}", .0.message)]
    Solve(Box<SolveFailure>),
    /// The engine, or the connection to it, went away.
    #[error("the engine went away: {0}")]
    Lost(String),
    /// BuildKit fetches a layer that several builds need once, with any of their sessions: also with one that has no right to
    /// the repository which another one has it from.
    #[error("the engine mixed up who may fetch a layer: {0}")]
    Mixed(String),
    /// We cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// How `BuildKit` begins the failures of a frontend that it was told to take (`frontend/dockerfile/builder/build.go`).
const FORCED_FRONTEND: &str = "failed with build-arg:BUILDKIT_SYNTAX = ";

/// A failed solve.
#[derive(Debug, Default, Clone)]
pub struct SolveFailure {
    /// BuildKit's message, with `file:line` and the source around it in front when BuildKit said where.
    pub message: String,
    /// The failing process's exit code.
    pub exit_code: Option<i32>,
    /// The failing vertex.
    pub vertex: Option<String>,
}

impl Error {
    /// Whether the same request may succeed on another try.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Unreachable { .. } | Self::Lost(_) | Self::Mixed(_))
    }

    /// What an engine's status means.
    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    pub(super) fn from_status(status: Status) -> Self {
        let failure = failure(&status);
        let lost = match status.code() {
            // What h2, tonic or a dying engine say. A build that fails on its own comes as Unknown, InvalidArgument, NotFound…
            // Cancelled is buildkitd's answer to a lost session; our own cancels never get here.
            Code::Unavailable | Code::Aborted | Code::Cancelled => true,
            Code::Unknown | Code::Internal | Code::DeadlineExceeded | Code::NotFound => {
                is_transport(&status) || is_lost_push(status.message())
            }
            _ => false,
        };
        if is_mixed_up(status.message()) {
            return Self::Mixed(status.message().to_owned());
        }
        // A process that ran and failed is never the connection's fault, whatever it printed.
        if lost && failure.exit_code.is_none() {
            Self::Lost(status.message().to_owned())
        } else {
            Self::Solve(Box::new(failure))
        }
    }
}

/// Whether the status comes from the connection rather than from BuildKit.
fn is_transport(status: &Status) -> bool {
    let text = status.message();
    std::error::Error::source(status).is_some()
        || [
            "transport error",
            "h2 protocol error",
            "no active session",
            "no such job",
            "error reading from server: EOF",
        ]
        .iter()
        .any(|known| text.contains(known))
}

/// In the URL of a token for the service's own registry.
const OWN_REGISTRY: &str = "service=slipway-registry";

/// Whether a layer could not be fetched whose image had been found (who may read its manifest may read its layers), or whether
/// nobody's token was asked for to find an image of the service's own registry: ours gets one for each that the policy allows.
fn is_mixed_up(text: &str) -> bool {
    let layer = text.contains("failed to copy: httpReadSeeker: failed open")
        && (text.contains("insufficient_scope") || text.contains("failed to authorize"));
    let image = ["failed to resolve source metadata", "failed to fetch anonymous token", OWN_REGISTRY];
    layer || image.iter().all(|part| text.contains(part))
}

/// Whether the registry was away when the image was to be pushed.
fn is_lost_push(text: &str) -> bool {
    text.contains("failed to push")
        && [
            "connection refused",
            "connection reset",
            "EOF",
            "i/o timeout",
            "502 Bad Gateway",
            "503 Service Unavailable",
        ]
        .iter()
        .any(|known| text.contains(known))
}

fn failure(status: &Status) -> SolveFailure {
    // Nobody but us gave the argument.
    let message = status.message().replace(FORCED_FRONTEND, "the frontend ");
    let mut failure = SolveFailure { message, ..SolveFailure::default() };
    let Ok(details) = rpc::Status::decode(status.details()) else { return failure };
    let mut place = None;
    for any in &details.details {
        let kind = any.type_url.rsplit('/').next().unwrap_or_default().trim_end_matches("+json");
        match kind.rsplit("errdefs.").next().unwrap_or(kind) {
            "Source" => place = place.or_else(|| serde_json::from_slice::<Source>(&any.value).ok()),
            "Vertex" => failure.vertex = serde_json::from_slice::<Vertex>(&any.value).ok().map(|vertex| vertex.digest),
            _ if kind.ends_with("ExitMessage") => {
                failure.exit_code = serde_json::from_slice::<Exit>(&any.value).ok().map(|exit| exit.code);
            }
            _ => {}
        }
    }
    if let Some(excerpt) = place.as_ref().and_then(Source::excerpt) {
        failure.message = format!("{excerpt}\n{}", failure.message);
    }
    failure
}

#[derive(Deserialize)]
struct Vertex {
    #[serde(default)]
    digest: String,
}

#[derive(Deserialize)]
struct Exit {
    #[serde(alias = "Code", default)]
    code: i32,
}

#[derive(Deserialize)]
struct Source {
    info: Option<SourceInfo>,
    #[serde(default)]
    ranges: Vec<Range>,
}

#[derive(Deserialize)]
struct SourceInfo {
    #[serde(default)]
    filename: String,
    #[serde(default)]
    data: String,
}

#[derive(Deserialize)]
struct Range {
    start: Option<Position>,
    end: Option<Position>,
}

#[derive(Deserialize)]
struct Position {
    #[serde(default)]
    line: usize,
}

impl Source {
    /// `Dockerfile:2` and the lines around it, the failing ones marked.
    fn excerpt(&self) -> Option<String> {
        const AROUND: usize = 2;
        let info = self.info.as_ref()?;
        let range = self.ranges.first()?;
        let first = range.start.as_ref().map(|position| position.line).filter(|line| *line > 0)?;
        let last = range.end.as_ref().map_or(first, |position| position.line.max(first));
        let bytes = STANDARD.decode(&info.data).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let mut excerpt = format!("{}:{first}", info.filename);
        let from = first.saturating_sub(AROUND).max(1);
        for (index, line) in text.lines().enumerate().skip(from - 1).take(last + AROUND + 1 - from) {
            let number = index + 1;
            let mark = if (first..=last).contains(&number) { ">>>" } else { "   " };
            // Writing to a String can't fail.
            let _ = write!(excerpt, "\n{number:>4} | {mark} {line}");
        }
        Some(excerpt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard_buildkit_proto::google::protobuf::Any;

    fn detail(kind: &str, json: &str) -> Any {
        Any { type_url: format!("github.com/moby/buildkit/{kind}+json"), value: json.as_bytes().to_vec() }
    }

    #[test]
    fn a_failed_run_names_its_line_and_code() {
        let data = STANDARD.encode("FROM a\nRUN false\n");
        let source = format!(
            r#"{{"info":{{"filename":"Dockerfile","data":"{data}"}},"ranges":[{{"start":{{"line":2}},"end":{{"line":2,"character":9}}}}]}}"#
        );
        let details = rpc::Status {
            code: 2,
            message: "failed".to_owned(),
            details: vec![
                detail("errdefs.Source", &source),
                detail("errdefs.Vertex", r#"{"digest":"sha256:1"}"#),
                detail("gatewayapi.ExitMessage", r#"{"Code":37}"#),
            ],
        };
        let status = Status::with_details(Code::Unknown, "exit code: 37", details.encode_to_vec().into());
        let Error::Solve(failure) = Error::from_status(status) else { panic!("a solve failure") };
        assert_eq!(failure.exit_code, Some(37));
        assert_eq!(failure.vertex.as_deref(), Some("sha256:1"));
        assert_eq!(failure.message, "Dockerfile:2\n   1 |     FROM a\n   2 | >>> RUN false\nexit code: 37");
    }

    #[test]
    fn no_argument_is_named_that_the_user_did_not_give() {
        let said = "failed with build-arg:BUILDKIT_SYNTAX = docker/dockerfile:1: failed to resolve source metadata";
        let error = Error::from_status(Status::unknown(said));
        assert_eq!(error.to_string(), "the frontend docker/dockerfile:1: failed to resolve source metadata");
    }

    #[test]
    fn a_lost_engine_is_transient() {
        assert!(Error::from_status(Status::unavailable("EOF")).is_transient());
        assert!(Error::from_status(Status::unknown("failed to get session: no active session for x")).is_transient());
        assert!(!Error::from_status(Status::unknown("exit code: 1")).is_transient());
        let layer =
            "failed to copy: httpReadSeeker: failed open: server message: insufficient_scope: authorization failed";
        assert!(Error::from_status(Status::unknown(layer)).is_transient());
        let image = "failed to resolve source metadata for x: insufficient_scope: authorization failed";
        assert!(!Error::from_status(Status::unknown(image)).is_transient());
        let token = |service: &str| {
            let url = format!("http://127.0.0.1:1/token?scope=repository%3Aa%2Fb%3Apull&service={service}");
            let text = format!(
                "failed to resolve source metadata for x: failed to authorize: failed to fetch anonymous token: unexpected status from GET request to {url}: 401 Unauthorized"
            );
            Error::from_status(Status::unknown(text)).is_transient()
        };
        assert!(token(crate::registry::signer::SERVICE) && !token("registry.example"));
        let push = "failed to push 127.0.0.1:1/a/b:c: dial tcp 127.0.0.1:1: connect: connection refused";
        assert!(Error::from_status(Status::unknown(push)).is_transient());
    }
}
