//! Options of a build that go to BuildKit: one text form for the manifest, the command line and the API.
//!
//! Names and forms are those of `docker buildx build`; in the manifest, those of the Compose Build Specification.

mod annotation;
mod attest;
mod cache;
mod export;
mod host;
mod key;
pub(crate) mod named_context;
mod output;
pub(crate) mod secret;
mod shm;
mod ssh;
#[cfg(test)]
mod tests;
mod ulimit;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::names::ServiceName;

pub use annotation::{Annotation, AnnotationLevel};
pub use attest::{Provenance, ProvenanceMode, Sbom};
pub use cache::{Cache, CacheKind, Credential};
pub use export::{Compression, ImageExport};
pub use host::ExtraHost;
pub use key::OptionKey;
pub use named_context::{NamedContext, familiar_name};
pub use output::{Output, OutputKind};
pub use secret::{MAX_SECRET, Secret, SecretFlag, SecretSource};
pub use ssh::SshAgent;
pub use ulimit::Ulimit;

/// More of one kind than any build has.
const MAX_OF_ONE: usize = 1000;
/// Results that one caller can want of one build.
const MAX_OUTPUTS: usize = 8;
/// The longest text, in bytes: Linux takes no longer value, and a name comes with it.
const MAX_TEXT: usize = 192 << 10;

/// What a build asks BuildKit for besides its context, Dockerfile, target, arguments and platforms.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BuildOptions {
    /// Labels of the image's configuration.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of its manifests, its index and their descriptors; each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<Annotation>,
    /// Lines of `/etc/hosts` in RUN steps, in the order given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_hosts: Vec<ExtraHost>,
    /// The network of RUN steps that name none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub network: Network,
    /// The size of `/dev/shm` in RUN steps, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<u64>,
    /// Limits of the processes of RUN steps, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Stages whose steps all run again; each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub no_cache_filter: Vec<String>,
    /// Base images are resolved at their registries, whatever the engine has.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pull: bool,
    /// A record of how the image was built, beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// A bill of materials, beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sbom: Option<Sbom>,
    /// The form of the image.
    #[serde(default, skip_serializing_if = "is_default")]
    pub export: ImageExport,
    /// The image is not pushed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub no_push: bool,
    /// What the caller gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<Output>,
    /// What the Dockerfile finds under a name instead of an image or a stage, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub contexts: BTreeMap<String, NamedContext>,
    /// Caches outside of the engine that it may take steps' results from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cache_from: Vec<Cache>,
    /// Where it leaves steps' results.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cache_to: Vec<Cache>,
    /// SSH agents for RUN steps, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ssh: BTreeMap<String, SshAgent>,
    /// Secrets for RUN steps, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Secret>,
}

/// The network of RUN steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// The engine's usual one.
    #[default]
    Default,
    /// None but loopback.
    None,
}

/// Why an option can't be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidOption(String);

impl InvalidOption {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl BuildOptions {
    /// Sets an option, or adds to it, from its text form. What is set later counts.
    pub fn set(&mut self, key: OptionKey, text: &str) -> Result<(), InvalidOption> {
        if text.len() > MAX_TEXT {
            return Err(InvalidOption(format!("it is longer than {MAX_TEXT} bytes")));
        }
        // Looking at all that there are for each of too many more would take long.
        if self.count(key) > MAX_OF_ONE {
            return Err(InvalidOption(format!("more than {MAX_OF_ONE} of them")));
        }
        match key {
            OptionKey::Label => {
                let (name, value) = text.split_once('=').unwrap_or((text, ""));
                plain_name(name, "a label")?;
                self.labels.insert(name.to_owned(), text_value(value)?.to_owned());
            }
            OptionKey::Annotation => {
                for annotation in Annotation::parse(text)? {
                    self.annotations.retain(|known| !known.is_same_place(&annotation));
                    self.annotations.push(annotation);
                }
                self.annotations.sort_unstable();
            }
            OptionKey::ExtraHost => {
                let host = text.parse()?;
                if !self.extra_hosts.contains(&host) {
                    self.extra_hosts.push(host);
                }
            }
            OptionKey::Network => self.network = text.parse()?,
            OptionKey::ShmSize => self.shm_size = Some(shm::parse(text)?),
            OptionKey::Ulimit => {
                let (name, limit) = ulimit::parse(text)?;
                self.ulimits.insert(name, limit);
            }
            OptionKey::NoCacheFilter => {
                for stage in text.split(',').map(str::trim).filter(|stage| !stage.is_empty()) {
                    stage_name(stage)?;
                    if self.count(key) > MAX_OF_ONE {
                        break;
                    }
                    if !self.no_cache_filter.iter().any(|known| known == stage) {
                        self.no_cache_filter.push(stage.to_owned());
                    }
                }
            }
            OptionKey::Pull => self.pull = boolean(text)?,
            OptionKey::Provenance => self.provenance = Provenance::parse(text)?,
            OptionKey::Sbom => self.sbom = Sbom::parse(text)?,
            OptionKey::Attest => self.attest(text)?,
            OptionKey::Export if fields(text).any(|field| field == ("type", "image")) => self.export = text.parse()?,
            OptionKey::Export => {
                self.outputs.push(text.parse()?);
            }
            OptionKey::Push => self.no_push = !boolean(text)?,
            OptionKey::Context => {
                let (name, context) = named_context::parse(text)?;
                self.contexts.insert(name, context);
            }
            OptionKey::CacheFrom => self.cache_from.push(Cache::source(text)?),
            OptionKey::CacheTo => self.cache_to.push(Cache::destination(text)?),
            OptionKey::Ssh => {
                let agent: SshAgent = text.parse()?;
                self.ssh.insert(agent.id.clone(), agent);
            }
            OptionKey::Secret => {
                let secret: Secret = text.parse()?;
                self.secrets.insert(secret.id.clone(), secret);
            }
        }
        let local = self.cache_to.iter().filter(|cache| cache.kind == CacheKind::Local);
        if self.outputs.len() + local.count() > MAX_OUTPUTS {
            return Err(InvalidOption(format!("more than {MAX_OUTPUTS} results for the caller")));
        }
        if self.count(key) > MAX_OF_ONE {
            return Err(InvalidOption(format!("more than {MAX_OF_ONE} of them")));
        }
        Ok(())
    }

