//! Where images go: names, rights, credentials and checks, over [`slipway_registry_client`].
//!
//! ```text
//!  config ── Registry ──┬─ names: image_ref, repository_for        (okteto.dev, okteto.global)
//!                       ├─ rights ── token ── signer                who may what, and the tokens that say so
//!                       ├─ credentials: client_auth, token_for_job  managed: minted here; external: fixed
//!                       └─ source_policy_rules                      what builds may start FROM
//!  logins ── what callers bring for other registries, job by job
//!  bases ── what a Dockerfile's images are now, through the engine's mirrors
//!  managed ── the Distribution process, its token server is ours
//! ```
//!
//! [`Registry`] holds no process and no connection: slipwayd has one, and each job's process has its own on the same data
//! directory, which mints tokens with the same key.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use slipway_registry_client::{
    Auth, CaFile, Digest, Hosts, ImageRef, InvalidReference, RegistryClient, RegistryError, RegistryHost,
    RepositoryName,
};

use crate::names::Namespace;

pub mod bases;
pub mod config;
pub mod logins;
pub mod managed;
pub mod mirrors;
pub mod rights;
pub mod signer;
pub mod sources;
#[cfg(test)]
mod tests;
pub mod token;

pub use bases::{BaseError, BaseImages};
pub use config::{Config, ConfigProblem, Kind};
pub use logins::{InvalidLogins, Login, Logins};
pub use managed::{ManagedError, ManagedRegistry};
pub use rights::{Access, Action, Rights};
pub use signer::{ISSUER, SERVICE, SignedToken, SignerError, TokenSigner};
pub use sources::{SourceEffect, SourceRule};
pub use token::{TokenRequestError, TokenResponse, answer_token_request};

/// How long our own calls may take, an import of a large image included.
const OWN_TOKEN_LIFETIME: Duration = Duration::from_hours(1);
/// A password file is one line.
const PASSWORD_LIMIT: u64 = 64 << 10;

/// The registry, for the rest of the service.
#[derive(Debug)]
pub struct Registry {
    host: RegistryHost,
    /// All names that the registry goes by, `host` first.
    names: Vec<RegistryHost>,
    global: Namespace,
    access: RegistryAccess,
    client: RegistryClient,
    plain_http: Vec<RegistryHost>,
    trusted: Vec<CaFile>,
}

/// How we get into the registry.
#[derive(Debug)]
enum RegistryAccess {
    /// With tokens of our own.
    Managed(TokenSigner),
    /// With somebody else's credentials, or none.
    External(Option<Credentials>),
}

/// Fixed credentials of an external registry.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The password or token.
    pub password: SecretString,
}

/// Why the registry can't be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The settings.
    #[error("{}", list(.0))]
    Config(Vec<ConfigProblem>),
    /// The signing key.
    #[error("open the registry's token key")]
    Signer {
        /// The cause.
        #[source]
        source: SignerError,
    },
    /// The password file.
    #[error("read registry.password_file `{path}`", path = path.display())]
    PasswordFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The HTTP client.
    #[error("open the registry client")]
    Client {
        /// The cause.
        #[source]
        source: RegistryError,
    },
}

/// Why a job may not push an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushRefused {
    /// It is for another registry.
    #[error("can't push `{image}`: jobs push to {host} only; name the image `okteto.dev/…`")]
    OtherRegistry {
        /// The image.
        image: ImageRef,
        /// Our registry.
        host: RegistryHost,
    },
    /// It is the global namespace's.
    #[error("can't push `{image}`: only admins may push to the global namespace `{global}`")]
    Global {
        /// The image.
        image: ImageRef,
        /// The global namespace.
        global: Namespace,
    },
    /// It is another namespace's, or nobody's.
    #[error("can't push `{image}`: it is outside the job's namespace `{namespace}`; name the image `okteto.dev/…`")]
    OtherNamespace {
        /// The image.
        image: ImageRef,
        /// The job's namespace.
        namespace: Namespace,
    },
}

