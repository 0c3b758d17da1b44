//! What the token endpoint answers, without the HTTP around it.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Serialize, Serializer};
use time::OffsetDateTime;

use super::rights::Rights;
use super::signer::{SERVICE, SignerError, TokenSigner};

/// How long a token holds that a registry client asked for. Clients ask again when it ends; a long upload only needs it at its
/// start.
pub const TOKEN_LIFETIME: Duration = Duration::from_mins(15);

/// The answer to a token request, as Distribution's token specification has it.
#[derive(Debug, Clone, Serialize)]
pub struct TokenResponse {
    /// The token.
    #[serde(serialize_with = "expose")]
    pub token: SecretString,
    /// The same, under its OAuth 2 name.
    #[serde(serialize_with = "expose")]
    pub access_token: SecretString,
    /// Seconds.
    pub expires_in: u64,
    /// When it was issued.
    #[serde(with = "time::serde::rfc3339")]
    pub issued_at: OffsetDateTime,
}

/// A token request that gets no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenRequestError {
    /// It is meant for another registry.
    #[error("tokens for the service `{0}` are not issued here")]
    Service(String),
    /// Signing failed.
    #[error("sign a registry token")]
    Sign {
        /// The cause.
        #[source]
        source: SignerError,
    },
}

/// Gives a caller who is known already a token for the part of the scopes that its rights allow. No scope at all (`docker
/// login`) and nothing allowed both give a token that allows nothing, as the protocol has it.
pub fn answer_token_request(
    subject: &str,
    rights: &Rights,
    service: Option<&str>,
    scopes: &[impl AsRef<str>],
    signer: &TokenSigner,
) -> Result<TokenResponse, TokenRequestError> {
    if let Some(service) = service
        && service != SERVICE
    {
        return Err(TokenRequestError::Service(service.to_owned()));
    }
    let minted = signer
        .sign(subject, &rights.grant(scopes), TOKEN_LIFETIME)
        .map_err(|source| TokenRequestError::Sign { source })?;
    Ok(TokenResponse {
        access_token: minted.token.clone(),
        token: minted.token,
        expires_in: minted.lifetime.as_secs(),
        issued_at: minted.issued_at,
    })
}

fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    #[test]
    fn a_token_holds_what_was_allowed() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let signer = TokenSigner::open(dir.path()).expect("signer");
        let rights = Rights::user(["dev".parse().expect("namespace")], &"okteto".parse().expect("namespace"));
        let scopes = ["repository:dev/app:pull,push repository:team-b/app:pull"];
        let answer = answer_token_request("me", &rights, Some(SERVICE), &scopes, &signer).expect("token");
        assert!(!format!("{answer:?}").contains(answer.token.expose_secret()));

        let sent = serde_json::to_value(&answer).expect("serialize");
        assert_eq!(sent["token"], sent["access_token"]);
        assert_eq!(sent["expires_in"], 900);
        let parts: Vec<_> = answer.token.expose_secret().split('.').collect();
        let part = |index: usize| -> serde_json::Value {
            let bytes = URL_SAFE_NO_PAD.decode(parts[index]).expect("base64");
            serde_json::from_slice(&bytes).expect("json")
        };
        assert_eq!(part(0)["alg"], "ES256");
        assert_eq!(part(0)["x5c"].as_array().map(Vec::len), Some(1));
        let claims = part(1);
        assert_eq!(claims["sub"], "me");
        assert_eq!(claims["aud"], SERVICE);
        let access = serde_json::json!([{"type": "repository", "name": "dev/app", "actions": ["pull", "push"]}]);
        assert_eq!(claims["access"], access);

        let none: [&str; 0] = [];
        assert!(answer_token_request("me", &rights, None, &none, &signer).is_ok());
        let other = answer_token_request("me", &rights, Some("other"), &none, &signer);
        assert!(matches!(other, Err(TokenRequestError::Service(name)) if name == "other"));
    }
}
