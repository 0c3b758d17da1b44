//! Slipway's gRPC API (`proto/slipway/v1/*.proto`) and the Rust generated from it.
//!
//! The generated code is checked in, so that no build needs `protoc`; `tests/generated.rs` fails when it no longer matches the
//! `.proto` files, and writes it anew when `SLIPWAY_REGENERATE=1` is set.

mod json;

/// Version 1 of the API.
#[expect(missing_docs, clippy::pedantic, reason = "generated; the documentation is in the .proto files")]
#[rustfmt::skip]
pub mod v1 {
    include!("generated/slipway.v1.rs");

    /// The encoded `FileDescriptorSet` of the API, for server reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/slipway.v1.bin");
}

/// What BuildKit asks of its clients beside what `bollard-buildkit-proto` has: containerd's content service.
#[expect(missing_docs, clippy::pedantic, reason = "generated; the documentation is in the .proto file")]
#[rustfmt::skip]
pub mod content {
    include!("generated/containerd.services.content.v1.rs");
}

/// Its value is nobody's to see.
impl std::fmt::Debug for v1::SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretValue").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Nor is this one's.
impl std::fmt::Debug for v1::SetVariableRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SetVariableRequest")
            .field("scope", &self.scope)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Nor is this one's.
impl std::fmt::Debug for v1::EnvironmentVariable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnvironmentVariable").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Nor is this one's, unless it is plain.
impl std::fmt::Debug for v1::Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Variable").field("name", &self.name).field("kind", &self.kind()).finish_non_exhaustive()
    }
}

/// Nor is this one.
impl std::fmt::Debug for v1::MaskedValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MaskedValue").finish_non_exhaustive()
    }
}

/// Its secret is nobody's to see.
impl std::fmt::Debug for v1::RegistryLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryLogin").field("host", &self.host).field("kind", &self.kind()).finish_non_exhaustive()
    }
}

/// Its repository may hold a password, and its variables secrets.
impl std::fmt::Debug for v1::DependencyPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DependencyPlan").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The last bytes of what a call's frames held that a `zstd_frame` may refer to (`SyncRequest` in `context.proto`).
pub const SYNC_HISTORY: usize = 1 << 20;
