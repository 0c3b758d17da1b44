//! Which frontend reads a Dockerfile (`# syntax=`, `BUILDKIT_SYNTAX`).
//!
//! A frontend may ask the engine for anything: for steps and cache mounts as another namespace has them. So only Docker's own
//! is taken, unless the admin trusts all namespaces with each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use slipway_context::dockerfile::{self, Frontend};

/// The first of Docker's frontends that is known to give every step the host, and every cache mount the name, that keep
/// namespaces apart: 1.4.
const FIRST: (u32, u32) = (1, 4);

/// Which frontends there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Frontends {
    /// The engine's own, and `docker/dockerfile`.
    #[default]
    Official,
    /// Any image.
    Any,
}

/// Who reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reader {
    /// The engine's own, whatever the Dockerfile says.
    Engine,
    /// This image, whatever the Dockerfile says.
    Image(String),
    /// Whoever the Dockerfile, or an argument, names.
    Named,
}

/// Who reads this Dockerfile; else the name of the frontend that may not.
pub(super) fn reader(text: &str, args: &[(String, String)], allowed: Frontends) -> Result<Reader, String> {
    let args: BTreeMap<String, Option<String>> =
        args.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect();
    match (dockerfile::frontend(text, &args), allowed) {
        // There is nothing to forward to: so nothing that BuildKit finds and we don't is forwarded to.
        (Frontend::BuiltIn, Frontends::Official) => Ok(Reader::Engine),
        // An old one knows nothing that the engine's own doesn't.
        (Frontend::Official(name), _) if may_be_older(&name) => Ok(Reader::Engine),
        (Frontend::Official(name), Frontends::Official) => Ok(Reader::Image(name)),
        (_, Frontends::Any) => Ok(Reader::Named),
        (Frontend::Other(name), Frontends::Official) => Err(name),
    }
}

/// Whether it is, or may be, a version before [`FIRST`]. A digest may be any version's, whatever tag is beside it, and so
/// may what has only unstable features of 1.0 and 1.1 (`experimental`, `1-experimental`).
fn may_be_older(name: &str) -> bool {
    if name.contains('@') || name.contains("experimental") {
        return true;
    }
    let Some((_, tag)) = name.rsplit_once(':') else { return false };
    let mut parts = tag.split(['.', '-']).map(|part| part.parse::<u32>().ok());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) < FIRST,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dockers_own_frontends_are_asked() {
        let read = |text: &str, allowed| reader(text, &[], allowed);
        let official = |syntax: &str| read(&format!("# syntax={syntax}\nFROM x\n"), Frontends::Official);
        assert_eq!(read("FROM x\n", Frontends::Official), Ok(Reader::Engine));
        assert_eq!(read("FROM x\n", Frontends::Any), Ok(Reader::Named));
        for name in [
            "docker/dockerfile:1",
            "docker/dockerfile",
            "docker.io/docker/dockerfile:1.7-labs",
            "docker/dockerfile:1.10.0",
        ] {
            assert_eq!(official(name), Ok(Reader::Image(name.to_owned())));
        }
        for name in [
            "docker/dockerfile:1.3",
            "docker/dockerfile:1.2.1-labs",
            "docker/dockerfile:1.0-experimental",
            "docker/dockerfile:experimental",
            "docker/dockerfile:1-experimental",
            "docker/dockerfile:1.4@sha256:11",
            "docker/dockerfile@sha256:11",
        ] {
            assert_eq!(official(name), Ok(Reader::Engine), "{name}");
        }
        assert_eq!(official("evil.example/frontend:1"), Err("evil.example/frontend:1".to_owned()));
        assert_eq!(official("docker/dockerfile-upstream:1").unwrap_err(), "docker/dockerfile-upstream:1");
        assert_eq!(read("# syntax=evil.example/x\nFROM x\n", Frontends::Any), Ok(Reader::Named));
        let args = [("BUILDKIT_SYNTAX".to_owned(), "evil.example/x".to_owned())];
        assert_eq!(reader("FROM x\n", &args, Frontends::Official), Err("evil.example/x".to_owned()));
    }
}
