//! OCI image layouts as folders for caches: read and written as `docker buildx` does (OCI image specification,
//! `image-layout.md`; BuildKit, `client/ociindex`).

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use slipway_context::Digest;

use crate::whole_file;

/// The annotation that names a manifest in `index.json`.
const NAME: &str = "org.opencontainers.image.ref.name";
const INDEX: &str = "index.json";
const MARKER: &str = "oci-layout";
const BLOBS: &str = "blobs/sha256";
/// The largest index or manifest that is read.
const MAX_JSON: u64 = 4 << 20;

/// One layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    dir: PathBuf,
}

/// `index.json`, with all that is none of ours.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    #[serde(default = "two")]
    schema_version: u8,
    #[serde(default)]
    manifests: Vec<Value>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

fn two() -> u8 {
    2
}

impl Default for Index {
    fn default() -> Self {
        Self { schema_version: 2, manifests: Vec::new(), other: Map::new() }
    }
}

/// Whether a descriptor has this name.
fn is_named(descriptor: &Value, name: &str) -> bool {
    descriptor.get("annotations").and_then(|all| all.get(NAME)).and_then(Value::as_str) == Some(name)
}

fn digest_of(descriptor: &Value) -> Option<Digest> {
    descriptor.get("digest")?.as_str()?.parse().ok()
}