/// Why a call to the registry on our own behalf failed.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// No token.
    #[error("mint a registry token")]
    Sign {
        /// The cause.
        #[source]
        source: SignerError,
    },
    /// The token server's rules.
    #[error("mint a registry token")]
    Request {
        /// The cause.
        #[source]
        source: TokenRequestError,
    },
    /// An external registry has a token server of its own.
    #[error("tokens of the external registry {0} come from its own token server")]
    External(RegistryHost),
    /// The list of repositories.
    #[error("list repositories")]
    List {
        /// The cause.
        #[source]
        source: RegistryError,
    },
    /// The runner's image isn't there and can't be brought.
    #[error("the runner image `{image}` isn't in the registry, and runner.archive names no archive to import it from")]
    NoRunnerArchive {
        /// The image.
        image: ImageRef,
    },
    /// The registry.
    #[error("{operation} the runner image")]
    Runner {
        /// What was done.
        operation: &'static str,
        /// The cause.
        #[source]
        source: RegistryError,
    },
}

// === impl Registry ===

impl Registry {
    /// For slipwayd: makes the signing key if there is none.
    pub fn open(config: &Config, data_dir: &Path) -> Result<Self, OpenError> {
        Self::with_signer(config, || TokenSigner::open(data_dir))
    }

    /// For a job's process: the key must be there.
    pub fn open_for_job(config: &Config, data_dir: &Path) -> Result<Self, OpenError> {
        Self::with_signer(config, || TokenSigner::load(data_dir))
    }

