//! Encryption of what must not lie open on the service's disk (XChaCha20-Poly1305), with one key under the data directory.

use std::fmt;
use std::io;
use std::path::Path;

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use rand::Rng as _;
use secrecy::SecretSlice;
use zeroize::Zeroizing;

use crate::private_file::read_or_create;

/// The key's file under the data directory.
const KEY_FILE: &str = "secrets.key";
/// Of `XChaCha20`, in bytes: long enough to be chosen at random.
const NONCE: usize = 24;

/// What encrypts.
pub struct Key(XChaCha20Poly1305);

/// Why something can't be encrypted or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It is too large.
    #[error("it can't be encrypted")]
    Seal,
    /// It was written with another key, belongs to something else, or has changed.
    #[error("it is damaged, or was encrypted for something else")]
    Damaged,
}

impl Key {
    /// The key under the data directory, which is made where it is not there.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let key = Zeroizing::new(read_or_create(&data_dir.join(KEY_FILE), || rand::rng().random::<[u8; 32]>())?);
        Ok(Self(XChaCha20Poly1305::new((&*key).into())))
    }

    /// Nonce and ciphertext, which open only for what they belong to.
    pub fn seal(&self, plain: &[u8], belongs_to: &str) -> Result<Vec<u8>, SealError> {
        let nonce: [u8; NONCE] = rand::rng().random();
        let payload = Payload { msg: plain, aad: belongs_to.as_bytes() };
        let sealed = self.0.encrypt(&XNonce::from(nonce), payload).map_err(|_| SealError::Seal)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// What was sealed for the same.
    pub fn unseal(&self, sealed: &[u8], belongs_to: &str) -> Result<SecretSlice<u8>, SealError> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>().ok_or(SealError::Damaged)?;
        let payload = Payload { msg: sealed, aad: belongs_to.as_bytes() };
        let plain = self.0.decrypt(&XNonce::from(*nonce), payload).map_err(|_| SealError::Damaged)?;
        Ok(SecretSlice::from(plain))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

impl From<SealError> for io::Error {
    fn from(error: SealError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}
