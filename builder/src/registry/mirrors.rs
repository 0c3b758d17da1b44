//! Where images of other registries are looked up: the same places as the engine's.

use std::collections::BTreeMap;

use slipway_registry_client::{ImageRef, RegistryHost};

/// Mirrors by registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mirrors(BTreeMap<RegistryHost, Vec<Mirror>>);

/// One place that may have a registry's images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    host: RegistryHost,
    /// What comes before the repository; with a slash at its end, or empty.
    prefix: String,
    /// Without TLS.
    plain: bool,
}

/// A text is no mirror.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a registry, or not the URL of one (http:// or https://)")]
pub struct InvalidMirror(String);

// === impl Mirrors ===

impl Mirrors {
    /// From URLs by registry.
    pub fn parse(mirrors: &BTreeMap<String, Vec<String>>) -> Result<Self, InvalidMirror> {
        let mut parsed = BTreeMap::new();
        for (host, urls) in mirrors {
            let host: RegistryHost = host.parse().map_err(|_| InvalidMirror(host.clone()))?;
            parsed.insert(host, urls.iter().map(|url| Mirror::parse(url)).collect::<Result<_, _>>()?);
        }
        Ok(Self(parsed))
    }

    /// These, and those of `others` for registries that these say nothing about.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        let mut all = others.0;
        all.extend(self.0);
        Self(all)
    }

    /// Hosts that are reached without TLS.
    pub fn plain_http(&self) -> impl Iterator<Item = RegistryHost> {
        self.0.values().flatten().filter(|mirror| mirror.plain).map(|mirror| mirror.host.clone())
    }

    /// All hosts that somebody has named: mirrors, and registries that anything is said about.
    pub fn hosts(&self) -> impl Iterator<Item = RegistryHost> {
        self.0.keys().cloned().chain(self.0.values().flatten().map(|mirror| mirror.host.clone()))
    }

    /// Where to look for an image, in order; the image's own registry is not among them.
    pub fn places(&self, image: &ImageRef) -> Vec<ImageRef> {
        let mirrors = self.0.get(image.registry()).map(Vec::as_slice).unwrap_or_default();
        mirrors.iter().filter_map(|mirror| mirror.place(image)).collect()
    }
}

// === impl Mirror ===

impl Mirror {
    fn parse(url: &str) -> Result<Self, InvalidMirror> {
        let invalid = || InvalidMirror(url.to_owned());
        let (plain, rest) = match url.split_once("://") {
            Some(("http", rest)) => (true, rest),
            Some(("https", rest)) => (false, rest),
            _ => return Err(invalid()),
        };
        let rest = rest.trim_end_matches('/');
        let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let host = host.parse().map_err(|_| invalid())?;
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self { host, prefix, plain })
    }

    fn place(&self, image: &ImageRef) -> Option<ImageRef> {
        let repository = format!("{}{}", self.prefix, image.repository()).parse().ok()?;
        let place = ImageRef::new(self.host.clone(), repository);
        Some(match (image.digest(), image.tag()) {
            (Some(digest), _) => place.with_digest(digest.clone()),
            (None, Some(tag)) => place.with_tag(tag.clone()),
            (None, None) => place,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirrors(host: &str, urls: &[&str]) -> Result<Mirrors, InvalidMirror> {
        Mirrors::parse(&BTreeMap::from([(host.to_owned(), urls.iter().map(|url| (*url).to_owned()).collect())]))
    }

    #[test]
    fn an_image_is_looked_up_in_the_mirrors_of_its_registry() {
        let mirrors = mirrors("docker.io", &["http://localhost:5000/", "https://example.com/hub"]).unwrap();
        let places = |image: &str| {
            let places = mirrors.places(&image.parse().unwrap());
            places.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(places("debian:12"), ["localhost:5000/library/debian:12", "example.com/hub/library/debian:12"]);
        assert_eq!(places("ghcr.io/a/b"), [""; 0]);
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(places(&format!("a/b:1@{digest}"))[0], format!("localhost:5000/a/b@{digest}"));
        assert_eq!(mirrors.plain_http().map(|host| host.to_string()).collect::<Vec<_>>(), ["localhost:5000"]);
    }

    #[test]
    fn what_is_set_stands_above_what_the_engine_has() {
        let set = mirrors("docker.io", &["https://a.example"]).unwrap();
        let found = mirrors("docker.io", &["https://b.example"]).unwrap();
        assert_eq!(set.clone().or(found.clone()), set);
        assert_eq!(Mirrors::default().or(found.clone()), found);
    }

    #[test]
    fn other_texts_are_refused() {
        for url in ["", "localhost:5000", "ftp://a", "http://", "http://a b"] {
            assert!(mirrors("docker.io", &[url]).is_err(), "{url}");
        }
        assert!(mirrors("a b", &[]).is_err());
    }
}
