//! Attestations, as `docker buildx build --attest` takes them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{InvalidOption, OptionKey, boolean, fields};
use crate::reference;

/// SLSA provenance: how the image was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// How much it says.
    pub mode: ProvenanceMode,
    /// The version of its predicate, `v1` or `v0.2`; none: the engine's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// How much provenance says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProvenanceMode {
    /// Timestamps, sources with their digests and the frontend.
    Min,
    /// Everything: build arguments and the Dockerfile too.
    Max,
}

/// A bill of materials (SPDX).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sbom {
    /// The image that makes it; none: the engine's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<String>,
}

/// What kind, and what is said about it.
pub(super) fn split(text: &str) -> Result<(OptionKey, String), InvalidOption> {
    let (mut kind, mut disabled, mut rest) = (None, false, Vec::new());
    for (key, value) in fields(text) {
        match key {
            "type" => kind = Some(value),
            "disabled" => disabled = value.is_empty() || boolean(value)?,
            _ => rest.push(if value.is_empty() { key.to_owned() } else { format!("{key}={value}") }),
        }
    }
    let kind = match kind {
        Some("provenance") => OptionKey::Provenance,
        Some("sbom") => OptionKey::Sbom,
        Some(other) => {
            return Err(InvalidOption(format!(
                "`{}` is no attestation: `provenance` and `sbom` are",
                other.escape_debug()
            )));
        }
        None => return Err(InvalidOption::new("it lacks `type=provenance` or `type=sbom`")),
    };
    let rest = match (disabled, rest.is_empty()) {
        (true, _) => "false".to_owned(),
        (false, true) => "true".to_owned(),
        (false, false) => rest.join(","),
    };
    Ok((kind, rest))
}

/// What `true` and `false` mean; none for options. Nothing would be a variable that isn't set: it turns nothing on.
fn switch(text: &str) -> Result<Option<bool>, InvalidOption> {
    match boolean(text) {
        Ok(wanted) => Ok(Some(wanted)),
        Err(_) if text.trim().is_empty() => Err(InvalidOption::new("it is empty: write true, false or options")),
        Err(_) => Ok(None),
    }
}

impl Provenance {
    pub(super) fn parse(text: &str) -> Result<Option<Self>, InvalidOption> {
        // The least that is useful: build arguments are nobody's business unless somebody says so.
        let mut provenance = Self { mode: ProvenanceMode::Min, version: None };
        match switch(text)? {
            Some(wanted) => return Ok(wanted.then_some(provenance)),
            None => {
                for (key, value) in fields(text) {
                    match (key, value) {
                        ("mode", "min") => provenance.mode = ProvenanceMode::Min,
                        ("mode", "max") => provenance.mode = ProvenanceMode::Max,
                        ("version", "v1" | "v0.2") => provenance.version = Some(value.to_owned()),
                        _ => {
                            let known = "`mode=min`, `mode=max`, `version=v1` and `version=v0.2` are";
                            return Err(unknown(key, value, known));
                        }
                    }
                }
            }
        }
        Ok(Some(provenance))
    }
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.mode {
            ProvenanceMode::Min => "mode=min",
            ProvenanceMode::Max => "mode=max",
        })?;
        match &self.version {
            Some(version) => write!(f, ",version={version}"),
            None => Ok(()),
        }
    }
}

impl Sbom {
    /// The image that makes it: BuildKit's default where none is named.
    pub fn generator(&self) -> &str {
        self.generator.as_deref().unwrap_or("docker/buildkit-syft-scanner:stable-1")
    }

    pub(super) fn parse(text: &str) -> Result<Option<Self>, InvalidOption> {
        if let Some(wanted) = switch(text)? {
            return Ok(wanted.then_some(Self::default()));
        }
        let mut sbom = Self::default();
        for (key, value) in fields(text) {
            if key != "generator" {
                return Err(unknown(key, value, "`generator=IMAGE` is"));
            }
            reference::parse(value).map_err(|error| InvalidOption(error.to_string()))?;
            sbom.generator = Some(value.to_owned());
        }
        Ok(Some(sbom))
    }
}

impl fmt::Display for Sbom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.generator {
            Some(generator) => write!(f, "generator={generator}"),
            None => f.write_str("true"),
        }
    }
}

fn unknown(key: &str, value: &str, known: &str) -> InvalidOption {
    InvalidOption(format!(
        "`{}={}` is nothing that can be asked for: {known}",
        key.escape_debug(),
        value.escape_debug()
    ))
}
