//! The registry's files under the data directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::ManagedError;
use crate::private_file::{create_private_dir, write_private};
use crate::registry::config::Config;
use crate::registry::signer::{ISSUER, SERVICE, TokenSigner};

const TAIL: u64 = 2048;

/// What the registry runs with.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) binary: PathBuf,
    pub(super) listen: SocketAddr,
    pub(super) realm: String,
    pub(super) directory: PathBuf,
    pub(super) config_path: PathBuf,
    pub(super) log_path: PathBuf,
    pub(super) pid_path: PathBuf,
    /// Changes with everything that a running registry would have to be restarted for.
    pub(super) hash: String,
}

// === impl Settings ===

impl Settings {
    /// Writes the configuration file.
    pub(super) fn write(
        config: &Config,
        data_dir: &Path,
        realm: &str,
        signer: &TokenSigner,
    ) -> Result<Self, ManagedError> {
        let binary = find_binary(config.binary.as_deref())?;
        let directory = data_dir.join("registry");
        create_private_dir(&directory).map_err(file_error("create", &directory))?;
        // The process is recognised by this path, so it must not depend on the directory slipwayd was started in.
        let directory = directory.canonicalize().map_err(file_error("find", &directory))?;
        let roots = signer.roots().canonicalize().map_err(file_error("find", signer.roots()))?;
        let certificate = std::fs::read(&roots).map_err(file_error("read", &roots))?;
        let secret = http_secret(&directory.join("http-secret"))?;
        let text = render(config.listen, &directory.join("data"), realm, &roots, &secret);
        let config_path = directory.join("config.yml");
        write_private(&config_path, text.as_bytes()).map_err(file_error("write", &config_path))?;

        let mut hash = Sha256::new();
        for part in [text.as_bytes(), &certificate, binary.as_os_str().as_encoded_bytes()] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Ok(Self {
            binary,
            listen: config.listen,
            realm: realm.to_owned(),
            config_path,
            log_path: directory.join("registry.log"),
            pid_path: directory.join("registry.pid"),
            hash: hex::encode(hash.finalize()),
            directory,
        })
    }

    /// Opens the log to append to; one that has grown too large is put aside first, in place of the one before it.
    pub(super) fn open_log(&self, limit: u64) -> Result<File, ManagedError> {
        let path = &self.log_path;
        if std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > limit) {
            std::fs::rename(path, path.with_extension("log.old")).map_err(file_error("rename", path))?;
        }
        OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(file_error("open", path))
    }
}

/// The last lines of a log, on one line.
pub(super) fn tail(mut file: File) -> io::Result<String> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
    Ok(lines.into_iter().rev().collect::<Vec<_>>().join(" | "))
}

pub(super) fn file_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ManagedError {
    let path = path.to_owned();
    move |source| ManagedError::File { operation, path, source }
}

fn find_binary(configured: Option<&Path>) -> Result<PathBuf, ManagedError> {
    if let Some(binary) = configured {
        return Ok(binary.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .flat_map(|directory| ["registry", "docker-registry"].map(|name| directory.join(name)))
        .find(|candidate| candidate.is_file())
        .ok_or(ManagedError::NoBinary)
}

/// Signs the state of uploads; an upload that is under way while the registry is restarted goes on only if it stays.
fn http_secret(path: &Path) -> Result<String, ManagedError> {
    match std::fs::read_to_string(path) {
        Ok(secret) if secret.len() == 64 => return Ok(secret),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file_error("read", path)(error)),
        _ => {}
    }
    let secret = hex::encode(rand::random::<[u8; 32]>());
    write_private(path, secret.as_bytes()).map_err(file_error("write", path))?;
    Ok(secret)
}

fn render(listen: SocketAddr, data: &Path, realm: &str, roots: &Path, secret: &str) -> String {
    // Rust's and YAML's double-quoted strings agree on what can occur here.
    let (data, roots) = (data.to_string_lossy(), roots.to_string_lossy());
    format!(
        r#"# Written by slipwayd at each start; changes are lost.
version: 0.1
log:
  level: warn
  accesslog:
    disabled: true
storage:
  filesystem:
    rootdirectory: {data:?}
  delete:
    enabled: true
http:
  addr: "{listen}"
  secret: "{secret}"
  # A TLS proxy in front need not tell the registry how it is called.
  relativeurls: true
auth:
  token:
    realm: {realm:?}
    service: "{SERVICE}"
    issuer: "{ISSUER}"
    rootcertbundle: {roots:?}
"#
    )
}
