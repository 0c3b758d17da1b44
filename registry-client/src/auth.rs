//! How a call to a registry proves who it is.

use secrecy::{ExposeSecret as _, SecretString};

/// Credentials for one call. `Debug` shows no secret.
#[derive(Debug, Clone, Default)]
pub enum Auth {
    /// None; a registry that gives anonymous tokens is still asked for one.
    #[default]
    Anonymous,
    /// A user and a password, sent only when the registry asks: to the registry itself, or to the token server it names.
    Basic {
        /// The user.
        username: String,
        /// The password, or a token in its place.
        password: SecretString,
    },
    /// A registry token that was minted already; sent as it is.
    Bearer(SecretString),
}

// === impl Auth ===

impl Auth {
    /// User and password.
    pub fn basic(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self::Basic { username: username.into(), password: SecretString::from(password.into()) }
    }

    /// A raw registry token.
    pub fn bearer(token: impl Into<String>) -> Self {
        Self::Bearer(SecretString::from(token.into()))
    }

    /// The same in `oci-client`'s form.
    pub(crate) fn for_oci_client(&self) -> oci_client::secrets::RegistryAuth {
        use oci_client::secrets::RegistryAuth;
        match self {
            Self::Anonymous => RegistryAuth::Anonymous,
            Self::Basic { username, password } => {
                RegistryAuth::Basic(username.clone(), password.expose_secret().to_owned())
            }
            Self::Bearer(token) => RegistryAuth::Bearer(token.expose_secret().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        for auth in [Auth::basic("me", "hunter2"), Auth::bearer("hunter2")] {
            assert!(!format!("{auth:?}").contains("hunter2"));
        }
    }
}
