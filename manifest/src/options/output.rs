//! Results of a build that go to the caller, as `docker buildx build --output` takes them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ImageExport, InvalidOption, fields};

/// One result. Where the caller puts it is the caller's affair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// What it is.
    pub kind: OutputKind,
    /// The form of the image, for the kinds that are one.
    pub image: ImageExport,
}

/// What a result is. All come as one tar archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputKind {
    /// An image layout of OCI's.
    Oci,
    /// What `docker load` reads.
    Docker,
    /// The files of the image.
    Tar,
}

impl OutputKind {
    const ALL: [Self; 3] = [Self::Oci, Self::Docker, Self::Tar];

    /// `BuildKit`'s name of the exporter.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Oci => "oci",
            Self::Docker => "docker",
            Self::Tar => "tar",
        }
    }

    fn is_image(self) -> bool {
        self != Self::Tar
    }
}

impl Output {
    /// In its usual form.
    pub fn new(kind: OutputKind) -> Self {
        // What older `docker load` reads.
        let oci_media_types = kind != OutputKind::Docker;
        Self { kind, image: ImageExport { oci_media_types, ..ImageExport::default() } }
    }

    /// The exporter's attributes, without names.
    pub fn attributes(&self) -> Vec<(&'static str, String)> {
        if self.kind.is_image() { self.image.attributes() } else { Vec::new() }
    }
}

impl FromStr for Output {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        let kind = fields(text).filter(|(key, _)| *key == "type").last().map(|(_, value)| value);
        let found = kind.and_then(|kind| OutputKind::ALL.into_iter().find(|known| known.as_str() == kind));
        let Some(kind) = found else {
            return Err(match kind {
                Some(kind) => InvalidOption(format!(
                    "`type={}`: `image`, `oci`, `docker`, `local` and `tar` are there",
                    kind.escape_debug()
                )),
                None => InvalidOption::new("it lacks a type, such as `type=image`"),
            });
        };
        let mut output = Self::new(kind);
        let rest = fields(text).filter(|(key, _)| *key != "type");
        if kind.is_image() {
            output.image.read(rest)?;
        } else if let Some((key, _)) = rest.into_iter().next() {
            return Err(InvalidOption(format!(
                "`{}`: `type={}` has no such attribute",
                key.escape_debug(),
                kind.as_str()
            )));
        }
        Ok(output)
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "type={}", self.kind.as_str())?;
        self.attributes().iter().try_for_each(|(key, value)| write!(f, ",{key}={value}"))
    }
}
