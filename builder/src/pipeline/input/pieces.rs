//! The inputs of a build one by one, to tell later which of them changed. What can't be known is a piece too: the result is
//! for people, and decides nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use slipway_manifest::plan::CompleteError;

use super::{Analysed, GIVEN_TO_ALL, Inputs};
use crate::pipeline::cache_scope::CacheScope;
use crate::pipeline::contexts::{self, Place};
use crate::pipeline::skip;
use crate::registry::bases::{BaseImages, DEADLINE};

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
    /// A named context that is no folder.
    Context,
    /// An argument.
    Argument,
    /// A secret.
    Secret,
    /// All options of one name.
    Option,
}

/// One input.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Piece {
    /// What it is.
    pub kind: PieceKind,
    /// Its name.
    pub name: String,
    /// What it is now. Of arguments, secrets and options a keyed hash: nobody is to read them here.
    pub value: String,
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
}

impl Inputs<'_> {
    /// All of them but the trees, as they are now.
    pub async fn pieces(&self, bases: &BaseImages, scope: &CacheScope) -> Vec<Piece> {
        let hash = |value: &str| scope.input(self.namespace, value);
        let mut pieces = Vec::new();
        let mut add = |kind, name: &str, value: String| pieces.push(Piece { kind, name: name.to_owned(), value });
        add(PieceKind::Dockerfile, "", skip::file_name(self.build).to_owned());
        add(PieceKind::Target, "", self.build.target.clone().unwrap_or_default());
        let platforms = self.build.platforms.join(",");
        let own = || self.platform.unwrap_or("the engine's").to_owned();
        add(PieceKind::Platform, "", if platforms.is_empty() { own() } else { platforms });
        for (service, image) in self.known_dependencies() {
            add(PieceKind::Dependency, &service, image);
        }
        for (id, key) in self.secrets {
            add(PieceKind::Secret, id, key.clone());
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
        match self.analyse().await {
            Ok(analysed) => {
                for (name, value) in counting(&analysed) {
                    add(PieceKind::Argument, name, hash(value));
                }
                pieces.extend(self.image_pieces(bases, &analysed).await);
            }
            Err(error) => add(PieceKind::Argument, "", not_complete(&error)),
        }
        pieces.sort_unstable();
        pieces
    }

    async fn image_pieces(&self, bases: &BaseImages, analysed: &Analysed) -> Vec<Piece> {
        let mut named: Vec<(PieceKind, String, Result<_, String>)> = Vec::new();
        for (name, _) in self.images(&analysed.analysis) {
            let image = bases.reference(self.namespace, name).map_err(|error| error.to_string());
            named.push((PieceKind::Image, name.to_owned(), image));
        }
        let resolved = contexts::resolve(self.build, self.before, |name| bases.reference(self.namespace, name));
        for (name, place) in resolved.unwrap_or_default() {
            match place {
                Place::Image(image) => named.push((PieceKind::Context, name, Ok(image))),
                // Its tree is compared.
                Place::Local => {}
                Place::Remote(url) => named.push((PieceKind::Context, name, Err(url))),
            }
        }
        let looking = named.into_iter().map(|(kind, name, image)| async move {
            let value = match image {
                Ok(image) => match tokio::time::timeout(DEADLINE, self.base(bases, &image, None)).await {
                    Ok(Ok(base)) => base.digest.to_string(),
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => "no answer".to_owned(),
                },
                Err(other) => other,
            };
            Piece { kind, name, value }
        });
        futures::future::join_all(looking).await
    }

    /// The digests of what it depends on, as far as they are known.
    fn known_dependencies(&self) -> Vec<(String, String)> {
        let image = |service| match self.before.image(service).and_then(|image| image.pinned.digest()) {
            Some(digest) => digest.to_string(),
            None => "not built yet".to_owned(),
        };
        self.build.depends_on.iter().map(|service| (service.to_string(), image(service))).collect()
    }
}

/// The arguments that count, as in the digest.
fn counting(analysed: &Analysed) -> impl Iterator<Item = (&str, &str)> {
    let declared = analysed.analysis.declared_args.as_ref();
    let counts = move |name: &str| {
        declared.is_some_and(|declared| declared.contains(name))
            || !GIVEN_TO_ALL.iter().any(|given| name.starts_with(given))
    };
    analysed.args.iter().map(|(name, value)| (name.as_str(), value.as_str())).filter(move |(name, _)| counts(name))
}

fn not_complete(error: &CompleteError) -> String {
    error.to_string()
}

/// What is not the same in both.
pub fn compare(before: &[Piece], now: &[Piece]) -> Vec<PieceChange> {
    let by_name = |pieces: &[Piece]| -> BTreeMap<(PieceKind, String), String> {
        pieces.iter().map(|piece| ((piece.kind, piece.name.clone()), piece.value.clone())).collect()
    };
    let (mut before, now) = (by_name(before), by_name(now));
    let mut changes: Vec<PieceChange> = Vec::new();
    for ((kind, name), after) in now {
        let was = before.remove(&(kind, name.clone()));
        if was.as_ref() != Some(&after) {
            changes.push(PieceChange { kind, name, before: was, after: Some(after) });
        }
    }
    let gone = |((kind, name), was)| PieceChange { kind, name, before: Some(was), after: None };
    changes.extend(before.into_iter().map(gone));
    changes.sort_unstable_by(|one, other| (one.kind, &one.name).cmp(&(other.kind, &other.name)));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_went_and_changed_is_told() {
        use PieceKind::{Argument, Image};
        let piece = |kind, name: &str, value: &str| Piece { kind, name: name.to_owned(), value: value.to_owned() };
        let before = [piece(Image, "debian", "1"), piece(Image, "gone", "1"), piece(Argument, "A", "x")];
        let now = [piece(Argument, "A", "x"), piece(Argument, "debian", "2"), piece(Image, "debian", "2")];
        let found = compare(&before, &now);
        let found: Vec<_> = found.iter().map(|c| (c.kind, &*c.name, c.before.as_deref(), c.after.as_deref())).collect();
        let expected = [
            (Image, "debian", Some("1"), Some("2")),
            (Image, "gone", Some("1"), None),
            (Argument, "debian", None, Some("2")),
        ];
        assert_eq!(found, expected);
        assert!(compare(&now, &now).is_empty());
    }
}
