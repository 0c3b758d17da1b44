//! Annotations, as `docker buildx build --annotation` takes them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{InvalidOption, plain_name, text_value};

/// The four, for some platforms.
const MAX_LEVELS: usize = 64;

/// One annotation at one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Annotation {
    /// What it is of.
    pub level: AnnotationLevel,
    /// Of which platform's, for manifests and their descriptors; none: of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// What an annotation is of (OCI image specification, `annotations.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnnotationLevel {
    /// Each image's manifest.
    Manifest,
    /// The index of several.
    Index,
    /// The manifests' descriptors in the index.
    ManifestDescriptor,
    /// The index's descriptor, in an OCI layout.
    IndexDescriptor,
}

impl Annotation {
    /// All that one text means.
    pub(super) fn parse(text: &str) -> Result<Vec<Self>, InvalidOption> {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        let (levels, name) = match key.split_once(':') {
            Some((levels, name)) => (self::levels(levels)?, name),
            None => (vec![(AnnotationLevel::Manifest, None)], key),
        };
        plain_name(name, "an annotation")?;
        let value = text_value(value)?;
        let one = |(level, platform)| Self { level, platform, name: name.to_owned(), value: value.to_owned() };
        Ok(levels.into_iter().map(one).collect())
    }

    /// The image exporter's attribute for it (`BuildKit`, `exptypes.AnnotationKey`).
    pub fn attribute(&self) -> String {
        let level = match self.level {
            AnnotationLevel::Manifest => "annotation",
            AnnotationLevel::Index => "annotation-index",
            AnnotationLevel::ManifestDescriptor => "annotation-manifest-descriptor",
            AnnotationLevel::IndexDescriptor => "annotation-index-descriptor",
        };
        let platform = self.platform.as_ref().map(|platform| format!("[{platform}]")).unwrap_or_default();
        format!("{level}{platform}.{}", self.name)
    }

    pub(super) fn is_same_place(&self, other: &Self) -> bool {
        (self.level, &self.platform, &self.name) == (other.level, &other.platform, &other.name)
    }
}

impl fmt::Display for Annotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.level.as_str())?;
        if let Some(platform) = &self.platform {
            write!(f, "[{platform}]")?;
        }
        write!(f, ":{}={}", self.name, self.value)
    }
}

impl AnnotationLevel {
    fn as_str(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Index => "index",
            Self::ManifestDescriptor => "manifest-descriptor",
            Self::IndexDescriptor => "index-descriptor",
        }
    }
}

/// Each once: a few, however long the text is.
fn levels(text: &str) -> Result<Vec<(AnnotationLevel, Option<String>)>, InvalidOption> {
    let mut levels = Vec::new();
    for one in text.split(',') {
        let level = level(one)?;
        if levels.contains(&level) || levels.len() == MAX_LEVELS {
            return Err(InvalidOption(format!("`{}` is there twice, or there are too many", one.escape_debug())));
        }
        levels.push(level);
    }
    Ok(levels)
}

fn level(text: &str) -> Result<(AnnotationLevel, Option<String>), InvalidOption> {
    let (name, platform) = match text.strip_suffix(']').and_then(|text| text.split_once('[')) {
        Some((name, platform)) => (name, Some(platform)),
        None => (text, None),
    };
    let all = [
        AnnotationLevel::Manifest,
        AnnotationLevel::Index,
        AnnotationLevel::ManifestDescriptor,
        AnnotationLevel::IndexDescriptor,
    ];
    let found = all.into_iter().find(|level| level.as_str() == name).ok_or_else(|| {
        let names = all.map(AnnotationLevel::as_str).join(", ");
        InvalidOption(format!("`{}` is nothing that is annotated: {names} are", name.escape_debug()))
    })?;
    let Some(platform) = platform else { return Ok((found, None)) };
    if matches!(found, AnnotationLevel::Index | AnnotationLevel::IndexDescriptor) {
        return Err(InvalidOption(format!("`{text}`: an index has no platform")));
    }
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte);
    if platform.is_empty() || platform.len() > 64 || !platform.bytes().all(good) {
        return Err(InvalidOption(format!("`{}` is no platform", platform.escape_debug())));
    }
    Ok((found, Some(platform.to_owned())))
}