    fn with_signer(
        config: &Config,
        signer: impl FnOnce() -> Result<TokenSigner, SignerError>,
    ) -> Result<Self, OpenError> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(OpenError::Config(problems));
        }
        let host = config.image_host().map_err(|problem| OpenError::Config(vec![problem]))?;
        let mut names = vec![host.clone()];
        let access = match config.kind {
            Kind::Managed => {
                // Behind a proxy's name it still listens under its own.
                names.extend(config.listen.to_string().parse().ok().filter(|listen| *listen != host));
                RegistryAccess::Managed(signer().map_err(|source| OpenError::Signer { source })?)
            }
            Kind::External => RegistryAccess::External(credentials(config)?),
        };
        let trusted = config.ca_files().map_err(OpenError::Config)?;
        let client =
            RegistryClient::builder().plain_http(config.plain_http.iter().cloned()).trust(trusted.iter().cloned());
        let client = client.build();
        let client = client.map_err(|source| OpenError::Client { source })?;
        let (global, plain_http) = (config.global_namespace.clone(), config.plain_http.clone());
        Ok(Self { host, names, global, access, client, plain_http, trusted })
    }

    /// The `host[:port]` in image names.
    pub fn host(&self) -> &RegistryHost {
        &self.host
    }

    /// The namespace that `okteto.global` means.
    pub fn global_namespace(&self) -> &Namespace {
        &self.global
    }

    /// The client for calls to this registry and to others.
    pub fn client(&self) -> &RegistryClient {
        &self.client
    }

    /// The registries that are reached without TLS, besides loopback ones.
    pub(crate) fn plain_http(&self) -> &[RegistryHost] {
        &self.plain_http
    }

    /// The CAs that are trusted beside the system's.
    pub(crate) fn trusted(&self) -> &[CaFile] {
        &self.trusted
    }

    /// The signer, if the registry is ours.
    pub fn signer(&self) -> Option<&TokenSigner> {
        match &self.access {
            RegistryAccess::Managed(signer) => Some(signer),
            RegistryAccess::External(_) => None,
        }
    }

    /// The fixed credentials of an external registry: what a job's session gives to the engine.
    pub fn credentials(&self) -> Option<&Credentials> {
        match &self.access {
            RegistryAccess::Managed(_) => None,
            RegistryAccess::External(credentials) => credentials.as_ref(),
        }
    }

    /// Whether an image is on this registry.
    pub fn holds(&self, image: &ImageRef) -> bool {
        *image.registry() == self.host
    }

    /// Whether a name leads to this registry: one of its own, or another spelling of the loopback that it listens on.
    pub fn is_ours(&self, host: &RegistryHost) -> bool {
        self.names
            .iter()
            .any(|name| name == host || name.is_loopback() && host.is_loopback() && name.port() == host.port())
    }

    /// `<host>/<namespace>/<name>`, untagged.
    pub fn repository_for(&self, namespace: &Namespace, name: &str) -> Result<ImageRef, InvalidReference> {
        let reference = format!("{}/{namespace}/{name}", self.host);
        let repository = format!("{namespace}/{name}").parse::<RepositoryName>();
        repository
            .map(|repository| ImageRef::new(self.host.clone(), repository))
            .map_err(|problem| InvalidReference { reference, problem })
    }

    /// A repository as a user names it: within the namespace (`app`), or with a host.
    pub fn repository(&self, namespace: &Namespace, name: &str) -> Result<ImageRef, InvalidReference> {
        let has_host = name.split_once('/').is_some_and(|(host, _)| host.contains(['.', ':']) || host == "localhost");
        if has_host { self.image_ref(namespace, name) } else { self.repository_for(namespace, name) }
    }

    /// Parses an image reference, `okteto.dev` and `okteto.global` resolved for this namespace.
    pub fn image_ref(&self, namespace: &Namespace, reference: &str) -> Result<ImageRef, InvalidReference> {
        self.hosts(namespace).resolve(reference)
    }

    /// What the alias hosts mean for this namespace.
    pub fn hosts(&self, namespace: &Namespace) -> Hosts {
        Hosts { registry: self.host.clone(), namespace: namespace.to_string(), global: self.global.to_string() }
    }

    /// Checks that a job of this namespace may push this image; `admin` is whether its owner is one.
    pub fn allowed_push(&self, namespace: &Namespace, admin: bool, image: &ImageRef) -> Result<(), PushRefused> {
        if !self.holds(image) {
            return Err(PushRefused::OtherRegistry { image: image.clone(), host: self.host.clone() });
        }
        match image.repository().namespace() {
            Some(owner) if owner == self.global.as_str() => {
                if admin || *namespace == self.global {
                    return Ok(());
                }
                Err(PushRefused::Global { image: image.clone(), global: self.global.clone() })
            }
            Some(owner) if owner == namespace.as_str() => Ok(()),
            _ => Err(PushRefused::OtherNamespace { image: image.clone(), namespace: namespace.clone() }),
        }
    }

    /// The rights of a job of this namespace that pushes these images; each must have passed [`Self::allowed_push`].
    pub fn job_rights<'a>(&self, namespace: &Namespace, push: impl IntoIterator<Item = &'a ImageRef>) -> Rights {
        let ours = push.into_iter().filter(|image| self.holds(image));
        Rights::job(namespace, &self.global, ours.map(|image| image.repository().clone()))
    }

    /// A token for what an engine asks of a job's session, within the job's rights.
    pub fn token_for_job(
        &self,
        subject: &str,
        rights: &Rights,
        service: Option<&str>,
        scopes: &[impl AsRef<str>],
    ) -> Result<TokenResponse, AccessError> {
        let signer = self.signer().ok_or_else(|| AccessError::External(self.host.clone()))?;
        answer_token_request(subject, rights, service, scopes, signer).map_err(|source| AccessError::Request { source })
    }

    /// Credentials for a call of our own about this image: a token for exactly that on a managed registry, the fixed ones
    /// on an external one, none elsewhere.
    pub fn client_auth(&self, image: &ImageRef, actions: &[Action]) -> Result<Auth, AccessError> {
        let access = Access { repository: image.repository().clone(), actions: actions.to_vec() };
        self.auth_for(image, &[access])
    }

    /// The namespace's repositories, by name; `None` if the registry doesn't list them to us.
    pub async fn repositories(&self, namespace: &Namespace) -> Result<Option<Vec<ImageRef>>, AccessError> {
        let auth = match &self.access {
            RegistryAccess::Managed(signer) => {
                let token = signer.sign_catalog("slipwayd", OWN_TOKEN_LIFETIME);
                Auth::Bearer(token.map_err(|source| AccessError::Sign { source })?.token)
            }
            RegistryAccess::External(None) => Auth::Anonymous,
            RegistryAccess::External(Some(Credentials { username, password })) => {
                Auth::Basic { username: username.clone(), password: password.clone() }
            }
        };
        let found = self.client.list_repositories(&self.host, &format!("{namespace}/"), &auth).await;
        match found {
            Ok(names) => Ok(Some(names.into_iter().map(|name| ImageRef::new(self.host.clone(), name)).collect())),
            Err(RegistryError::Denied { .. } | RegistryError::NotFound { .. } | RegistryError::Status { .. }) => {
                Ok(None)
            }
            Err(source) => Err(AccessError::List { source }),
        }
    }

    /// Credentials for copying `from` to `to`.
    pub fn copy_auth(&self, from: &ImageRef, to: &ImageRef) -> Result<Auth, AccessError> {
        let access = [Access::pull(from.repository().clone()), Access::push(to.repository().clone())];
        self.auth_for(to, &access)
    }

    fn auth_for(&self, image: &ImageRef, access: &[Access]) -> Result<Auth, AccessError> {
        if !self.holds(image) {
            return Ok(Auth::Anonymous);
        }
        match &self.access {
            RegistryAccess::External(None) => Ok(Auth::Anonymous),
            RegistryAccess::External(Some(Credentials { username, password })) => {
                Ok(Auth::Basic { username: username.clone(), password: password.clone() })
            }
            RegistryAccess::Managed(signer) => signer
                .sign("slipwayd", access, OWN_TOKEN_LIFETIME)
                .map(|signed| Auth::Bearer(signed.token))
                .map_err(|source| AccessError::Sign { source }),
        }
    }

    /// Makes sure that the runner's image can be pulled: looks for it, and imports the archive if it isn't there.
    pub async fn ensure_runner_image(&self, image: &ImageRef, archive: Option<&Path>) -> Result<Digest, AccessError> {
        let runner_error = |operation| move |source| AccessError::Runner { operation, source };
        let auth = self.client_auth(image, &[Action::Pull])?;
        let found = self.client.resolve_digest(image, &auth).await.map_err(runner_error("look for"))?;
        if let Some(digest) = found {
            return Ok(digest);
        }
        let Some(archive) = archive.filter(|_| self.holds(image)) else {
            return Err(AccessError::NoRunnerArchive { image: image.clone() });
        };
        let auth = self.client_auth(image, &[Action::Pull, Action::Push])?;
        let imported = self.client.import_oci_archive(archive, image, &auth).await.map_err(runner_error("import"))?;
        tracing::info!(
            image = %image,
            digest = %imported.digest,
            pushed_bytes = imported.pushed_bytes,
            "imported the runner image"
        );
        Ok(imported.digest)
    }

    /// What builds of this namespace may take from this registry, in the order in which the rules apply; and what they take
    /// for the names of these base images, each given by name and digest.
    pub fn source_policy_rules(&self, namespace: &Namespace, bases: &[ImageRef]) -> Vec<SourceRule> {
        let mut rules = sources::aliases(&self.host, namespace, &self.global);
        rules.extend(sources::pins(bases));
        rules.extend(sources::rules(&self.names, &[namespace, &self.global]));
        rules
    }
}

fn credentials(config: &Config) -> Result<Option<Credentials>, OpenError> {
    use std::io::Read as _;
    let Some(username) = config.username.clone() else {
        return Ok(None);
    };
    let password = match (&config.password, &config.password_file) {
        (Some(password), _) => password.clone(),
        (None, Some(path)) => {
            let mut text = String::new();
            std::fs::File::open(path)
                .and_then(|file| file.take(PASSWORD_LIMIT).read_to_string(&mut text))
                .map_err(|source| OpenError::PasswordFile { path: path.clone(), source })?;
            SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned())
        }
        (None, None) => return Ok(None),
    };
    Ok(Some(Credentials { username, password }))
}

fn list(problems: &[ConfigProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
