//! The file that `slipway login` writes: servers, and the credentials for each.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// One server that the caller has logged in to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Context {
    /// The server's URL, which is the context's name too.
    pub(crate) server: String,
    /// The token for it.
    pub(crate) token: String,
    /// Who the token belongs to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) user: String,
    /// The namespace to work in where nothing else names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contexts {
    /// The server of the context in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    /// In the order of their first login.
    #[serde(default)]
    pub(crate) contexts: Vec<Context>,
}

/// Why the file can't be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContextsError {
    #[error("no place for the context file: neither XDG_CONFIG_HOME nor HOME is set")]
    NoPlace,
    #[error("read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is not a context file")]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error("write {path}")]
    Write { path: PathBuf, source: io::Error },
}

impl Contexts {
    /// Reads the file; none is the same as an empty one.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self, ContextsError> {
        let Some(path) = path else { return Ok(Self::default()) };
        match fs::read(path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|source| ContextsError::Parse { path: path.to_owned(), source })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ContextsError::Read { path: path.to_owned(), source }),
        }
    }

    /// Writes the file: complete or not at all, and for nobody else's eyes.
    pub(crate) fn save(&self, path: Option<&Path>) -> Result<(), ContextsError> {
        let path = path.ok_or(ContextsError::NoPlace)?;
        self.write(path).map_err(|source| ContextsError::Write { path: path.to_owned(), source })
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let dir = path.parent().unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        // Temporary files are made with mode 0600.
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        // The rename itself must survive a crash too; a directory that can't be synced is not worth failing for.
        if let Ok(dir) = File::open(dir) {
            let _ = dir.sync_all();
        }
        Ok(())
    }

    /// The context for a server.
    pub(crate) fn find(&self, server: &str) -> Option<&Context> {
        self.contexts.iter().find(|context| context.server == server)
    }

    /// The context in use.
    pub(crate) fn current(&self) -> Option<&Context> {
        self.find(self.current.as_deref()?)
    }

    /// Remembers a context (in place of an older one for the same server) and makes it the one in use.
    pub(crate) fn put(&mut self, context: Context) {
        self.current = Some(context.server.clone());
        match self.contexts.iter_mut().find(|known| known.server == context.server) {
            Some(known) => *known = context,
            None => self.contexts.push(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/slipway/contexts.json");
        assert_eq!(Contexts::load(Some(&path)).unwrap(), Contexts::default());
        let mut contexts = Contexts::default();
        let context = |server: &str, token: &str| Context {
            server: server.to_owned(),
            token: token.to_owned(),
            user: String::new(),
            namespace: None,
        };
        contexts.put(context("http://a", "1"));
        contexts.put(context("http://b", "2"));
        contexts.put(context("http://a", "3"));
        contexts.save(Some(&path)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let loaded = Contexts::load(Some(&path)).unwrap();
        assert_eq!(loaded, contexts);
        assert_eq!(loaded.current().unwrap().token, "3");
        assert_eq!(loaded.contexts.len(), 2);
    }

    #[test]
    fn a_broken_file_is_an_error_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("contexts.json");
        fs::write(&path, "{").unwrap();
        assert!(matches!(Contexts::load(Some(&path)), Err(ContextsError::Parse { .. })));
    }
}
