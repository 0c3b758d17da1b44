//! CAs that sign for registries, beside those of the system.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Several times what a system's own bundle has.
const MAX_BYTES: u64 = 4 << 20;

/// A PEM file of certificates to trust.
#[derive(Debug, Clone)]
pub struct CaFile {
    /// As `oci-client` takes it.
    pem: Vec<u8>,
    certificates: Vec<reqwest::Certificate>,
}

/// A file that can't be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}`: {problem}", path.display())]
pub struct InvalidCaFile {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: String,
}

// === impl CaFile ===

impl CaFile {
    /// Reads the file; what else is in it than certificates counts for nothing.
    pub fn read(path: &Path) -> Result<Self, InvalidCaFile> {
        let invalid = |problem: String| InvalidCaFile { path: path.to_owned(), problem };
        let mut pem = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut pem));
        read.map_err(|error| invalid(error.to_string()))?;
        if pem.len() as u64 > MAX_BYTES {
            return Err(invalid(format!("it is larger than {MAX_BYTES} bytes")));
        }
        let malformed = |error: reqwest::Error| invalid(format!("it is damaged: {}", innermost(&error)));
        let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(malformed)?;
        if certificates.is_empty() {
            return Err(invalid("it holds no certificate in PEM (`-----BEGIN CERTIFICATE-----`)".to_owned()));
        }
        // What is between the lines is looked at only by a client. One that trusts nothing else is cheap.
        let trial = reqwest::Client::builder().tls_certs_only(certificates.iter().cloned()).build();
        trial.map_err(|error| invalid(format!("a certificate in it is damaged: {}", innermost(&error))))?;
        Ok(Self { pem, certificates })
    }

    pub(crate) fn certificates(&self) -> &[reqwest::Certificate] {
        &self.certificates
    }

    pub(crate) fn for_oci_client(&self) -> oci_client::client::Certificate {
        let encoding = oci_client::client::CertificateEncoding::Pem;
        oci_client::client::Certificate { encoding, data: self.pem.clone() }
    }
}

/// What reqwest wraps says more than what it says itself.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