    /// How many of it there are, where there can be many.
    fn count(&self, key: OptionKey) -> usize {
        match key {
            OptionKey::Label => self.labels.len(),
            OptionKey::Annotation => self.annotations.len(),
            OptionKey::ExtraHost => self.extra_hosts.len(),
            OptionKey::NoCacheFilter => self.no_cache_filter.len(),
            OptionKey::Secret => self.secrets.len(),
            OptionKey::Context => self.contexts.len(),
            OptionKey::Ssh => self.ssh.len(),
            OptionKey::CacheFrom => self.cache_from.len(),
            OptionKey::CacheTo => self.cache_to.len(),
            _ => 0,
        }
    }

    /// The options that are set, each in the form that [`BuildOptions::set`] reads: always the same for the same options.
    pub fn to_pairs(&self) -> Vec<(OptionKey, String)> {
        let mut pairs = Vec::new();
        pairs.extend(self.labels.iter().map(|(name, value)| (OptionKey::Label, format!("{name}={value}"))));
        pairs.extend(self.annotations.iter().map(|one| (OptionKey::Annotation, one.to_string())));
        pairs.extend(self.extra_hosts.iter().map(|one| (OptionKey::ExtraHost, one.to_string())));
        if self.network != Network::Default {
            pairs.push((OptionKey::Network, self.network.to_string()));
        }
        pairs.extend(self.shm_size.map(|size| (OptionKey::ShmSize, size.to_string())));
        pairs.extend(self.ulimits.iter().map(|(name, limit)| (OptionKey::Ulimit, format!("{name}={limit}"))));
        pairs.extend(self.no_cache_filter.iter().map(|stage| (OptionKey::NoCacheFilter, stage.clone())));
        if self.pull {
            pairs.push((OptionKey::Pull, "true".to_owned()));
        }
        pairs.extend(self.provenance.as_ref().map(|one| (OptionKey::Provenance, one.to_string())));
        pairs.extend(self.sbom.as_ref().map(|one| (OptionKey::Sbom, one.to_string())));
        if self.export != ImageExport::default() {
            pairs.push((OptionKey::Export, self.export.to_string()));
        }
        if self.no_push {
            pairs.push((OptionKey::Push, "false".to_owned()));
        }
        pairs.extend(self.outputs.iter().map(|one| (OptionKey::Export, one.to_string())));
        pairs.extend(self.contexts.iter().map(|(name, one)| (OptionKey::Context, format!("{name}={one}"))));
        pairs.extend(self.cache_from.iter().map(|one| (OptionKey::CacheFrom, one.to_string())));
        pairs.extend(self.cache_to.iter().map(|one| (OptionKey::CacheTo, one.to_string())));
        pairs.extend(self.ssh.values().map(|one| (OptionKey::Ssh, one.to_string())));
        pairs.extend(self.secrets.values().map(|one| (OptionKey::Secret, one.to_string())));
        pairs
    }

    /// The services whose images are named contexts, in the order of the contexts' names.
    pub fn service_contexts(&self) -> impl Iterator<Item = &ServiceName> {
        self.contexts.values().filter_map(|context| match context {
            NamedContext::Service(service) => Some(service),
            _ => None,
        })
    }

    /// All caches outside of the engine.
    pub fn caches(&self) -> impl Iterator<Item = &Cache> {
        self.cache_from.iter().chain(&self.cache_to)
    }

    /// As [`BuildOptions::to_pairs`], without what decides only whether steps run again and where results go, and without
    /// secrets, agents and named contexts, whose contents count and not where they come from.
    pub fn of_the_image(&self) -> Vec<(OptionKey, String)> {
        use OptionKey::{CacheFrom, Context, NoCacheFilter, Pull, Push, Secret, Ssh};
        let mut image = Self { outputs: Vec::new(), ..self.clone() };
        // Only this one is in the image.
        image.cache_to.retain(|cache| cache.kind == CacheKind::Inline);
        let mut pairs = image.to_pairs();
        pairs.retain(|(key, _)| !matches!(key, NoCacheFilter | Pull | Secret | Ssh | Context | Push | CacheFrom));
        pairs
    }

