//! The form of the image that is pushed, as `docker buildx build --output type=image` takes it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{InvalidOption, boolean, fields};
use crate::suggest;

const KEYS: [&str; 6] =
    ["type", "compression", "compression-level", "force-compression", "oci-mediatypes", "rewrite-timestamp"];

/// Attributes of `BuildKit`'s image exporter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageExport {
    /// How new layers are compressed; none: as the engine does by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// How hard; 0 to 9, and to 22 for zstd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression_level: Option<u8>,
    /// Layers that are there already, too.
    #[serde(default)]
    pub force_compression: bool,
    /// The media types of OCI instead of Docker's.
    pub oci_media_types: bool,
    /// Times in layers are no later than `SOURCE_DATE_EPOCH`.
    #[serde(default)]
    pub rewrite_timestamp: bool,
}

/// Compressions of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// None.
    Uncompressed,
    /// gzip.
    Gzip,
    /// Seekable gzip.
    Estargz,
    /// Zstandard.
    Zstd,
}

impl Default for ImageExport {
    fn default() -> Self {
        Self {
            compression: None,
            compression_level: None,
            force_compression: false,
            oci_media_types: true,
            rewrite_timestamp: false,
        }
    }
}

impl ImageExport {
    /// The exporter's attributes (`BuildKit`, `exptypes.ImageExporterOptKey`), without its name and push.
    pub fn attributes(&self) -> Vec<(&'static str, String)> {
        let mut attributes = vec![("oci-mediatypes", self.oci_media_types.to_string())];
        attributes.extend(self.compression.map(|compression| ("compression", compression.as_str().to_owned())));
        attributes.extend(self.compression_level.map(|level| ("compression-level", level.to_string())));
        if self.force_compression {
            attributes.push(("force-compression", "true".to_owned()));
        }
        if self.rewrite_timestamp {
            attributes.push(("rewrite-timestamp", "true".to_owned()));
        }
        attributes
    }

    fn check(&self) -> Result<(), InvalidOption> {
        if let Some(level) = self.compression_level {
            let most = match self.compression {
                None => return Err(InvalidOption::new("`compression-level` needs a `compression`")),
                Some(Compression::Uncompressed) => {
                    return Err(InvalidOption::new("`compression=uncompressed` has no level"));
                }
                Some(Compression::Gzip | Compression::Estargz) => 9,
                Some(Compression::Zstd) => 22,
            };
            if level > most {
                return Err(InvalidOption(format!("`compression-level={level}`: 0 to {most} are there")));
            }
        }
        if !self.oci_media_types && matches!(self.compression, Some(Compression::Estargz | Compression::Zstd)) {
            return Err(InvalidOption::new("`compression=estargz` and `compression=zstd` need `oci-mediatypes=true`"));
        }
        Ok(())
    }
}

impl ImageExport {
    /// Reads these attributes on top of what it is.
    pub(super) fn read<'t>(&mut self, fields: impl Iterator<Item = (&'t str, &'t str)>) -> Result<(), InvalidOption> {
        for (key, value) in fields {
            match key {
                "compression" => self.compression = Some(value.parse()?),
                "compression-level" => {
                    let level = value.parse().map_err(|_| InvalidOption(format!("`{key}={value}` is no level")))?;
                    self.compression_level = Some(level);
                }
                "force-compression" => self.force_compression = boolean(value)?,
                "oci-mediatypes" => self.oci_media_types = boolean(value)?,
                "rewrite-timestamp" => self.rewrite_timestamp = boolean(value)?,
                "name" | "push" => {
                    return Err(InvalidOption(format!(
                        "`{key}`: the image goes where its `image` in the manifest says"
                    )));
                }
                other => {
                    let hint = suggest::hint(other, KEYS).map(|hint| format!(": {hint}")).unwrap_or_default();
                    return Err(InvalidOption(format!("`{}` is no attribute of an image{hint}", other.escape_debug())));
                }
            }
        }
        self.check()
    }
}

impl FromStr for ImageExport {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        let mut export = Self::default();
        export.read(fields(text).filter(|field| *field != ("type", "image")))?;
        Ok(export)
    }
}

impl fmt::Display for ImageExport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("type=image")?;
        self.attributes().iter().try_for_each(|(key, value)| write!(f, ",{key}={value}"))
    }
}

impl Compression {
    fn as_str(self) -> &'static str {
        match self {
            Self::Uncompressed => "uncompressed",
            Self::Gzip => "gzip",
            Self::Estargz => "estargz",
            Self::Zstd => "zstd",
        }
    }
}

impl FromStr for Compression {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        let all = [Self::Uncompressed, Self::Gzip, Self::Estargz, Self::Zstd];
        all.into_iter().find(|compression| compression.as_str() == text).ok_or_else(|| {
            let names = all.map(Self::as_str).join(", ");
            InvalidOption(format!("`{}` is no compression: {names} are", text.escape_debug()))
        })
    }
}
