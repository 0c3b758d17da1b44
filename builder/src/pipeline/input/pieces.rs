//! The inputs of a build one by one, to tell later which of them changed. What can't be known is a piece too, without a value:
//! the result is for people, and decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use slipway_manifest::ServiceName;
use slipway_registry_client::ImageRef;
use tokio::time::{Instant, timeout_at};

use super::{Analysed, GIVEN_TO_ALL, Inputs, NoDigest};
use crate::pipeline::attributes;
use crate::pipeline::cache_scope::CacheScope;
use crate::pipeline::contexts::{self, Place};
use crate::pipeline::skip;
use crate::registry::bases::{BaseError, BaseImages, DEADLINE};

/// Images that are looked at, and at a time: what a user sends decides how many there are.
const MAX_IMAGES: usize = 100;
const AT_A_TIME: usize = 8;

const NOT_KNOWN_THEN: &str = "it was not known then";

/// What kind of input it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PieceKind {
    /// The Dockerfile's name.
    Dockerfile,
    /// The stage that is built.
    Target,
    /// What it is built for.
    Platform,
    /// An image that it starts from or takes files from.
    Image,
    /// The image of another service.
    Dependency,
    /// A named context.
    Context,
    /// An argument.
    Argument,
    /// A secret.
    Secret,
    /// All options of one name.
    Option,
    /// The repository whose cache mounts RUN steps can have: with another one they are other steps.
    Mounts,
    /// The user whose SSH agents RUN steps may ask: so with these.
    Agents,
}

/// One input.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Piece {
    /// What it is.
    pub kind: PieceKind,
    /// Its name.
    pub name: String,
    /// What it is now.
    pub value: Value,
}

/// The value of an input.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// This. Of arguments, secrets and options a keyed hash: nobody is to read them here.
    Known(String),
    /// It can't be known. Without a name: nor can it which others there are of the kind.
    Unknown {
        /// Why.
        unknown: String,
    },
}

/// An input that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PieceChange {
    /// What it is.
    pub kind: PieceKind,
    /// Its name.
    pub name: String,
    /// What it was; nothing: it was not there.
    pub before: Option<String>,
    /// What it is; nothing: it is not there.
    pub after: Option<String>,
    /// Why it is not known whether it changed; then only the values that are known are there.
    pub unknown: Option<String>,
}

// === impl Value ===

impl Value {
    pub(crate) fn known(value: impl Into<String>) -> Self {
        Self::Known(value.into())
    }

    fn unknown(reason: impl Into<String>) -> Self {
        Self::Unknown { unknown: reason.into() }
    }

    /// What it is, if that is known.
    pub(crate) fn get(&self) -> Option<&str> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown { .. } => None,
        }
    }
}

// === impl Inputs ===

