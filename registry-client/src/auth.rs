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
    /// An identity token (`docker login` keeps one in a password's place): a refresh token that a token server exchanges for
    /// registry tokens (distribution/distribution, `docs/spec/auth/oauth.md`). No registry takes it itself.
    Identity(SecretString),
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

    /// An identity token.
    pub fn identity(token: impl Into<String>) -> Self {
        Self::Identity(SecretString::from(token.into()))
    }

    /// The same in `oci-client`'s form.
    pub(crate) fn for_oci_client(&self) -> oci_client::secrets::RegistryAuth {
        use oci_client::secrets::RegistryAuth;
        match self {
            // An identity token has become a registry token before, or is nothing to this registry.
            Self::Anonymous | Self::Identity(_) => RegistryAuth::Anonymous,
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
        for auth in [Auth::basic("me", "hunter2"), Auth::bearer("hunter2"), Auth::identity("hunter2")] {
            assert!(!format!("{auth:?}").contains("hunter2"));
        }
    }
}
