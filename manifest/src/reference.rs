//! The parts of an image reference, as Okteto's variables name them. Resolving references is the registry client's job.

/// A reference, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference<'r> {
    /// The registry's host; Docker Hub's where the reference names none.
    pub(crate) registry: &'r str,
    pub(crate) repository: String,
    pub(crate) tag: Option<&'r str>,
    pub(crate) digest: Option<&'r str>,
}

/// A text that is no image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid image reference `{0}`")]
pub struct InvalidReference(pub(crate) String);

const DOCKER_HUB: &str = "index.docker.io";
const MAX_REFERENCE: usize = 1024;

pub(crate) fn parse(text: &str) -> Result<Reference<'_>, InvalidReference> {
    try_parse(text).ok_or_else(|| InvalidReference(text.chars().take(100).collect()))
}

fn try_parse(text: &str) -> Option<Reference<'_>> {
    if text.len() > MAX_REFERENCE {
        return None;
    }
    let (base, digest) = match text.split_once('@') {
        Some((base, digest)) if is_digest(digest) => (base, Some(digest)),
        Some(_) => return None,
        None => (text, None),
    };
    let last_part = base.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match base[last_part..].split_once(':') {
        Some((part, tag)) if is_tag(tag) => (&base[..last_part + part.len()], Some(tag)),
        Some(_) => return None,
        None => (base, None),
    };
    let (registry, path) = match name.split_once('/') {
        // Docker Hub's names have two parts at most: of three the first is a registry, whatever it looks like.
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" || rest.contains('/') => {
            (first, rest)
        }
        _ => (DOCKER_HUB, name),
    };
    if !is_host(registry) || !path.split('/').all(is_path_part) {
        return None;
    }
    let registry = if registry == "docker.io" { DOCKER_HUB } else { registry };
    let library = registry == DOCKER_HUB && !path.contains('/');
    let repository = if library { format!("library/{path}") } else { path.to_owned() };
    Some(Reference { registry, repository, tag, digest })
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        !algorithm.is_empty()
            && algorithm
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+._-".contains(&byte))
            && !hex.is_empty()
            && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn is_tag(tag: &str) -> bool {
    tag.len() <= 128
        && tag.starts_with(|first: char| first == '_' || first.is_ascii_alphanumeric())
        && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

fn is_host(host: &str) -> bool {
    // A colon for the port, brackets for IPv6.
    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte))
}

fn is_path_part(part: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let bytes = part.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(byte);
    edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(inner)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn what_is_no_reference() {
        for text in [
            "",
            "/",
            "a/",
            "/a",
            "a b",
            "A",
            "a:",
            "a:b c",
            "a@",
            "a@sha256",
            "a@sha256:xyz",
            "a//b",
            "a:b:c",
            "é",
            "-a",
            "a@b@c",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert!(parse(&"a/".repeat(1000)).is_err());
    }
}
