//! The key that signs registry tokens, and the tokens.
//!
//! Tokens follow Distribution's token specification: ES256, with the certificate in the `x5c` header, which is the one way to
//! name a key that Distribution 2.8 and 3 both take (2.8's own key ids are gone in 3). The certificate is its own root, in
//! the bundle that the registry reads at its start. Key and certificate lie in one file, so that they always fit each other.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::SecretString;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::rights::Access;
use crate::private_file::{create_private_dir, write_private};

/// Who issues tokens, as the registry's configuration has it.
pub const ISSUER: &str = "slipwayd";
/// Whom registry tokens are for: the registry's `service`.
pub const SERVICE: &str = "slipway-registry";

const DIRECTORY: &str = "registry-auth";
const SIGNER_FILE: &str = "signer.pem";
const ROOTS_FILE: &str = "roots.pem";

/// Signs tokens with the key under `<data_dir>/registry-auth/`. Every process that can read the key is a signer.
pub struct TokenSigner {
    key: EncodingKey,
    /// The certificate in base64, as the header has it.
    certificate: String,
    roots: PathBuf,
}

/// A registry token and its validity.
#[derive(Debug, Clone)]
pub struct SignedToken {
    /// The token.
    pub token: SecretString,
    /// From when it holds.
    pub issued_at: OffsetDateTime,
    /// For how long.
    pub lifetime: Duration,
}

/// Why there is no signer or no token.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// Files.
    #[error("{operation} `{path}`", path = path.display())]
    File {
        /// What was done.
        operation: &'static str,
        /// To which file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Making a key or certificate.
    #[error("make the registry's signing key")]
    Generate {
        /// The cause.
        #[source]
        source: rcgen::Error,
    },
    /// The key file isn't what was written.
    #[error("`{path}` holds no usable key and certificate ({problem}); remove it to have a new one made", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// Signing.
    #[error("sign a token")]
    Sign {
        /// The cause.
        #[source]
        source: jsonwebtoken::errors::Error,
    },
}

#[derive(Serialize)]
struct RegistryClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    // Distribution 2.8 takes one audience as text only, no list.
    aud: &'a str,
    exp: i64,
    nbf: i64,
    iat: i64,
    jti: String,
    access: Vec<ResourceActions<'a>>,
}

#[derive(Serialize)]
struct ResourceActions<'a> {
    r#type: &'static str,
    name: &'a str,
    actions: Vec<&'static str>,
}

// === impl TokenSigner ===

impl TokenSigner {
    /// Loads the key of this data directory, or makes it. For slipwayd, at its start.
    pub fn open(data_dir: &Path) -> Result<Self, SignerError> {
        let directory = data_dir.join(DIRECTORY);
        create_private_dir(&directory).map_err(file_error("create", &directory))?;
        let path = directory.join(SIGNER_FILE);
        if !path.exists() {
            let pem = generate().map_err(|source| SignerError::Generate { source })?;
            write_private(&path, pem.as_bytes()).map_err(file_error("write", &path))?;
        }
        let signer = Self::load(data_dir)?;
        let roots = certificate_pem(&signer.certificate);
        if std::fs::read_to_string(&signer.roots).is_ok_and(|old| old == roots) {
            return Ok(signer);
        }
        write_private(&signer.roots, roots.as_bytes()).map_err(file_error("write", &signer.roots))?;
        Ok(signer)
    }

    /// Loads the key that slipwayd made. For a job's process.
    pub fn load(data_dir: &Path) -> Result<Self, SignerError> {
        let directory = data_dir.join(DIRECTORY);
        let path = directory.join(SIGNER_FILE);
        let text = std::fs::read(&path).map_err(file_error("read", &path))?;
        let damaged = |problem| SignerError::Damaged { path: path.clone(), problem };
        let sections = pem::parse_many(&text).map_err(|_| damaged("it is not PEM"))?;
        let find = |tag: &str| sections.iter().find(|section| section.tag() == tag);
        let certificate = find("CERTIFICATE").ok_or_else(|| damaged("no certificate"))?;
        let private = find("PRIVATE KEY").ok_or_else(|| damaged("no private key"))?;
        let key = EncodingKey::from_ec_pem(pem::encode(private).as_bytes());
        Ok(Self {
            key: key.map_err(|_| damaged("the key is not an EC key"))?,
            certificate: STANDARD.encode(certificate.contents()),
            roots: directory.join(ROOTS_FILE),
        })
    }

