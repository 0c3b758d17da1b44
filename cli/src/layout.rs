//! OCI image layouts as folders for caches: read and written as `docker buildx` does (OCI image specification,
//! `image-layout.md`; BuildKit, `client/ociindex`).

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use slipway_context::Digest;

use crate::whole_file;

/// The annotation that names a manifest in `index.json`.
const NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation of an image that containerd wrote.
const IMAGE: &str = "io.containerd.image.name";
const INDEX: &str = "index.json";
const MARKER: &str = "oci-layout";
const BLOBS: &str = "blobs/sha256";
/// The largest index or manifest that is read.
const MAX_JSON: u64 = 4 << 20;
/// Manifests of one cache.
const MAX_MANIFESTS: usize = 1000;
/// How long somebody else may write the index.
const LOCKED: Duration = Duration::from_secs(10);

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

/// Of a descriptor; empty without one.
fn annotation<'d>(descriptor: &'d Value, key: &str) -> &'d str {
    descriptor.get("annotations").and_then(|all| all.get(key)).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a manifest has manifests of its own.
fn has_parts(descriptor: &Value) -> bool {
    let media_type = descriptor.get("mediaType").and_then(Value::as_str).unwrap_or_default();
    ["manifest.v1+json", "index.v1+json", "manifest.v2+json", "manifest.list.v2+json"]
        .iter()
        .any(|end| media_type.ends_with(end))
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
        let found = index.manifests.iter().find(|descriptor| annotation(descriptor, NAME) == name).and_then(digest_of);
        found.ok_or_else(|| anyhow!("`{name}` is not in {}", self.dir.join(INDEX).display()))
    }

    /// The files that a manifest needs, itself among them; relative to the folder.
    pub(crate) fn files(&self, manifest: &Digest) -> Result<Vec<String>> {
        let (mut files, mut unread, mut manifests) = (BTreeSet::new(), vec![*manifest], 0);
        while let Some(manifest) = unread.pop() {
            manifests += 1;
            anyhow::ensure!(manifests <= MAX_MANIFESTS, "more than {MAX_MANIFESTS} manifests");
            let path = self.dir.join(self.file(&manifest, &mut files)?);
            let parsed: Value = File::open(&path).map_err(Into::into).and_then(json).with_context(|| read(&path))?;
            let listed = ["layers", "manifests"].into_iter().filter_map(|key| parsed.get(key)?.as_array());
            for part in listed.flatten().chain(parsed.get("config")) {
                let Some(digest) = digest_of(part) else { continue };
                if has_parts(part) {
                    unread.push(digest);
                } else {
                    self.file(&digest, &mut files)?;
                }
            }
        }
        Ok(files.into_iter().collect())
    }

    /// Where a blob is, which has to be a file; it is added to `files`.
    fn file(&self, digest: &Digest, files: &mut BTreeSet<String>) -> Result<String> {
        let name = format!("{BLOBS}/{}", digest.hex());
        let path = self.dir.join(&name);
        let found = fs::symlink_metadata(&path).with_context(|| read(&path))?;
        anyhow::ensure!(found.is_file(), "{} is no file", path.display());
        files.insert(name.clone());
        Ok(name)
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
        // One that was damaged is written again.
        let known = File::open(&path).and_then(|mut file| Digest::of_reader(&mut file));
        if known.is_ok_and(|(known, _)| known == *digest) {
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
        let path = self.dir.join("index.json.lock");
        let (lock, began) = (File::create(&path)?, Instant::now());
        while let Err(error) = lock.try_lock() {
            let waited = began.elapsed() > LOCKED;
            anyhow::ensure!(matches!(error, TryLockError::WouldBlock) && !waited, "lock {}: {error}", path.display());
            std::thread::sleep(Duration::from_millis(50));
        }
        let marker = self.dir.join(MARKER);
        if !marker.exists() {
            File::create(&marker)?.write_all(br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        let mut index = self.index()?.unwrap_or_default();
        for descriptor in descriptors {
            let is_same =
                |known: &Value| [NAME, IMAGE].iter().all(|key| annotation(known, key) == annotation(&descriptor, key));
            index.manifests.retain(|known| !is_same(known));
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
        let damaged = layout.dir().join(BLOBS).join(Digest::of(b"c").hex());
        fs::write(&damaged, "d").unwrap();
        layout.add(&mut second.as_slice()).unwrap();
        assert_eq!(fs::read(&damaged).unwrap(), b"c");
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
    fn an_index_of_images_needs_what_these_need() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().to_owned());
        let (image, manifest) = archive("latest", &[b"layer"]);
        layout.add(&mut image.as_slice()).unwrap();
        let child = serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": manifest.to_string(),
        });
        let index = serde_json::json!({ "manifests": [child] }).to_string().into_bytes();
        let blob = |digest: &Digest| format!("{BLOBS}/{}", digest.hex());
        let outer = Digest::of(&index);
        fs::write(dir.path().join(blob(&outer)), &index).unwrap();
        let mut expected = [outer, manifest, Digest::of(b"layer")].map(|digest| blob(&digest));
        expected.sort();
        assert_eq!(layout.files(&outer).unwrap(), expected);
    }

    struct Broken;

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("it came as another one"))
        }
    }

    #[test]
    fn what_is_no_cache_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("cache"));
        let (good, digest) = archive("latest", &[b"a"]);
        layout.add(&mut good.as_slice()).unwrap();
        let (other, _) = archive("latest", &[b"another one"]);
        assert!(layout.add(&mut &other[..other.len() - 1500]).is_err());
        // All of it is there, and then it turns out to be another one.
        assert!(layout.add(&mut other.as_slice().chain(Broken)).is_err());
        let blob = format!("{BLOBS}/{}", Digest::of(b"x").hex());
        for (name, problem) in
            [(blob.as_str(), "came as sha256:"), ("evil", "`evil` is no part"), (BLOBS, "is no part")]
        {
            let mut wrong = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_ustar();
            header.set_size(1);
            wrong.append_data(&mut header, name, &b"y"[..]).unwrap();
            let error = layout.add(&mut wrong.get_ref().as_slice()).unwrap_err();
            assert!(error.to_string().contains(problem), "{error:#}");
        }
        assert_eq!(layout.find("latest").unwrap(), digest);
    }
}
