//! The secrets of a job's builds: kept encrypted until the job ends, and known in keys by hashes only.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretSlice};
use slipway_manifest::options::SecretSource;
use slipway_manifest::plan::{BuildPlan, Plan};
use zeroize::Zeroizing;

use super::cache_scope::CacheScope;
use crate::buildkit::session::secrets::MAX_SECRET;
use crate::names::{JobId, Namespace};
use crate::seal::Key;

/// Bytes of all values of a job.
const MAX_BYTES: usize = 4 << 20;

/// The values of a job's secrets, by where the client has them from.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    values: BTreeMap<SecretSource, SecretSlice<u8>>,
}

/// The secrets of one build as they count in keys: each id, and what stands for its value. Sorted by id.
pub type SecretKeys = Vec<(String, String)>;

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
        let used = plan.builds.iter().flat_map(|build| build.options.secrets.values()).map(|secret| &secret.source);
        // What the service keeps, no client has.
        let used = used.filter(|source| !matches!(source, SecretSource::Variable(_))).cloned();
        let used: BTreeSet<SecretSource> = used.chain(plan.builds.iter().flat_map(of_caches)).collect();
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

    /// Adds the values of variables that the service keeps.
    pub fn add_variables(&mut self, values: BTreeMap<String, SecretSlice<u8>>) {
        self.values.extend(values.into_iter().map(|(name, value)| (SecretSource::Variable(name), value)));
    }

    /// The value of a variable that the service keeps.
    pub fn variable(&self, name: &str) -> Option<&SecretSlice<u8>> {
        self.values.get(&SecretSource::Variable(name.to_owned()))
    }

    /// The value that the client has under this name, where it is text.
    pub fn text(&self, source: &SecretSource) -> Option<&str> {
        self.values.get(source).and_then(|value| std::str::from_utf8(value.expose_secret()).ok())
    }

    /// All of them.
    pub fn values(&self) -> impl Iterator<Item = &SecretSlice<u8>> {
        self.values.values()
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

    /// What is wrong with the first secret of the build that has no value. A variable of the client's need not be set, as with
    /// buildx.
    pub fn missing(&self, build: &BuildPlan) -> Option<String> {
        let secrets = build.options.secrets.values();
        let mut without = secrets.filter(|secret| !self.values.contains_key(&secret.source));
        without.find_map(|secret| match &secret.source {
            SecretSource::Env(_) => None,
            SecretSource::File(_) => {
                Some(format!("the file of its secret `{}` was not there, or can't be read", secret.id))
            }
            SecretSource::Variable(name) => {
                Some(format!("the variable `{name}` of its secret `{}` is not set", secret.id))
            }
        })
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
    pub fn seal(&self, key: &Key, job: JobId) -> io::Result<Vec<u8>> {
        let texts = self.values.iter().map(|(source, value)| (source, STANDARD.encode(value.expose_secret())));
        let plain = Zeroizing::new(serde_json::to_vec(&texts.collect::<BTreeMap<_, _>>())?);
        Ok(key.seal(&plain, &job.to_string())?)
    }

    /// What was sealed for the job.
    pub fn unseal(sealed: &[u8], key: &Key, job: JobId) -> io::Result<Self> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the job's secrets are damaged, or not this job's");
        let plain = key.unseal(sealed, &job.to_string()).map_err(|_| damaged())?;
        let texts: BTreeMap<SecretSource, Zeroizing<String>> =
            serde_json::from_slice(plain.expose_secret()).map_err(|_| damaged())?;
        let value = |text: &str| STANDARD.decode(text).map(SecretSlice::from).map_err(|_| damaged());
        let values = texts.into_iter().map(|(source, text)| Ok((source, value(&text)?))).collect::<io::Result<_>>()?;
        Ok(Self { values })
    }
}

/// What opens the build's caches.
fn of_caches(build: &BuildPlan) -> impl Iterator<Item = SecretSource> {
    let credentials = build.options.caches().flat_map(|cache| cache.kind.credentials());
    credentials.map(|credential| SecretSource::Env(credential.variable.to_owned()))
}

/// A variable that the service keeps, and what of a plan needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// Its name.
    pub variable: String,
    /// For people.
    pub by: String,
    /// Its build may turn out not to be needed.
    pub perhaps: bool,
}

/// The variables that the service keeps and that the plan's builds name.
pub fn needed(plan: &Plan) -> Vec<Needed> {
    let mut needed = Vec::new();
    for build in &plan.builds {
        let (service, perhaps) = (&build.service, build.only_if_missing);
        for secret in build.options.secrets.values() {
            if let SecretSource::Variable(name) = &secret.source {
                let by = format!("secret `{}` of service `{service}`", secret.id);
                needed.push(Needed { variable: name.clone(), by, perhaps });
            }
        }
        for agent in build.options.ssh.values() {
            if let Some(name) = &agent.variable {
                let by = format!("SSH agent `{}` of service `{service}`", agent.id);
                needed.push(Needed { variable: name.clone(), by, perhaps });
            }
        }
    }
    if let Some(name) = plan.ssh.as_ref().and_then(|ssh| ssh.agent.variable.as_ref()) {
        needed.push(Needed { variable: name.clone(), by: "the SSH agent of commands".to_owned(), perhaps: false });
    }
    needed
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
        Plan { builds: vec![build], ..Plan::empty(JobKind::Build, "app") }
    }

    fn env(name: &str, value: &str) -> (SecretSource, Vec<u8>) {
        (SecretSource::env(name).unwrap(), value.as_bytes().to_vec())
    }

    #[test]
    fn what_is_sealed_is_read_by_its_job_only_and_by_nobody_without_the_key() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [key, other] = [0, 1].map(|n: usize| Key::open(dirs[n].path()).unwrap());
        let (plan, job) = (plan(&["id=a,env=A", "id=b,src=./b"]), JobId::new());
        let values = [env("A", "open sesame"), (SecretSource::file("./b").unwrap(), vec![0, 255, 10])];
        let secrets = Secrets::new(values, &plan).unwrap();
        let sealed = secrets.seal(&key, job).unwrap();
        let clear = STANDARD.encode("open sesame");
        for word in ["open sesame", &clear] {
            assert!(!sealed.windows(word.len()).any(|found| found == word.as_bytes()));
        }
        assert!(!format!("{secrets:?}").contains("sesame"));
        let key_again = Key::open(dirs[0].path()).unwrap();
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