    /// The certificate bundle that the registry verifies tokens with.
    pub fn roots(&self) -> &Path {
        &self.roots
    }

    /// A registry token for exactly this access, valid from now on.
    pub fn sign(&self, subject: &str, access: &[Access], lifetime: Duration) -> Result<SignedToken, SignerError> {
        self.sign_from(OffsetDateTime::now_utc(), subject, access, lifetime)
    }

    pub(super) fn sign_from(
        &self,
        issued_at: OffsetDateTime,
        subject: &str,
        access: &[Access],
        lifetime: Duration,
    ) -> Result<SignedToken, SignerError> {
        let access = access.iter().map(|access| ResourceActions {
            r#type: "repository",
            name: access.repository.as_str(),
            actions: access.actions.iter().map(|action| action.as_str()).collect(),
        });
        self.sign_for(issued_at, subject, access.collect(), lifetime)
    }

    /// A registry token for the list of all repositories: for the service alone.
    pub fn sign_catalog(&self, subject: &str, lifetime: Duration) -> Result<SignedToken, SignerError> {
        let catalog = ResourceActions { r#type: "registry", name: "catalog", actions: vec!["*"] };
        self.sign_for(OffsetDateTime::now_utc(), subject, vec![catalog], lifetime)
    }

    fn sign_for(
        &self,
        issued_at: OffsetDateTime,
        subject: &str,
        access: Vec<ResourceActions<'_>>,
        lifetime: Duration,
    ) -> Result<SignedToken, SignerError> {
        let claims = RegistryClaims {
            iss: ISSUER,
            sub: subject,
            aud: SERVICE,
            exp: (issued_at + lifetime).unix_timestamp(),
            nbf: issued_at.unix_timestamp(),
            iat: issued_at.unix_timestamp(),
            jti: Uuid::now_v7().to_string(),
            access,
        };
        let header = Header { x5c: Some(vec![self.certificate.clone()]), ..Header::new(Algorithm::ES256) };
        let token = jsonwebtoken::encode(&header, &claims, &self.key).map_err(|source| SignerError::Sign { source })?;
        Ok(SignedToken { token: token.into(), issued_at, lifetime })
    }
}

impl std::fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenSigner").field("roots", &self.roots).finish_non_exhaustive()
    }
}

/// Key and certificate in PEM. The certificate carries the key and nothing else: who has the data directory has the key, so an
/// end of validity would only stop the registry one day.
fn generate() -> Result<String, rcgen::Error> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "slipwayd registry tokens");
    let certificate = params.self_signed(&key)?;
    Ok(format!("{}{}", key.serialize_pem(), certificate.pem()))
}

fn certificate_pem(base64: &str) -> String {
    let der = STANDARD.decode(base64).unwrap_or_default();
    pem::encode(&pem::Pem::new("CERTIFICATE", der))
}

fn file_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SignerError {
    let path = path.to_owned();
    move |source| SignerError::File { operation, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_private_and_stays() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("temporary directory");
        assert!(TokenSigner::load(dir.path()).is_err());
        let first = TokenSigner::open(dir.path()).expect("make");
        let again = TokenSigner::open(dir.path()).expect("open");
        assert_eq!(first.certificate, again.certificate);
        let path = dir.path().join(DIRECTORY).join(SIGNER_FILE);
        assert_eq!(std::fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, 0o600);
        assert!(!format!("{first:?}").contains(&first.certificate));

        std::fs::write(&path, "nonsense").expect("write");
        let error = TokenSigner::open(dir.path()).expect_err("damaged");
        assert!(error.to_string().contains("remove it"), "{error}");
    }
}
