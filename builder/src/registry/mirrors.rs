//! Where images of other registries are looked up: the same places as the engine's.

use std::collections::BTreeMap;

use slipway_registry_client::{ImageRef, RegistryHost};

/// Mirrors by registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mirrors {
    /// None: it has some, and they are not known.
    of: BTreeMap<RegistryHost, Option<Vec<Mirror>>>,
    /// Any other registry may have some.
    more: bool,
}

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
            parsed.insert(host, Some(urls.iter().map(|url| Mirror::parse(url)).collect::<Result<_, _>>()?));
        }
        Ok(Self { of: parsed, more: false })
    }

    /// Those of an engine that has not told any.
    pub fn unknown() -> Self {
        Self { of: BTreeMap::new(), more: true }
    }

    /// Those that an engine told, and what is not understood of it: of a registry with such a mirror none are known, and the
    /// others count.
    pub fn told(mirrors: &BTreeMap<String, Vec<String>>) -> (Self, Vec<InvalidMirror>) {
        let (mut all, mut problems) = (Self::default(), Vec::new());
        for (host, urls) in mirrors {
            let parsed: Result<Vec<_>, _> = urls.iter().map(|url| Mirror::parse(url)).collect();
            let parsed = parsed.map_err(|error| problems.push(error)).ok();
            if let Ok(host) = host.parse() {
                all.of.insert(host, parsed);
            } else {
                problems.push(InvalidMirror(host.clone()));
                all.more = true;
            }
        }
        (all, problems)
    }

    /// These, and those of `others` for registries that these say nothing about.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        let mut of = others.of;
        of.extend(self.of);
        Self { of, more: self.more || others.more }
    }

    /// Hosts that are reached without TLS.
    pub fn plain_http(&self) -> impl Iterator<Item = RegistryHost> {
        self.of.values().flatten().flatten().filter(|mirror| mirror.plain).map(|mirror| mirror.host.clone())
    }

    /// All hosts that somebody has named: mirrors, and registries that anything is said about.
    pub fn hosts(&self) -> impl Iterator<Item = RegistryHost> {
        self.of.keys().cloned().chain(self.of.values().flatten().flatten().map(|mirror| mirror.host.clone()))
    }

    /// Where to look for an image, in order; the image's own registry is not among them. None if that is not known.
    pub fn places(&self, image: &ImageRef) -> Option<Vec<ImageRef>> {
        let mirrors = match self.of.get(image.registry()) {
            Some(mirrors) => mirrors.as_deref()?,
            None if self.more => return None,
            None => &[],
        };
        Some(mirrors.iter().filter_map(|mirror| mirror.place(image)).collect())
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
            let places = mirrors.places(&image.parse().unwrap()).unwrap();
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
    fn what_the_engine_did_not_tell_is_not_known() {
        let urls = |urls: &[&str]| urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>();
        let places =
            |mirrors: &Mirrors, image: &str| mirrors.places(&image.parse().unwrap()).map(|places| places.len());
        let set = mirrors("docker.io", &["https://a.example"]).unwrap();
        let silent = set.clone().or(Mirrors::unknown());
        assert_eq!((places(&silent, "debian:12"), places(&silent, "ghcr.io/a/b")), (Some(1), None));
        let told = BTreeMap::from([
            ("docker.io".to_owned(), urls(&["https://b.example"])),
            ("ghcr.io".to_owned(), urls(&["https://c.example", "ftp://c.example"])),
        ]);
        let (told, problems) = Mirrors::told(&told);
        assert_eq!(problems, [InvalidMirror("ftp://c.example".to_owned())]);
        assert_eq!((places(&told, "debian:12"), places(&told, "ghcr.io/a/b")), (Some(1), None));
        assert_eq!(places(&told, "quay.io/a/b"), Some(0));
        let (odd, _) = Mirrors::told(&BTreeMap::from([("a b".to_owned(), Vec::new())]));
        assert_eq!(places(&odd, "quay.io/a/b"), None);
    }

    #[test]
    fn other_texts_are_refused() {
        for url in ["", "localhost:5000", "ftp://a", "http://", "http://a b"] {
            assert!(mirrors("docker.io", &[url]).is_err(), "{url}");
        }
        assert!(mirrors("a b", &[]).is_err());
    }
}
