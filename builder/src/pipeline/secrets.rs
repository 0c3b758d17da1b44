//! The secrets of a job's builds: kept encrypted until the job ends, and known in keys by hashes only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use rand::Rng as _;
use secrecy::{ExposeSecret as _, SecretSlice};
use slipway_manifest::options::SecretSource;
use slipway_manifest::plan::{BuildPlan, Plan};
use zeroize::Zeroizing;

use super::cache_scope::CacheScope;
use crate::buildkit::session::secrets::MAX_SECRET;
use crate::names::{JobId, Namespace};
use crate::private_file::read_or_create;

/// The key's file under the data directory.
const KEY_FILE: &str = "secrets.key";
/// Of `XChaCha20`, in bytes: long enough to be chosen at random.
const NONCE: usize = 24;
/// Bytes of all values of a job.
const MAX_BYTES: usize = 4 << 20;

/// The values of a job's secrets, by where the client has them from.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    values: BTreeMap<SecretSource, SecretSlice<u8>>,
}

/// The secrets of one build as they count in keys: each id, and what stands for its value. Sorted by id.
pub type SecretKeys = Vec<(String, String)>;

/// What encrypts secrets on the disk.
pub struct SecretsKey(XChaCha20Poly1305);

/// Why these can't be the secrets of a job.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecrets {
    /// One twice.
    #[error("`{0}` is there twice")]
    Twice(SecretSource),
    /// One that is too large.
    #[error("`{0}` is larger than the {MAX_SECRET} bytes that BuildKit takes")]
    TooLarge(SecretSource),
    /// All of them are.
    #[error("all values are larger than {MAX_BYTES} bytes")]
    AllTooLarge,
    /// One for nobody.
    #[error("no build uses `{0}`")]
    Unused(SecretSource),
}

// === impl Secrets ===

impl Secrets {
    /// The values that came with a plan.
    pub fn new(values: impl IntoIterator<Item = (SecretSource, Vec<u8>)>, plan: &Plan) -> Result<Self, InvalidSecrets> {
        let used: BTreeSet<&SecretSource> =
            plan.builds.iter().flat_map(|build| build.options.secrets.values()).map(|secret| &secret.source).collect();
        let (mut found, mut bytes) = (BTreeMap::new(), 0);
        for (source, value) in values {
            bytes += value.len();
            if value.len() > MAX_SECRET {
                return Err(InvalidSecrets::TooLarge(source));
            }
            if bytes > MAX_BYTES {
                return Err(InvalidSecrets::AllTooLarge);
            }
            if !used.contains(&source) {
                return Err(InvalidSecrets::Unused(source));
            }
            if found.insert(source.clone(), SecretSlice::from(value)).is_some() {
                return Err(InvalidSecrets::Twice(source));
            }
        }
        Ok(Self { values: found })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Those of one build, by id.
    pub fn of(&self, build: &BuildPlan) -> BTreeMap<String, Vec<u8>> {
        let value = |source| self.values.get(source).map(|value| value.expose_secret().to_vec());
        let secrets = build.options.secrets.values();
        secrets.filter_map(|secret| Some((secret.id.clone(), value(&secret.source)?))).collect()
    }

    /// The id of a secret of the build that comes from a file and has no value. A variable need not be set, as with buildx.
    pub fn without_file<'b>(&self, build: &'b BuildPlan) -> Option<&'b str> {
        let mut secrets = build.options.secrets.values();
        let missing = secrets
            .find(|secret| matches!(secret.source, SecretSource::File(_)) && !self.values.contains_key(&secret.source));
        missing.map(|secret| secret.id.as_str())
    }

    /// What stands for those of one build in keys: another value is another key, unless it only rotates.
    pub fn keys(&self, scope: &CacheScope, namespace: &Namespace, build: &BuildPlan) -> SecretKeys {
        let key = |value: Option<&SecretSlice<u8>>, rotates| match (value, rotates) {
            (None, _) => "none".to_owned(),
            (Some(_), true) => "any".to_owned(),
            (Some(value), false) => format!("={}", scope.secret(namespace, value.expose_secret())),
        };
        let secrets = build.options.secrets.values();
        secrets.map(|secret| (secret.id.clone(), key(self.values.get(&secret.source), secret.rotates))).collect()
    }

    /// Encrypted for the job's folder: nonce and ciphertext, which belong to this job.
    pub fn seal(&self, key: &SecretsKey, job: JobId) -> io::Result<Vec<u8>> {
        let texts = self.values.iter().map(|(source, value)| (source, STANDARD.encode(value.expose_secret())));
        let plain = Zeroizing::new(serde_json::to_vec(&texts.collect::<BTreeMap<_, _>>())?);
        key.seal(&plain, &job.to_string())
    }

    /// What was sealed for the job.
    pub fn unseal(sealed: &[u8], key: &SecretsKey, job: JobId) -> io::Result<Self> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the job's secrets are damaged, or not this job's");
        let plain = key.unseal(sealed, &job.to_string()).ok_or_else(damaged)?;
        let texts: BTreeMap<SecretSource, Zeroizing<String>> = serde_json::from_slice(&plain).map_err(|_| damaged())?;
        let value = |text: &str| STANDARD.decode(text).map(SecretSlice::from).map_err(|_| damaged());
        let values = texts.into_iter().map(|(source, text)| Ok((source, value(&text)?))).collect::<io::Result<_>>()?;
        Ok(Self { values })
    }
}

