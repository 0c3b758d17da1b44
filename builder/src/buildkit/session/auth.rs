//! Registry credentials for BuildKit (`moby.filesync.v1.Auth`, `auth.proto`).
//!
//! For the registry whose tokens we mint, BuildKit gets tokens only, each for the repositories it asked for and the job may
//! use; no password leaves this process. BuildKit shares tokens between sessions that prove the same authority, so every
//! session has a seed of its own.

use std::fmt;
use std::sync::Arc;

use bollard_buildkit_proto::moby::filesync::v1 as api;
use ed25519_dalek::{Signer as _, SigningKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tonic::{Request, Response, Status};

/// A registry token.
#[derive(Clone)]
pub struct Token {
    /// The token itself.
    pub token: String,
    /// Seconds that it is valid for.
    pub expires_in: i64,
    /// Seconds since 1970.
    pub issued_at: i64,
}

/// Makes tokens for scopes (`repository:ns/app:pull,push`), limited to what the job may do.
pub type Mint = Arc<dyn Fn(&[String]) -> Result<Token, String> + Send + Sync>;

/// How to get into one registry.
#[derive(Clone)]
pub enum Access {
    /// Tokens that we mint ourselves.
    Tokens(Mint),
    /// Fixed credentials, which BuildKit takes to the registry.
    Credentials {
        /// The user's name; empty with an identity token.
        username: String,
        /// The password or identity token.
        secret: String,
    },
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tokens(_) => "Tokens",
            Self::Credentials { .. } => "Credentials",
        })
    }
}

/// The registries that a session can get into. Any other is used without credentials.
#[derive(Debug, Clone)]
pub struct Auth {
    hosts: Arc<Vec<(String, Access)>>,
    seed: [u8; 32],
}

impl Auth {
    /// These registries by host (`host:port`).
    pub fn new(hosts: Vec<(String, Access)>) -> Self {
        Self { hosts: Arc::new(hosts), seed: rand::random() }
    }

    fn access(&self, host: &str) -> Option<&Access> {
        self.hosts.iter().find(|(known, _)| known == host).map(|(_, access)| access)
    }

    fn key(&self, host: &str, salt: &[u8]) -> Result<SigningKey, Status> {
        let Some(Access::Tokens(_)) = self.access(host) else {
            return Err(Status::unimplemented("no token authority for this registry"));
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(salt).map_err(|_| Status::invalid_argument("salt"))?;
        mac.update(&self.seed);
        mac.update(host.as_bytes());
        Ok(SigningKey::from_bytes(&mac.finalize().into_bytes().into()))
    }
}

#[tonic::async_trait]
impl api::auth_server::Auth for Auth {
    async fn credentials(
        &self,
        request: Request<api::CredentialsRequest>,
    ) -> Result<Response<api::CredentialsResponse>, Status> {
        let host = request.into_inner().host;
        match self.access(&host) {
            Some(Access::Credentials { username, secret }) => {
                Ok(Response::new(api::CredentialsResponse { username: username.clone(), secret: secret.clone() }))
            }
            // Not empty ones: BuildKit would take an authorizer for them that somebody else's session left, who has no access at
            // all, and never ask for a token (BuildKit, `util/resolver/authorizer.go`).
            Some(Access::Tokens(_)) => Err(Status::permission_denied("this registry is for tokens")),
            None => Ok(Response::new(api::CredentialsResponse::default())),
        }
    }

    async fn fetch_token(
        &self,
        request: Request<api::FetchTokenRequest>,
    ) -> Result<Response<api::FetchTokenResponse>, Status> {
        let request = request.into_inner();
        let Some(Access::Tokens(mint)) = self.access(&request.host) else {
            return Err(Status::unimplemented("no token authority for this registry"));
        };
        let token = mint(&request.scopes).map_err(Status::permission_denied)?;
        Ok(Response::new(api::FetchTokenResponse {
            token: token.token,
            expires_in: token.expires_in,
            issued_at: token.issued_at,
        }))
    }

    async fn get_token_authority(
        &self,
        request: Request<api::GetTokenAuthorityRequest>,
    ) -> Result<Response<api::GetTokenAuthorityResponse>, Status> {
        let request = request.into_inner();
        let key = self.key(&request.host, &request.salt)?;
        Ok(Response::new(api::GetTokenAuthorityResponse { public_key: key.verifying_key().to_bytes().to_vec() }))
    }

    async fn verify_token_authority(
        &self,
        request: Request<api::VerifyTokenAuthorityRequest>,
    ) -> Result<Response<api::VerifyTokenAuthorityResponse>, Status> {
        let request = request.into_inner();
        let key = self.key(&request.host, &request.salt)?;
        // NaCl's `crypto_sign`: the signature, then the message.
        let mut signed = key.sign(&request.payload).to_bytes().to_vec();
        signed.extend_from_slice(&request.payload);
        Ok(Response::new(api::VerifyTokenAuthorityResponse { signed }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::auth_server::Auth as _;
    use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};

    fn auth() -> Auth {
        let mint: Mint = Arc::new(|scopes| match scopes {
            [scope] if scope == "repository:dev/app:pull" => {
                Ok(Token { token: "t".to_owned(), expires_in: 60, issued_at: 1 })
            }
            _ => Err("not yours".to_owned()),
        });
        let fixed = Access::Credentials { username: "u".to_owned(), secret: "s".to_owned() };
        Auth::new(vec![("r:1".to_owned(), Access::Tokens(mint)), ("x:2".to_owned(), fixed)])
    }

    #[tokio::test]
    async fn the_authority_is_proved_by_a_signature_over_the_payload() {
        let auth = auth();
        let (host, salt) = ("r:1".to_owned(), b"salt".to_vec());
        let request = api::GetTokenAuthorityRequest { host: host.clone(), salt: salt.clone() };
        let public = auth.get_token_authority(Request::new(request)).await.unwrap().into_inner().public_key;
        let request = api::VerifyTokenAuthorityRequest { host, payload: b"payload".to_vec(), salt };
        let signed = auth.verify_token_authority(Request::new(request)).await.unwrap().into_inner().signed;
        let (signature, payload) = signed.split_at(64);
        assert_eq!(payload, b"payload");
        let key = VerifyingKey::from_bytes(&public.try_into().unwrap()).unwrap();
        key.verify(payload, &Signature::from_slice(signature).unwrap()).unwrap();
    }

    #[tokio::test]
    async fn tokens_are_for_the_jobs_repositories_only() {
        let auth = auth();
        let fetch = |scope: &str| {
            let (host, scopes) = ("r:1".to_owned(), vec![scope.to_owned()]);
            auth.fetch_token(Request::new(api::FetchTokenRequest { host, scopes, ..Default::default() }))
        };
        assert_eq!(fetch("repository:dev/app:pull").await.unwrap().into_inner().token, "t");
        let refused = fetch("repository:other/app:pull").await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    }

    #[tokio::test]
    async fn a_registry_of_tokens_never_gives_a_password() {
        let auth = auth();
        let ask = |host: &str| auth.credentials(Request::new(api::CredentialsRequest { host: host.to_owned() }));
        assert_eq!(ask("r:1").await.unwrap_err().code(), tonic::Code::PermissionDenied);
        assert_eq!(ask("x:2").await.unwrap().into_inner().secret, "s");
        assert_eq!(ask("elsewhere").await.unwrap().into_inner().secret, "");
    }
}
