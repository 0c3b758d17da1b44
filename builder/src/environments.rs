//! Environments: what a deploy leaves behind, kept for destroy, for clients, for dependants and for the next deploy.
//!
//! A job's process writes it down, sealed, in the job's folder after each command ([`Keeping`](crate::pipeline::keeping)); who
//! follows the job stores it when the job has ended, and who starts the next one gives it back. Only a request to see it opens
//! it here.
//!
//! | module | holds |
//! |---|---|
//! | [`kept`] | what is kept |

pub mod kept;

use std::io;
use std::path::Path;
use std::sync::Arc;

use self::kept::Kept;
use crate::names::Namespace;
use crate::seal::Key;
use crate::store::Db;
use crate::store::db::DbError;
use crate::store::db::environments::{EnvironmentRow, Forgotten};

/// Why an environment can't be shown or forgotten.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// There is none of this name.
    #[error("there is no environment `{name}` in namespace {namespace}")]
    Unknown {
        /// Where.
        namespace: Namespace,
        /// Its name.
        name: String,
    },
    /// A job changes it.
    #[error(
        "environment `{name}` of namespace {namespace} is being deployed or destroyed: wait for that job, or cancel it"
    )]
    Busy {
        /// Where.
        namespace: Namespace,
        /// Its name.
        name: String,
    },
    /// What is kept can't be read.
    #[error("read what environment `{name}` of namespace {namespace} keeps")]
    Sealed {
        /// Where.
        namespace: Namespace,
        /// Its name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// All of them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Environments {
    db: Db,
    key: Arc<Key>,
}

impl Environments {
    /// In this database, opened with the key under this data directory.
    pub fn open(db: Db, data_dir: &Path) -> io::Result<Self> {
        Ok(Self { db, key: Arc::new(Key::open(data_dir)?) })
    }

    /// Those of a namespace, by name, without what they keep; with `destroyed` also those that are no more.
    pub async fn list(&self, namespace: &Namespace, destroyed: bool) -> Result<Vec<EnvironmentRow>, EnvironmentError> {
        Ok(self.db.environments(namespace, destroyed).await?)
    }

    /// One of them, and what it keeps.
    pub async fn show(&self, namespace: &Namespace, name: &str) -> Result<(EnvironmentRow, Kept), EnvironmentError> {
        let known = self.db.environment(namespace, name).await?;
        let row =
            known.ok_or_else(|| EnvironmentError::Unknown { namespace: namespace.clone(), name: name.to_owned() })?;
        let kept = row.sealed.as_deref().map(|sealed| Kept::unseal(sealed, &self.key, namespace, name));
        let kept = kept.transpose().map_err(|source| EnvironmentError::Sealed {
            namespace: namespace.clone(),
            name: name.to_owned(),
            source,
        })?;
        Ok((row, kept.unwrap_or_default()))
    }

    /// Forgets one, and all that it keeps. What was deployed stays.
    pub async fn forget(&self, namespace: &Namespace, name: &str) -> Result<(), EnvironmentError> {
        let (namespace, name) = (namespace.clone(), name.to_owned());
        match self.db.forget_environment(&namespace, &name).await? {
            Forgotten::Yes => Ok(()),
            Forgotten::Unknown => Err(EnvironmentError::Unknown { namespace, name }),
            Forgotten::Busy => Err(EnvironmentError::Busy { namespace, name }),
        }
    }
}
