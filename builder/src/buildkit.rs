//! BuildKit's client side: engines, the session and its services, solves, progress, gateway containers.
//!
//! Everything here speaks BuildKit's own types (`bollard-buildkit-proto`); nothing of them leaves this module but what
//! [`solve`] and [`gateway`] return. The protocol is described in `docs/protocol.md`.
//!
//! | module | holds |
//! |---|---|
//! | [`address`] | where an engine is: `unix://`, `tcp://`, `docker://` |
//! | [`engine`] | connect to it, probe what it can do |
//! | [`feature`] | what not every engine can do, and how one is asked for it |
//! | `docker` | what a Docker Engine says of itself |
//! | [`pool`] | several of them: which one takes a build |
//! | [`transport`] | byte streams to it: sockets, upgraded Docker connections |
//! | [`session`] | our gRPC server on the stream that BuildKit calls back on |
//! | [`solve`] | one image build |
//! | [`progress`] | BuildKit's status stream as our events |
//! | [`error`] | what a failed solve says: the vertex, the line, the exit code |
//! | [`llb`] | definitions that we write ourselves |
//! | [`gateway`] | a container whose processes we start |
//! | [`mirrors`] | the mirrors that it takes images from |
//! | [`usage`] | what lies in its cache |
//! | [`policy`] | which images a namespace may use as sources |

pub mod address;
mod docker;
pub mod engine;
pub mod error;
pub mod feature;
pub mod gateway;
pub mod llb;
pub mod mirrors;
pub mod policy;
pub mod pool;
pub mod progress;
pub mod session;
pub mod solve;
pub mod transport;
pub mod usage;

pub use address::Address;
pub use engine::Engine;
pub use error::Error;
pub use feature::Feature;
pub use pool::Pool;

/// BuildKit's limit for one gRPC message, both ways.
pub(crate) const MAX_MESSAGE: usize = 16 << 20;

/// HTTP/2 connection and stream windows. h2 ends a connection with `too_many_data_frames` when small frames pile up unread
/// beyond half of the connection window, and BuildKit's file requests are 9 bytes each and come as fast as it can create files.
pub(crate) const WINDOW: u32 = 64 << 20;

/// A random id in the form that BuildKit's own clients use: 25 characters of base 36.
pub(crate) fn random_id() -> String {
    use rand::Rng as _;
    const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut rng = rand::rng();
    (0..25).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}
