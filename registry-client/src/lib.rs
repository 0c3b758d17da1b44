//! OCI registries: image references, digests, tags, copy and import. Knows nothing of builds.
//!
//! | module | holds |
//! |---|---|
//! | [`mod@reference`] | [`ImageRef`] and its parts, checked against the OCI grammar when parsed |
//! | [`okteto`] | what `okteto.dev/…` and `okteto.global/…` mean ([`Hosts`]) |
//! | [`auth`] | how a call proves who it is ([`Auth`]) |
//! | [`ca`] | whose certificates are trusted beside the system's ([`CaFile`]) |
//! | [`client`] | [`RegistryClient`]: the calls themselves |
//! | [`error`] | [`RegistryError`] |
//!
//! Reads go to registries that a user's Dockerfile names, so every answer is bounded in size and time. `oci-client` (which
//! reads answers whole, and keeps the first credentials it sees for a host) is used for what it does well: streaming and
//! mounting blobs in the registry that we push to.

pub mod auth;
pub mod ca;
pub mod client;
pub mod digest;
pub mod error;
pub mod okteto;
pub mod reference;

pub use auth::Auth;
pub use ca::{CaFile, InvalidCaFile};
pub use client::{Imported, Patience, Platform, RegistryClient, RegistryClientBuilder, is_public};
pub use digest::Digest;
pub use error::{ArchiveError, RegistryError};
pub use okteto::Hosts;
pub use reference::{ImageRef, InvalidReference, RegistryHost, RepositoryName, Tag};
