//! OCI archives made for tests.

use std::fs::File;
use std::path::Path;

use serde_json::{Value, json};
use slipway_registry_client::Digest;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The contents of an archive, as they are gathered.
#[derive(Default)]
pub(crate) struct Layout {
    pub(crate) blobs: Vec<(Digest, Vec<u8>)>,
}

impl Layout {
    pub(crate) fn blob(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = Digest::of(&bytes);
        let descriptor = json!({"mediaType": media_type, "digest": digest.as_str(), "size": bytes.len()});
        self.blobs.push((digest, bytes));
        descriptor
    }

    /// A one-layer image.
    pub(crate) fn image(&mut self, architecture: &str, layer: Vec<u8>) -> Value {
        let config = json!({
            "architecture": architecture, "os": "linux", "config": {"Env": ["A=b"], "User": "1000"},
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer).as_str()]},
        });
        let config = self.blob("application/vnd.oci.image.config.v1+json", config.to_string().into_bytes());
        let layer = self.blob("application/vnd.oci.image.layer.v1.tar", layer);
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
        let mut descriptor = self.blob(MANIFEST, manifest.to_string().into_bytes());
        descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
        descriptor
    }

    /// What `BuildKit` adds beside each image with `--provenance`.
    pub(crate) fn attestation(&mut self, of: &Value) -> Value {
        let statement = format!("{{\"subject\":{}}}", of["digest"]).into_bytes();
        let mut descriptor = self.image("unknown", statement);
        descriptor["platform"] = json!({"os": "unknown", "architecture": "unknown"});
        descriptor["annotations"] = json!({
            "vnd.docker.reference.digest": of["digest"], "vnd.docker.reference.type": "attestation-manifest",
        });
        descriptor
    }

    pub(crate) fn index(&mut self, manifests: &[Value]) -> Value {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        self.blob(INDEX, index.to_string().into_bytes())
    }

    /// Writes the archive; `index.json` lists these descriptors.
    pub(crate) fn write(&self, path: &Path, roots: &[Value]) {
        let mut tar = tar::Builder::new(File::create(path).expect("create archive"));
        let mut add = |name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, bytes).expect("append");
        };
        for (digest, bytes) in &self.blobs {
            add(&format!("blobs/sha256/{}", digest.hex()), bytes);
        }
        add("index.json", json!({"schemaVersion": 2, "manifests": roots}).to_string().as_bytes());
        add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        tar.finish().expect("finish archive");
    }
}

/// Bytes that don't repeat.
pub(crate) fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}
