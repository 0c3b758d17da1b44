//! Why a call to a registry failed.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::StatusCode;

use crate::digest::Digest;

/// A call to a registry failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The HTTP client could not be made (no usable root certificates, for example).
    #[error("set up the registry client")]
    Setup {
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
    /// The registry could not be reached, or the connection broke.
    #[error("{operation} `{target}`{}", tried(*.attempts))]
    Request {
        /// What was being done.
        operation: &'static str,
        /// The image, repository or blob.
        target: String,
        /// How often it was tried.
        attempts: u32,
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
    /// It leads to where a user may not make us send requests.
    #[error("{operation} `{target}`: {problem}")]
    NotPublic {
        /// What was being done.
        operation: &'static str,
        /// The image, repository or blob.
        target: String,
        /// What is wrong.
        problem: String,
    },
    /// The call took longer than its bound.
    #[error("{operation} `{target}`: no answer within {seconds} s")]
    Timeout {
        /// What was being done.
        operation: &'static str,
        /// The image, repository or blob.
        target: String,
        /// The bound.
        seconds: u64,
    },
    /// 401 or 403, from the registry or from its token server.
    #[error("{operation} `{target}`: access denied by the registry{}", detail(.message))]
    Denied {
        /// What was being done.
        operation: &'static str,
        /// The image, repository or blob.
        target: String,
        /// What the registry said, shortened.
        message: String,
    },
    /// The image, manifest or blob isn't there.
    #[error("{operation} `{target}`: not found")]
    NotFound {
        /// What was being done.
        operation: &'static str,
        /// The image, repository or blob.
        target: String,
    },
    /// Any other status.
    #[error("{operation} `{target}`: the registry answered {status}{}{}", detail(.message), tried(*.attempts))]
    Status {
        /// What was being done.
        operation: &'static str,
        /// The image, repository or blob.
        target: String,
        /// The status.
        status: StatusCode,
        /// What the registry said, shortened.
        message: String,
        /// How long it asked to wait (`Retry-After`).
        retry_after: Option<Duration>,
        /// How often it was tried.
        attempts: u32,
    },
    /// An answer is larger than anything sensible.
    #[error("{operation} `{target}`: the answer is larger than {limit} bytes")]
    TooLarge {
        /// What was being done.
        operation: &'static str,
        /// The image, repository or blob.
        target: String,
        /// The bound.
        limit: usize,
    },
    /// Content isn't what its digest says.
    #[error("{operation} `{target}`: got content with digest {actual} instead of {expected}")]
    DigestMismatch {
        /// What was being done.
        operation: &'static str,
        /// The image, repository or blob.
        target: String,
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// The answer makes no sense.
    #[error("{operation} `{target}`: {problem}")]
    Protocol {
        /// What was being done.
        operation: &'static str,
        /// The image, repository or blob.
        target: String,
        /// What is wrong.
        problem: String,
    },
    /// A blob could not be pushed or mounted.
    #[error("{operation} `{target}`")]
    Blob {
        /// What was being done.
        operation: &'static str,
        /// The blob and its repository.
        target: String,
        /// The cause.
        #[source]
        source: Box<oci_client::errors::OciDistributionError>,
    },
    /// Source and target of a copy are on different registries.
    #[error("copy `{from}` to `{to}`: both must be on the same registry")]
    CopyAcross {
        /// The source.
        from: String,
        /// The target.
        to: String,
    },
    /// The archive to import is unusable.
    #[error("read OCI archive `{path}`", path = path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// The cause.
        #[source]
        source: ArchiveError,
    },
}

impl RegistryError {
    /// The same of a call that was tried so often.
    pub(crate) fn after(mut self, times: u32) -> Self {
        if let Self::Request { attempts, .. } | Self::Status { attempts, .. } = &mut self {
            *attempts = times;
        }
        self
    }
}

/// An OCI archive can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Reading failed.
    #[error("{operation}")]
    Io {
        /// What was being read.
        operation: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file is compressed.
    #[error("it is compressed; an OCI archive as BuildKit's `type=oci` writes it is a plain tar")]
    Compressed,
    /// There is no `index.json`.
    #[error("it has no index.json: not an OCI image layout")]
    NoIndex,
    /// The index names nothing.
    #[error("its index.json lists no image")]
    Empty,
    /// Too many entries or manifests.
    #[error("it has more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// A manifest, index or the `index.json` is too large.
    #[error("`{what}` is larger than {limit} bytes")]
    TooLarge {
        /// Which.
        what: String,
        /// The bound.
        limit: u64,
    },
    /// JSON that doesn't parse.
    #[error("parse `{what}`")]
    Json {
        /// Which.
        what: String,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// A descriptor's digest is malformed.
    #[error("`{0}` is not a sha256 digest")]
    Digest(String),
    /// A blob that a manifest names isn't there.
    #[error("blob {0} is missing")]
    MissingBlob(Digest),
    /// A blob's bytes are not what its digest says.
    #[error("blob {expected} is damaged: its content has digest {actual}")]
    Damaged {
        /// The digest in its name.
        expected: Digest,
        /// The digest of its bytes.
        actual: Digest,
    },
}

fn detail(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

fn tried(attempts: u32) -> String {
    if attempts > 1 { format!(" (after {attempts} attempts)") } else { String::new() }
}