// === impl SecretsKey ===

impl SecretsKey {
    /// With the key under the data directory, which is made where it is not there.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let key = Zeroizing::new(read_or_create(&data_dir.join(KEY_FILE), || rand::rng().random::<[u8; 32]>())?);
        Ok(Self(XChaCha20Poly1305::new((&*key).into())))
    }

    /// Nonce and ciphertext, which belong to this place.
    pub(super) fn seal(&self, plain: &[u8], place: &str) -> io::Result<Vec<u8>> {
        let nonce: [u8; NONCE] = rand::rng().random();
        let sealed = self.0.encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: place.as_bytes() });
        let sealed = sealed.map_err(|_| io::Error::other("secrets can't be encrypted"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// What was sealed for this place; none where it is damaged, or another's.
    pub(super) fn unseal(&self, sealed: &[u8], place: &str) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
        let payload = Payload { msg: sealed, aad: place.as_bytes() };
        self.0.decrypt(&XNonce::from(*nonce), payload).map(Zeroizing::new).ok()
    }
}

impl fmt::Debug for SecretsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretsKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use slipway_manifest::options::OptionKey;
    use slipway_manifest::plan::JobKind;

    use super::*;
    use crate::pipeline::input::tests::plain_build;

    fn plan(options: &[&str]) -> Plan {
        let mut build = plain_build("app");
        for text in options {
            build.options.set(OptionKey::Secret, text).unwrap();
        }
        Plan { kind: JobKind::Build, name: "app".to_owned(), builds: vec![build], commands: None }
    }

    fn env(name: &str, value: &str) -> (SecretSource, Vec<u8>) {
        (SecretSource::env(name).unwrap(), value.as_bytes().to_vec())
    }

    #[test]
    fn what_is_sealed_is_read_by_its_job_only_and_by_nobody_without_the_key() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [key, other] = [0, 1].map(|n: usize| SecretsKey::open(dirs[n].path()).unwrap());
        let (plan, job) = (plan(&["id=a,env=A", "id=b,src=./b"]), JobId::new());
        let values = [env("A", "open sesame"), (SecretSource::file("./b").unwrap(), vec![0, 255, 10])];
        let secrets = Secrets::new(values, &plan).unwrap();
        let sealed = secrets.seal(&key, job).unwrap();
        let clear = STANDARD.encode("open sesame");
        for word in ["open sesame", &clear] {
            assert!(!sealed.windows(word.len()).any(|found| found == word.as_bytes()));
        }
        assert!(!format!("{secrets:?}").contains("sesame"));
        let key_again = SecretsKey::open(dirs[0].path()).unwrap();
        let read = Secrets::unseal(&sealed, &key_again, job).unwrap().of(&plan.builds[0]);
        let expected = [("a".to_owned(), b"open sesame".to_vec()), ("b".to_owned(), vec![0, 255, 10])];
        assert_eq!(read, BTreeMap::from(expected));
        assert!(Secrets::unseal(&sealed, &key, JobId::new()).is_err());
        assert!(Secrets::unseal(&sealed, &other, job).is_err());
        assert!(Secrets::unseal(&sealed[..20], &key, job).is_err());
        assert_ne!(secrets.seal(&key, job).unwrap(), sealed, "another nonce");
    }

    #[test]
    fn what_counts_in_keys_is_the_value_unless_it_rotates() {
        let dir = tempfile::tempdir().unwrap();
        let scope = CacheScope::open(dir.path()).unwrap();
        let keys = |namespace: &str, option: &str, value: Option<&str>| {
            let plan = plan(&[option]);
            let secrets = Secrets::new(value.map(|value| env("A", value)), &plan).unwrap();
            secrets.keys(&scope, &namespace.parse().unwrap(), &plan.builds[0])
        };
        let all = [
            keys("dev", "id=a,env=A", Some("1")),
            keys("dev", "id=a,env=A", Some("2")),
            keys("dev", "id=b,env=A", Some("1")),
            keys("ops", "id=a,env=A", Some("1")),
            keys("dev", "id=a,env=A", None),
            keys("dev", "id=a,env=A,rotates=true", Some("1")),
        ];
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
        assert_eq!(keys("dev", "id=a,env=A,rotates=true", Some("2")), all[5]);
        assert!(keys("dev", "id=a,env=B", None) == all[4], "where it would come from counts for nothing");
    }

    #[test]
    fn values_are_bounded_and_each_has_a_use() {
        let plan = plan(&["id=a,env=A"]);
        let refused = |values: Vec<(SecretSource, Vec<u8>)>| Secrets::new(values, &plan).unwrap_err();
        let (a, b) = (SecretSource::env("A").unwrap(), SecretSource::env("B").unwrap());
        assert_eq!(refused(vec![env("A", "1"), env("A", "1")]), InvalidSecrets::Twice(a.clone()));
        assert_eq!(refused(vec![env("B", "1")]), InvalidSecrets::Unused(b));
        assert_eq!(refused(vec![(a.clone(), vec![0; MAX_SECRET + 1])]), InvalidSecrets::TooLarge(a));
    }
}
