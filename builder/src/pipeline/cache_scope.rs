//! What keeps the caches of an engine apart that several namespaces share.
//!
//! An engine knows nothing of namespaces: a cache mount belongs to whoever names its id, and equal steps are run once,
//! whatever their mounts hold and wherever their hosts and proxies are. So ids and steps get a keyed hash of the namespace.

use std::io;
use std::path::Path;

use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::Rng as _;
use sha2::Sha256;
use slipway_manifest::options::ExtraHost;
use slipway_registry_client::RepositoryName;

use crate::names::Namespace;
use crate::private_file::read_or_create;

const FILE: &str = "cache.key";

/// Makes names that no other namespace can guess.
#[derive(Clone)]
pub struct CacheScope {
    key: [u8; 32],
}

impl std::fmt::Debug for CacheScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheScope").finish_non_exhaustive()
    }
}

impl CacheScope {
    /// With the key under the data directory, which is made where it is not there.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        Ok(Self { key: read_or_create(&data_dir.join(FILE), || rand::rng().random())? })
    }

    /// What stands before the ids of cache mounts (`BUILDKIT_CACHE_MOUNT_NS`): what builds of one repository of one namespace
    /// share. Of one namespace they all begin alike. No `/`, or one could be part of another with its id.
    pub fn mounts(&self, namespace: &Namespace, repository: &RepositoryName) -> String {
        let namespace = namespace.as_str();
        let own = self.hash("mounts of a repository", &[namespace, &repository.to_string()]);
        format!("{}-{own}", self.hash("mounts", &[namespace]))
    }

    /// The same for the caches of a test of an application.
    pub fn test_mounts(&self, namespace: &Namespace, application: &str, test: &str) -> String {
        let namespace = namespace.as_str();
        let own = self.hash("mounts of a test", &[namespace, application, test]);
        format!("{}-{own}", self.hash("mounts", &[namespace]))
    }

    /// What the ids of all cache mounts of a namespace begin with.
    pub fn mounts_of(&self, namespace: &Namespace) -> String {
        format!("{}-", self.hash("mounts", &[namespace.as_str()]))
    }

    /// The name of a host that every step gets: those of other namespaces, repositories where one is given, hosts, secrets and
    /// users whose SSH agents they may ask are other steps. Nobody has it otherwise (RFC 6761).
    pub fn host(
        &self,
        namespace: &Namespace,
        repository: Option<&RepositoryName>,
        hosts: &[ExtraHost],
        secrets: &[(String, String)],
        agents_of: Option<&str>,
    ) -> String {
        let repository = repository.map(ToString::to_string).unwrap_or_default();
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let own = [namespace.as_str(), &repository].into_iter();
        let own = own.chain(hosts.iter().map(String::as_str));
        // No host is named so.
        let secrets = secrets.iter().flat_map(|(id, key)| ["secret of steps:", id, key]);
        let agents = agents_of.into_iter().flat_map(|user| ["agents of a user:", user]);
        format!("{}.slipway.invalid", self.hash("steps", &own.chain(secrets).chain(agents).collect::<Vec<_>>()))
    }

    /// Stands for a secret's value where it counts and may not be known.
    pub fn secret(&self, namespace: &Namespace, value: &[u8]) -> String {
        self.hash_bytes("secret", &[namespace.as_str().as_bytes(), value])
    }

    /// Stands for an input that is only to be compared with itself.
    pub fn input(&self, namespace: &Namespace, value: &str) -> String {
        self.hash("input", &[namespace.as_str(), value])
    }

    fn hash(&self, purpose: &str, parts: &[&str]) -> String {
        self.hash_bytes(purpose, &parts.iter().map(|part| part.as_bytes()).collect::<Vec<_>>())
    }

    /// 80 bits in hexadecimal digits.
    fn hash_bytes(&self, purpose: &str, parts: &[&[u8]]) -> String {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("any length");
        for part in std::iter::once(&purpose.as_bytes()).chain(parts) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        let mut digits = hex::encode(mac.finalize().into_bytes());
        digits.truncate(20);
        digits
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_must_be_apart_is_apart() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let [here, again] = [(); 2].map(|()| CacheScope::open(dir.path()).unwrap());
        let elsewhere = CacheScope::open(other.path()).unwrap();
        let mounts = |scope: &CacheScope, namespace: &str, repository: &str| {
            scope.mounts(&namespace.parse().unwrap(), &repository.parse().unwrap())
        };
        let host = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<ExtraHost>>();
        let host_of =
            |namespace: &str, hosts: &[&str]| here.host(&namespace.parse().unwrap(), None, &host(hosts), &[], None);
        let test = |namespace: &str, app: &str, test: &str| here.test_mounts(&namespace.parse().unwrap(), app, test);
        let all = [
            mounts(&here, "a", "a/app"),
            mounts(&here, "b", "a/app"),
            mounts(&here, "a", "a/app2"),
            test("a", "app", "unit"),
            test("a", "app", "e2e"),
            test("a", "shop", "unit"),
            test("b", "app", "unit"),
            mounts(&elsewhere, "a", "a/app"),
            host_of("a", &[]),
            here.host(&"a".parse().unwrap(), Some(&"a/app".parse().unwrap()), &[], &[], None),
            here.host(&"a".parse().unwrap(), None, &[], &[("npm".to_owned(), "1".to_owned())], None),
            here.host(&"a".parse().unwrap(), None, &[], &[("npm".to_owned(), "2".to_owned())], None),
            here.host(&"a".parse().unwrap(), None, &[], &[], Some("ann")),
            here.host(&"a".parse().unwrap(), None, &[], &[], Some("bob")),
            host_of("a", &["db=10.0.0.1"]),
            host_of("b", &["db=10.0.0.1"]),
            host_of("a", &["db=10.0.0.2"]),
            host_of("a", &["db=10.0.0.1", "x=10.0.0.1"]),
        ];
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
        assert_eq!(mounts(&again, "a", "a/app"), all[0]);
        assert!(all.iter().all(|name| !name.contains('/')));
        let of_a = here.mounts_of(&"a".parse().unwrap());
        assert!(all[0].starts_with(&of_a) && all[2].starts_with(&of_a) && !all[1].starts_with(&of_a));
        assert!(all[3].starts_with(&of_a) && !all[6].starts_with(&of_a));
        assert!(!format!("{here:?}").contains(&format!("{:?}", here.key)));
    }
}
