//! The options' names.

use std::fmt;
use std::str::FromStr;

use super::InvalidOption;

/// One of the options; its name is that of the flag and, in the API, of the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OptionKey {
    /// `NAME=value`.
    Label,
    /// `[LEVEL[,LEVEL…]:]NAME=value`.
    Annotation,
    /// `HOST=IP`, or `HOST:IP`.
    ExtraHost,
    /// `default` or `none`.
    Network,
    /// Bytes, or with a unit: `64m`.
    ShmSize,
    /// `NAME=SOFT[:HARD]`.
    Ulimit,
    /// Stages, separated by commas.
    NoCacheFilter,
    /// `true` or `false`.
    Pull,
    /// `true`, `false`, or options such as `mode=max`.
    Provenance,
    /// `true`, `false`, or `generator=IMAGE`.
    Sbom,
    /// `type=provenance,…` or `type=sbom,…`.
    Attest,
    /// `type=image,compression=zstd,…`, or what the caller gets: `type=oci,…`.
    Export,
    /// `true` or `false`.
    Push,
    /// `type=registry,ref=IMAGE`, or an image.
    CacheFrom,
    /// `type=registry,ref=IMAGE,…`, `type=inline`, or an image.
    CacheTo,
    /// `ID`, or `ID=FILE[,FILE…]`.
    Ssh,
    /// `id=ID,env=NAME` or `id=ID,src=PATH`.
    Secret,
    /// `NAME=CONTEXT`.
    Context,
}

impl OptionKey {
    const ALL: [Self; 18] = [
        Self::Label,
        Self::Annotation,
        Self::ExtraHost,
        Self::Network,
        Self::ShmSize,
        Self::Ulimit,
        Self::NoCacheFilter,
        Self::Pull,
        Self::Provenance,
        Self::Sbom,
        Self::Attest,
        Self::Export,
        Self::Push,
        Self::CacheFrom,
        Self::CacheTo,
        Self::Ssh,
        Self::Secret,
        Self::Context,
    ];

    /// The flag, without its dashes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Label => "label",
            Self::Annotation => "annotation",
            Self::ExtraHost => "add-host",
            Self::Network => "network",
            Self::ShmSize => "shm-size",
            Self::Ulimit => "ulimit",
            Self::NoCacheFilter => "no-cache-filter",
            Self::Pull => "pull",
            Self::Provenance => "provenance",
            Self::Sbom => "sbom",
            Self::Attest => "attest",
            Self::Export => "export",
            Self::Push => "push",
            Self::CacheFrom => "cache-from",
            Self::CacheTo => "cache-to",
            Self::Ssh => "ssh",
            Self::Secret => "secret",
            Self::Context => "build-context",
        }
    }
}

impl OptionKey {
    /// The key of a service in the manifest.
    pub fn manifest_key(self) -> &'static str {
        match self {
            Self::Label => "labels",
            Self::Annotation => "annotations",
            Self::ExtraHost => "extra_hosts",
            Self::ShmSize => "shm_size",
            Self::Ulimit => "ulimits",
            Self::NoCacheFilter => "no_cache_filter",
            Self::CacheFrom => "cache_from",
            Self::CacheTo => "export_cache",
            Self::Secret => "secrets",
            Self::Context => "additional_contexts",
            Self::Network
            | Self::Pull
            | Self::Provenance
            | Self::Sbom
            | Self::Attest
            | Self::Export
            | Self::Push
            | Self::Ssh => self.as_str(),
        }
    }
}

impl FromStr for OptionKey {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        let found = Self::ALL.into_iter().find(|key| key.as_str() == text);
        found.ok_or_else(|| InvalidOption(format!("`{}` is no option that this version knows", text.escape_debug())))
    }
}

impl fmt::Display for OptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