impl Inputs<'_> {
    /// All of them but the trees, as they are now. `name` is the image's first one, `owner` who submits the job.
    pub async fn pieces(
        &self,
        bases: &BaseImages,
        scope: &CacheScope,
        name: Option<&ImageRef>,
        owner: &str,
    ) -> Vec<Piece> {
        let hash = |value: &str| Value::Known(scope.input(self.namespace, value));
        let mut pieces = Vec::new();
        let mut add = |kind, name: &str, value: Value| pieces.push(Piece { kind, name: name.to_owned(), value });
        add(PieceKind::Dockerfile, "", Value::known(skip::file_name(self.build)));
        add(PieceKind::Target, "", Value::known(self.build.target.as_deref().unwrap_or_default()));
        let platforms = self.build.platforms.join(",");
        let own = || self.platform.map_or_else(|| Value::unknown(NoDigest::NoPlatform.to_string()), Value::known);
        add(PieceKind::Platform, "", if platforms.is_empty() { own() } else { Value::Known(platforms) });
        for (service, image) in self.known_dependencies() {
            add(PieceKind::Dependency, &service, image);
        }
        for (id, key) in self.secrets {
            add(PieceKind::Secret, id, Value::known(key));
        }
        let mut options: BTreeMap<String, String> = BTreeMap::new();
        for (key, text) in self.build.options.of_the_image() {
            let all = options.entry(key.to_string()).or_default();
            all.push_str(&text);
            all.push('\0');
        }
        for (name, texts) in options {
            add(PieceKind::Option, &name, hash(&texts));
        }
        if let Some(repository) = self.repository(name) {
            add(PieceKind::Mounts, "", repository);
        }
        if !self.build.options.ssh.is_empty() {
            add(PieceKind::Agents, "", hash(owner));
        }
        let mut images = self.contexts(bases);
        match self.analyse().await {
            Ok(analysed) => {
                for (name, value) in self.arguments(&analysed) {
                    add(PieceKind::Argument, &name, value.map_or_else(Value::unknown, |value| hash(&value)));
                }
                let unknown = analysed.analysis.unknown.first();
                let reason = || unknown.map_or_else(String::new, |it| format!("line {}: {}", it.line, it.reason));
                if analysed.analysis.declared_args.is_none() {
                    add(PieceKind::Argument, "", Value::unknown(reason()));
                }
                if analysed.analysis.opaque {
                    add(PieceKind::Image, "", Value::unknown(reason()));
                }
                for (name, _) in self.images(&analysed.analysis) {
                    let image =
                        bases.reference(self.namespace, name).map_err(|error| Value::unknown(error.to_string()));
                    images.push((PieceKind::Image, name.to_owned(), image));
                }
            }
            Err(error) => {
                add(PieceKind::Argument, "", Value::unknown(error.to_string()));
                add(PieceKind::Image, "", Value::unknown(error.to_string()));
            }
        }
        pieces.extend(self.looked_at(bases, images).await);
        pieces.sort_unstable();
        pieces
    }

    /// That whose cache mounts its steps can have.
    fn repository(&self, name: Option<&ImageRef>) -> Option<Value> {
        if self.dockerfile.is_empty() && self.build.remote_context().is_none() {
            return Some(Value::unknown("its Dockerfile is not known yet"));
        }
        let repository = name.map(|name| Value::Known(name.repository().to_string()));
        let repository = repository.unwrap_or_else(|| Value::unknown("its name is not known yet"));
        attributes::may_have_cache_mounts(self.build, self.dockerfile).then_some(repository)
    }

    /// The named contexts, those that are images by reference.
    fn contexts(&self, bases: &BaseImages) -> Vec<(PieceKind, String, Result<ImageRef, Value>)> {
        let contexts = self.build.options.contexts.iter();
        let contexts = contexts.map(|(name, context)| {
            let place = contexts::place(name, context, self.before, |name| bases.reference(self.namespace, name));
            let place = match place {
                Ok(Place::Image(image)) => Ok(image),
                // What its tree holds is compared elsewhere.
                Ok(Place::Local) => Err(Value::known("a folder")),
                Ok(Place::Remote(url)) => Err(Value::Known(url)),
                Err(reason) => Err(Value::unknown(reason)),
            };
            (PieceKind::Context, name.clone(), place)
        });
        contexts.collect()
    }

    /// The digests of images as they are now.
    async fn looked_at(
        &self,
        bases: &BaseImages,
        images: Vec<(PieceKind, String, Result<ImageRef, Value>)>,
    ) -> Vec<Piece> {
        let late = Instant::now() + DEADLINE;
        let looking = images.into_iter().enumerate().map(|(at, (kind, name, image))| async move {
            let value = match image {
                Ok(_) if at >= MAX_IMAGES => Value::unknown(format!("only {MAX_IMAGES} images are looked at")),
                Ok(image) => match timeout_at(late, self.base(bases, &image, None)).await {
                    Ok(Ok(base)) => Value::Known(base.digest.to_string()),
                    Ok(Err(error)) => Value::unknown(error.to_string()),
                    Err(_) => Value::unknown(BaseError::TooSlow.to_string()),
                },
                Err(value) => value,
            };
            Piece { kind, name, value }
        });
        futures::stream::iter(looking).buffer_unordered(AT_A_TIME).collect().await
    }

    /// The arguments that count, as in the digest; those that wait for another build with what for.
    fn arguments(&self, analysed: &Analysed) -> BTreeMap<String, Result<String, String>> {
        let args = analysed.args.iter().map(|(name, value)| (name.clone(), Ok(value.clone())));
        let waiting = |service: &ServiceName| Err(format!("`{service}` is built first"));
        let mut all: BTreeMap<_, _> = args.collect();
        for (name, template) in &self.build.args {
            if let Some(service) = self.before.pending_of(&template.variables()) {
                all.insert(name.clone(), waiting(service));
            }
        }
        all.extend(self.before.pending_variables().map(|(service, name)| (name, waiting(service))));
        all.extend(self.build.build_args.iter().map(|(name, value)| (name.clone(), Ok(value.clone()))));
        let declared = analysed.analysis.declared_args.as_ref();
        all.retain(|name, _| {
            declared.is_some_and(|declared| declared.contains(name))
                || !GIVEN_TO_ALL.iter().any(|given| name.starts_with(given))
        });
        all
    }

    /// The digests of what it depends on, as far as they are known.
    fn known_dependencies(&self) -> Vec<(String, Value)> {
        let image = |service| match self.before.image(service).and_then(|image| image.pinned.digest()) {
            Some(digest) => Value::Known(digest.to_string()),
            None => Value::unknown("it is built first"),
        };
        self.build.depends_on.iter().map(|service| (service.to_string(), image(service))).collect()
    }
}

/// What is not the same in both, and what can't be compared.
pub fn compare(before: &[Piece], now: &[Piece]) -> Vec<PieceChange> {
    let by_name = |pieces: &[Piece]| -> BTreeMap<(PieceKind, String), Value> {
        pieces.iter().map(|piece| ((piece.kind, piece.name.clone()), piece.value.clone())).collect()
    };
    let (before, now) = (by_name(before), by_name(now));
    let is_open = |kind| {
        let all = (kind, String::new());
        [&before, &now].into_iter().any(|pieces| pieces.get(&all).is_some_and(|all| all.get().is_none()))
    };
    let change = |key: &(PieceKind, String)| {
        let (kind, name) = key.clone();
        let (was, is) = (before.get(key), now.get(key));
        let unknown = match (was, is) {
            (Some(Value::Known(was)), Some(Value::Known(is))) if was == is => return None,
            (_, Some(Value::Unknown { unknown })) => Some(unknown.clone()),
            (Some(Value::Unknown { .. }), Some(_)) => Some(NOT_KNOWN_THEN.to_owned()),
            (Some(Value::Unknown { .. }), None) if name.is_empty() => Some(NOT_KNOWN_THEN.to_owned()),
            (None, _) | (_, None) if is_open(kind) => return None,
            _ => None,
        };
        let known = |value: Option<&Value>| value.and_then(Value::get).map(str::to_owned);
        // What is gone was something.
        let before = known(was).or_else(|| was.filter(|_| unknown.is_none()).map(|_| String::new()));
        Some(PieceChange { kind, name, before, after: known(is), unknown })
    };
    let names: BTreeSet<_> = before.keys().chain(now.keys()).collect();
    names.into_iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests;
