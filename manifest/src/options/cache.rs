//! Caches outside of the engine, as `docker buildx build --cache-from` and `--cache-to` take them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{InvalidOption, boolean, fields};

/// One cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// What it is.
    pub kind: CacheKind,
    /// The image that it is kept as, a reference as in `image`; none of an inline cache.
    pub reference: Option<String>,
    /// More attributes (`BuildKit`, `cache/remotecache`), checked.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// Kinds of caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheKind {
    /// An image of its own in a registry.
    Registry,
    /// Part of the image that is built.
    Inline,
}

impl CacheKind {
    /// `BuildKit`'s name of it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Inline => "inline",
        }
    }
}

impl FromStr for Cache {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        if !text.contains('=') {
            // An image's name alone; everything is kept, as Okteto does.
            let attributes = BTreeMap::from([("mode".to_owned(), "max".to_owned())]);
            return Ok(Self { kind: CacheKind::Registry, reference: Some(text.trim().to_owned()), attributes });
        }
        let (mut kind, mut reference, mut attributes) = (None, None, BTreeMap::new());
        for (key, value) in fields(text) {
            match (key, value) {
                ("type", "registry") => kind = Some(CacheKind::Registry),
                ("type", "inline") => kind = Some(CacheKind::Inline),
                ("type", other @ ("local" | "s3" | "gha" | "azblob")) => {
                    let message = format!("`type={other}` is not supported yet: `registry` and `inline` are");
                    return Err(InvalidOption(message));
                }
                ("type", other) => {
                    let message = format!("`type={}` is no cache: `registry` and `inline` are", other.escape_debug());
                    return Err(InvalidOption(message));
                }
                ("ref", value) if !value.is_empty() => reference = Some(value.to_owned()),
                ("mode", "min" | "max") | ("compression", "uncompressed" | "gzip" | "estargz" | "zstd") => {
                    attributes.insert(key.to_owned(), value.to_owned());
                }
                ("image-manifest" | "oci-mediatypes" | "force-compression" | "ignore-error", value) => {
                    attributes.insert(key.to_owned(), boolean(value)?.to_string());
                }
                ("compression-level", level) if level.parse::<u8>().is_ok_and(|level| level <= 22) => {
                    attributes.insert(key.to_owned(), level.to_owned());
                }
                _ => {
                    let field = format!("{key}={value}");
                    return Err(InvalidOption(format!("`{}` says nothing about a cache", field.escape_debug())));
                }
            }
        }
        match (kind, &reference) {
            (Some(CacheKind::Registry), None) => Err(InvalidOption::new("it lacks `ref=IMAGE`")),
            (Some(CacheKind::Inline), Some(_)) => Err(InvalidOption::new("an inline cache has no `ref`")),
            (Some(kind), _) => Ok(Self { kind, reference, attributes }),
            (None, _) => Err(InvalidOption::new("it lacks `type=registry` or `type=inline`")),
        }
    }
}

impl fmt::Display for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "type={}", self.kind.as_str())?;
        self.reference.iter().try_for_each(|reference| write!(f, ",ref={reference}"))?;
        self.attributes.iter().try_for_each(|(key, value)| write!(f, ",{key}={value}"))
    }
}