fn json<T: serde::de::DeserializeOwned>(read: impl Read) -> Result<T> {
    let mut text = Vec::new();
    read.take(MAX_JSON + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_JSON {
        bail!("more than {MAX_JSON} bytes");
    }
    Ok(serde_json::from_slice(&text)?)
}

impl Layout {
    /// The one in this folder, which need not be there.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Where it is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes the folder.
    pub(crate) fn create(&self) -> io::Result<()> {
        fs::create_dir_all(self.dir.join(BLOBS))
    }

    /// The manifest of that name.
    pub(crate) fn find(&self, name: &str) -> Result<Digest> {
        let index = self.index()?.ok_or_else(|| anyhow!("there is no {}", self.dir.join(INDEX).display()))?;
        let found = index.manifests.iter().find(|descriptor| is_named(descriptor, name)).and_then(digest_of);
        found.ok_or_else(|| anyhow!("`{name}` is not in {}", self.dir.join(INDEX).display()))
    }

    /// The files that a manifest needs, itself among them; relative to the folder.
    pub(crate) fn files(&self, manifest: &Digest) -> Result<Vec<String>> {
        let name = |digest: &Digest| format!("{BLOBS}/{}", digest.hex());
        let path = self.dir.join(name(manifest));
        let parsed: Value = File::open(&path).map_err(Into::into).and_then(json).with_context(|| read(&path))?;
        let listed = ["layers", "manifests"].into_iter().filter_map(|key| parsed.get(key)?.as_array());
        let parts = listed.flatten().chain(parsed.get("config")).filter_map(digest_of);
        let mut files = vec![name(manifest)];
        for part in parts {
            let file = name(&part);
            let path = self.dir.join(&file);
            fs::metadata(&path).with_context(|| read(&path))?;
            files.push(file);
        }
        files.sort_unstable();
        files.dedup();
        Ok(files)
    }

    /// Adds what is in an archive of a layout, in place of what has the same name here.
    pub(crate) fn add(&self, archive: &mut dyn Read) -> Result<()> {
        self.create()?;
        let mut archive = tar::Archive::new(archive);
        let mut descriptors = Vec::new();
        for entry in archive.entries()? {
            let mut entry = entry?;
            let name = entry.path()?.to_str().map(str::to_owned);
            match name.as_deref() {
                Some(INDEX) => descriptors = json::<Index>(&mut entry)?.manifests,
                Some(MARKER) => {}
                Some(name) => {
                    let hex = name.strip_prefix(BLOBS).and_then(|rest| rest.strip_prefix('/'));
                    let digest = hex.and_then(|hex| format!("sha256:{hex}").parse().ok());
                    self.add_blob(&digest.ok_or_else(|| anyhow!("`{name}` is no part of a cache"))?, &mut entry)?;
                }
                None => bail!("a name that is not UTF-8"),
            }
        }
        // Only its end says that it came as it was.
        io::copy(archive.into_inner(), &mut io::sink())?;
        self.put(descriptors)
    }

    fn add_blob<R: Read>(&self, digest: &Digest, entry: &mut tar::Entry<'_, R>) -> Result<()> {
        let dir = self.dir.join(BLOBS);
        let path = dir.join(digest.hex());
        if fs::metadata(&path).is_ok_and(|known| known.len() == entry.size()) {
            return Ok(());
        }
        // Other steps of a pipeline may run as other users.
        let permissions = fs::Permissions::from_mode(0o644);
        let mut file = tempfile::Builder::new().permissions(permissions).tempfile_in(&dir)?;
        io::copy(entry, &mut file)?;
        let (actual, _) = Digest::of_reader(&mut file.reopen()?)?;
        anyhow::ensure!(actual == *digest, "blob {digest} came as {actual}");
        file.persist(&path)?;
        Ok(())
    }

    /// Their blobs are there: from now on they are found.
    fn put(&self, descriptors: Vec<Value>) -> Result<()> {
        let lock = File::create(self.dir.join("index.json.lock"))?;
        lock.lock()?;
        let marker = self.dir.join(MARKER);
        if !marker.exists() {
            File::create(&marker)?.write_all(br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        let mut index = self.index()?.unwrap_or_default();
        for descriptor in descriptors {
            let name = descriptor.get("annotations").and_then(|all| all.get(NAME)).and_then(Value::as_str);
            let name = name.unwrap_or_default().to_owned();
            index.manifests.retain(|known| !is_named(known, &name));
            index.manifests.push(descriptor);
        }
        let text = serde_json::to_vec(&index)?;
        let path = self.dir.join(INDEX);
        whole_file::write(&path, text.as_slice()).with_context(|| format!("write {}", path.display()))
    }

    /// None: there is no such file.
    fn index(&self) -> Result<Option<Index>> {
        let path = self.dir.join(INDEX);
        match File::open(&path) {
            Ok(file) => json(file).map(Some).with_context(|| read(&path)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| read(&path)),
        }
    }
}

fn read(path: &Path) -> String {
    format!("read {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive of a layout whose manifest has these parts, and the manifest's digest.
    fn archive(name: &str, parts: &[&[u8]]) -> (Vec<u8>, Digest) {
        let descriptor = |content: &[u8]| serde_json::json!({"digest": Digest::of(content).to_string()});
        let parts_of = parts.iter().map(|part| descriptor(part)).collect::<Vec<_>>();
        let manifest = serde_json::json!({"layers": parts_of}).to_string().into_bytes();
        let mut named = descriptor(&manifest);
        named["annotations"] = serde_json::json!({ NAME: name });
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [named]}).to_string().into_bytes();
        let mut archive = tar::Builder::new(Vec::new());
        let mut add = |name: &str, content: &[u8]| {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, name, content).unwrap();
        };
        add(INDEX, &index);
        for content in parts.iter().copied().chain([manifest.as_slice()]) {
            add(&format!("{BLOBS}/{}", Digest::of(content).hex()), content);
        }
        (archive.into_inner().unwrap(), Digest::of(&manifest))
    }

    #[test]
    fn caches_stand_beside_each_other_and_the_new_one_replaces_that_of_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("a/cache"));
        assert!(layout.find("latest").unwrap_err().to_string().contains("there is no"));
        let (first, one) = archive("latest", &[b"a", b"b"]);
        layout.add(&mut first.as_slice()).unwrap();
        assert_eq!(layout.find("latest").unwrap(), one);
        let index = layout.dir().join(INDEX);
        let mut known: Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
        known["mediaType"] = "kept".into();
        fs::write(&index, known.to_string()).unwrap();
        layout.add(&mut archive("other", &[b"b"]).0.as_slice()).unwrap();
        let (second, two) = archive("latest", &[b"b", b"c"]);
        layout.add(&mut second.as_slice()).unwrap();
        assert_eq!(layout.find("latest").unwrap(), two);
        assert!(layout.find("other").is_ok());
        let text = fs::read_to_string(&index).unwrap();
        assert!(text.contains("kept") && !text.contains(&one.hex()), "{text}");
        let mut expected = [b"b", b"c"].map(|part| format!("{BLOBS}/{}", Digest::of(part).hex())).to_vec();
        expected.push(format!("{BLOBS}/{}", two.hex()));
        expected.sort();
        assert_eq!(layout.files(&two).unwrap(), expected);
        fs::remove_file(layout.dir().join(&expected[0])).unwrap();
        assert!(layout.files(&two).is_err());
    }

    #[test]
    fn what_is_no_cache_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("cache"));
        let (good, digest) = archive("latest", &[b"a"]);
        layout.add(&mut good.as_slice()).unwrap();
        let (cut, _) = archive("latest", &[b"another one"]);
        assert!(layout.add(&mut &cut[..cut.len() - 1500]).is_err());
        let mut wrong = tar::Builder::new(Vec::new());
        for name in [format!("{BLOBS}/{}", Digest::of(b"x").hex()), "evil".to_owned()] {
            let mut header = tar::Header::new_ustar();
            header.set_size(1);
            wrong.append_data(&mut header, name, &b"y"[..]).unwrap();
            let error = layout.add(&mut wrong.get_ref().as_slice()).unwrap_err();
            assert!(error.to_string().contains("came as sha256:"), "{error:#}");
        }
        assert_eq!(layout.find("latest").unwrap(), digest);
    }
}
