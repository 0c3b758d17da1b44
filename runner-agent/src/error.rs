//! What can be wrong with a frame.

/// Why a frame could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The payload is larger than its type may be.
    #[error("frame of type {kind:#04x} has {length} bytes, {limit} are allowed")]
    TooLarge {
        /// The frame's type.
        kind: u8,
        /// The payload's length.
        length: usize,
        /// The largest one allowed.
        limit: usize,
    },
    /// No frame of this direction has the type.
    #[error("unknown frame type {0:#04x}")]
    UnknownType(u8),
    /// A binary payload that is too short, or has a field of no meaning.
    #[error("malformed frame of type {0:#04x}")]
    Malformed(u8),
    /// A JSON payload that is not what its type says.
    #[error("JSON of frame type {kind:#04x}")]
    Json {
        /// The frame's type.
        kind: u8,
        /// What the parser says.
        source: serde_json::Error,
    },
}