    /// Whether there is something to do even if the registry has the image.
    pub fn always_builds(&self) -> bool {
        !self.no_cache_filter.is_empty() || self.no_push || !self.outputs.is_empty()
    }

    /// What can't be had together, for a build of these platforms; `index`: it gives an index in any case.
    pub fn check(&self, platforms: &[String], index: bool) -> Result<(), InvalidOption> {
        let attested = self.is_attested();
        let index = index || attested || platforms.len() > 1;
        if attested && !self.export.oci_media_types {
            return Err(InvalidOption::new("attestations need `oci-mediatypes=true`"));
        }
        for annotation in &self.annotations {
            let of_manifests = annotation.level == AnnotationLevel::Manifest;
            if !of_manifests && !self.export.oci_media_types {
                return Err(InvalidOption(format!("`{annotation}` needs `oci-mediatypes=true`")));
            }
            if !of_manifests && !index {
                return Err(InvalidOption(format!("`{annotation}`: an image of one platform has no index")));
            }
            match &annotation.platform {
                Some(platform) if !platforms.is_empty() && !platforms.contains(platform) => {
                    return Err(InvalidOption(format!("`{annotation}`: `{platform}` is not built")));
                }
                _ => {}
            }
        }
        self.check_outputs(platforms)
    }

    /// The same for what the caller gets, of which a manifest says nothing.
    pub fn check_outputs(&self, platforms: &[String]) -> Result<(), InvalidOption> {
        // As BuildKit does (`exporter/oci/export.go`), but before everything is built. An index of attestations it exports.
        if platforms.len() > 1 && self.outputs.iter().any(|output| output.kind == OutputKind::Docker) {
            return Err(InvalidOption::new(
                "`type=docker`, which `--load` takes, holds one platform: name one with `--platform`, or export `type=oci`, \
                 which `docker load` takes where Docker has the containerd image store",
            ));
        }
        Ok(())
    }

    /// Whether there is something beside the image, so that both are in an index.
    pub fn is_attested(&self) -> bool {
        self.provenance.is_some() || self.sbom.is_some()
    }

    /// `--attest type=provenance,…` and `--attest type=sbom,…`.
    fn attest(&mut self, text: &str) -> Result<(), InvalidOption> {
        let (kind, rest) = attest::split(text)?;
        match kind {
            OptionKey::Sbom => self.sbom = Sbom::parse(&rest)?,
            _ => self.provenance = Provenance::parse(&rest)?,
        }
        Ok(())
    }
}

impl std::str::FromStr for Network {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        match text {
            "default" => Ok(Self::Default),
            "none" => Ok(Self::None),
            "host" => Err(InvalidOption::new(
                "`host` is not allowed: it is the network of the engine's machine; `default` and `none` are",
            )),
            other => Err(InvalidOption(format!("`{other}` is no network: `default` or `none`"))),
        }
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::None => "none",
        })
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// As Go's `strconv.ParseBool` reads it.
fn boolean(text: &str) -> Result<bool, InvalidOption> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(InvalidOption(format!("`{other}` is neither true nor false"))),
    }
}

/// A platform, as `os[/architecture[/variant]]`.
pub(crate) fn check_platform(platform: &str) -> Result<(), InvalidOption> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    let mut parts = platform.split('/');
    if parts.clone().count() > 3 || parts.any(str::is_empty) || !platform.bytes().all(good) || platform.len() > 64 {
        return Err(InvalidOption(format!("`{}` is no platform", platform.escape_debug())));
    }
    Ok(())
}

/// A name that can stand before `=`.
fn plain_name(name: &str, what: &str) -> Result<(), InvalidOption> {
    let bad = |character: char| character == '=' || character.is_whitespace() || character.is_control();
    if name.is_empty() || name.len() > 256 || name.contains(bad) {
        return Err(InvalidOption(format!("`{}` can't be the name of {what}: write NAME=value", name.escape_debug())));
    }
    Ok(())
}

fn text_value(value: &str) -> Result<&str, InvalidOption> {
    if value.len() > 128 * 1024 || value.contains('\0') {
        return Err(InvalidOption::new("its value is longer than 128 KiB, or holds a NUL character"));
    }
    Ok(value)
}

fn stage_name(name: &str) -> Result<(), InvalidOption> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.len() > 256 || !name.bytes().all(good) {
        return Err(InvalidOption(format!("`{}` can't be the name of a stage", name.escape_debug())));
    }
    Ok(())
}

/// `key=value` fields of a comma list, in order.
pub(crate) fn fields(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let fields = text.split(',').map(str::trim).filter(|field| !field.is_empty());
    fields.map(|field| field.split_once('=').unwrap_or((field, "")))
}
