//! Names of services, applications, variables and images.

use std::{borrow::Borrow, fmt};

use serde::{Deserialize, Serialize};

/// The name of one entry of the manifest's `build` section: lower-case letters, digits, `-` and `.`, starting and ending
/// with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(String);

/// A text that can't be the name of a service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid service name `{0}`: use lower-case letters, digits, `-` and `.`, at most 63, a letter or digit at both ends"
)]
pub struct InvalidServiceName(String);

/// As long as a DNS label, which is what names like this end up in.
const MAX_NAME: usize = 63;

impl ServiceName {
    /// Checks a name; nothing is changed.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidServiceName> {
        let name = name.into();
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
        let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let bytes = name.as_bytes();
        let valid = bytes.len() <= MAX_NAME
            && edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|byte| inner(*byte));
        if valid { Ok(Self(name)) } else { Err(InvalidServiceName(name.chars().take(100).collect())) }
    }

    /// The name that Okteto makes of a manifest's key: trimmed, space and `_` as `-`, in lower case.
    pub fn sanitised(key: &str) -> Result<Self, InvalidServiceName> {
        Self::new(sanitise_key(key))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name inside variables: `web-api` is `WEB_API` in `OKTETO_BUILD_WEB_API_IMAGE`.
    pub fn variable_part(&self) -> String {
        self.0.to_uppercase().replace('-', "_")
    }
}

/// What Okteto makes of a key that names a service.
pub(crate) fn sanitise_key(key: &str) -> String {
    key.trim().replace([' ', '_'], "-").to_lowercase()
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for ServiceName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ServiceName {
    type Error = InvalidServiceName;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(name)
    }
}

impl From<ServiceName> for String {
    fn from(name: ServiceName) -> Self {
        name.0
    }
}

impl std::str::FromStr for ServiceName {
    type Err = InvalidServiceName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}

/// The application's name as repositories hold it, by Okteto's rule: trimmed, in lower case, every run of other characters
/// than `a-z`, `0-9` and `-` as one `-`, at most 63, then one `-` less at each end. Empty when nothing is left.
pub fn sanitise_application(name: &str) -> String {
    let mut sanitised = String::with_capacity(name.len());
    let mut replaced = false;
    for character in name.trim().to_lowercase().chars() {
        let kept = character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-';
        if kept {
            sanitised.push(character);
        } else if !replaced {
            sanitised.push('-');
        }
        replaced = !kept;
    }
    sanitised.truncate(MAX_NAME);
    let trimmed = sanitised.strip_prefix('-').unwrap_or(&sanitised);
    trimmed.strip_suffix('-').unwrap_or(trimmed).to_owned()
}

/// The image of a service without `image` in the manifest: `okteto.dev/<app>-<service>:okteto`.
pub fn default_image(application: &str, service: &ServiceName) -> String {
    format!("okteto.dev/{}-{service}:okteto", sanitise_application(application))
}

/// Whether a shell can hold a variable of this name.
pub fn is_variable_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first == b'_' || first.is_ascii_alphabetic())
        && bytes.all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_service_names() {
        for (key, expected) in [
            ("app", Some("app")),
            (" My Api_2 ", Some("my-api-2")),
            ("API", Some("api")),
            ("api.v2", Some("api.v2")),
            ("", None),
            ("_", None),
            ("-a", None),
            ("a/b", None),
            ("é", None),
            (&"a".repeat(64), None),
        ] {
            let name = ServiceName::sanitised(key).ok();
            assert_eq!(name.as_ref().map(ServiceName::as_str), expected, "{key:?}");
        }
        assert_eq!(ServiceName::new("web-api").unwrap().variable_part(), "WEB_API");
    }

    #[test]
    fn default_images_follow_the_rule_for_names() {
        let service = ServiceName::new("api").unwrap();
        for (application, expected) in [
            ("ex", "okteto.dev/ex-api:okteto"),
            ("  My App!! ", "okteto.dev/my-app-api:okteto"),
            ("a__b", "okteto.dev/a-b-api:okteto"),
            ("--x--", "okteto.dev/-x--api:okteto"),
            ("Ünï", "okteto.dev/n-api:okteto"),
        ] {
            assert_eq!(default_image(application, &service), expected);
        }
        assert_eq!(sanitise_application(&"a".repeat(80)).len(), 63);
        assert_eq!(sanitise_application("!!"), "");
    }

    #[test]
    fn a_stored_name_is_checked_again() {
        assert!(serde_json::from_str::<ServiceName>("\"a\"").is_ok());
        assert!(serde_json::from_str::<ServiceName>("\"A/../b\"").is_err());
    }
}
