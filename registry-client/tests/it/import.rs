use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

use slipway_registry_client::{ArchiveError, Auth, Digest, Platform, RegistryClient, RegistryError};
use tempfile::TempDir;

use crate::archive::{Layout, noise};
use crate::registry::TestRegistry;

fn client() -> RegistryClient {
    RegistryClient::builder().build().expect("client")
}

fn amd64() -> Platform {
    Platform { os: "linux".into(), architecture: "amd64".into(), variant: None }
}

/// Two platforms and an attestation in one index, as buildx makes it.
pub(crate) fn multi_platform() -> (TempDir, PathBuf, Digest) {
    let dir = TempDir::new().expect("temporary directory");
    let path = dir.path().join("image.tar");
    let mut layout = Layout::default();
    let amd64 = layout.image("amd64", noise(1, 5 << 20));
    let arm64 = layout.image("arm64", noise(2, 1 << 20));
    let attestation = layout.attestation(&amd64);
    let index = layout.index(&[amd64, arm64, attestation]);
    layout.write(&path, std::slice::from_ref(&index));
    (dir, path, index["digest"].as_str().expect("digest").parse().expect("digest"))
}

#[tokio::test]
async fn an_index_with_attestations_is_imported_once() {
    let registry = TestRegistry::open();
    let (_dir, path, digest) = multi_platform();
    let target = registry.image("okteto/runner:1.0");
    let client = client();
    assert_eq!(client.resolve_digest(&target, &Auth::Anonymous).await.expect("resolve"), None);

    let first = client.import_oci_archive(&path, &target, &Auth::Anonymous).await.expect("import");
    assert_eq!((first.pushed_blobs, first.skipped_blobs), (6, 0));
    assert!(first.pushed_bytes > 6 << 20);
    assert_eq!(first.digest, digest);
    assert_eq!(client.resolve_digest(&target, &Auth::Anonymous).await.expect("resolve"), Some(digest.clone()));

    let second = client.import_oci_archive(&path, &target, &Auth::Anonymous).await.expect("import again");
    assert_eq!((second.pushed_blobs, second.pushed_bytes, second.skipped_blobs), (0, 0, 6));

    let config = client.config(&target, &amd64(), &Auth::Anonymous).await.expect("config").expect("there");
    assert_eq!(config.architecture().to_string(), "amd64");
    let env = config.config().as_ref().and_then(|config| config.env().clone());
    assert_eq!(env, Some(vec!["A=b".to_owned()]));
    let other = Platform { architecture: "riscv64".into(), ..amd64() };
    let error = client.config(&target, &other, &Auth::Anonymous).await.expect_err("no such platform");
    assert!(error.to_string().contains("no image for linux/riscv64"), "{error}");
    assert!(client.config(&registry.image("no/such"), &amd64(), &Auth::Anonymous).await.expect("config").is_none());
}

#[tokio::test]
async fn several_roots_become_an_index_and_no_tag_means_by_digest() {
    let registry = TestRegistry::open();
    let dir = TempDir::new().expect("temporary directory");
    let path = dir.path().join("image.tar");
    let mut layout = Layout::default();
    let roots = [layout.image("amd64", noise(3, 1000)), layout.image("arm64", noise(4, 1000))];
    layout.write(&path, &roots);
    let target = registry.image("dev/pair");
    let imported = client().import_oci_archive(&path, &target, &Auth::Anonymous).await.expect("import");
    let pinned = target.with_digest(imported.digest.clone());
    let resolved = client().resolve_digest(&pinned, &Auth::Anonymous).await.expect("resolve");
    assert_eq!(resolved, Some(imported.digest));
    assert_eq!(client().resolve_digest(&target, &Auth::Anonymous).await.expect("resolve"), None);
    assert!(client().config(&pinned, &amd64(), &Auth::Anonymous).await.expect("config").is_some());
}

#[tokio::test]
async fn a_damaged_blob_is_named_and_never_stored() {
    let registry = TestRegistry::open();
    let (_dir, path, _) = multi_platform();
    let damaged = Digest::of(&noise(1, 5 << 20));
    flip_a_byte(&path, &damaged);
    let target = registry.image("dev/damaged:1");
    match client().import_oci_archive(&path, &target, &Auth::Anonymous).await {
        Err(RegistryError::Archive { source: ArchiveError::Damaged { expected, actual }, .. }) => {
            assert_eq!(expected, damaged);
            assert_ne!(actual, damaged);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(client().resolve_digest(&target, &Auth::Anonymous).await.expect("resolve"), None);
}

/// Changes the first byte of a blob's content in the middle of the archive.
fn flip_a_byte(archive: &PathBuf, digest: &Digest) {
    let mut file = std::fs::File::options().read(true).write(true).open(archive).expect("open");
    let offset = {
        let mut tar = tar::Archive::new(&mut file);
        let mut entries = tar.entries_with_seek().expect("entries").map(|entry| entry.expect("entry"));
        let blob = entries.find(|e| e.path().expect("path").ends_with(digest.hex())).expect("blob");
        blob.raw_file_position() + 4_000_000
    };
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset)).expect("seek");
    file.read_exact(&mut byte).expect("read");
    file.seek(SeekFrom::Start(offset)).expect("seek");
    file.write_all(&[byte[0] ^ 1]).expect("write");
}

#[tokio::test]
async fn unusable_archives_say_why() {
    let dir = TempDir::new().expect("temporary directory");
    let path = dir.path().join("image.tar");
    let target = "127.0.0.1:1/dev/x:1".parse().expect("reference");
    let import = || async {
        match client().import_oci_archive(&path, &target, &Auth::Anonymous).await {
            Err(RegistryError::Archive { source, .. }) => source,
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(import().await, ArchiveError::Io { .. }));

    std::fs::write(&path, [0x1f, 0x8b, 8, 0]).expect("write");
    assert!(matches!(import().await, ArchiveError::Compressed));

    Layout::default().write(&path, &[]);
    assert!(matches!(import().await, ArchiveError::Empty));

    let mut layout = Layout::default();
    let image = layout.image("amd64", noise(5, 100));
    let (layer, _) = layout.blobs.remove(1);
    layout.write(&path, std::slice::from_ref(&image));
    assert!(matches!(import().await, ArchiveError::MissingBlob(digest) if digest == layer));

    std::fs::write(&path, vec![0; 1024]).expect("write");
    assert!(matches!(import().await, ArchiveError::NoIndex));
}

#[tokio::test]
async fn basic_credentials_are_used_and_wrong_ones_denied() {
    let registry = TestRegistry::with_password();
    let (_dir, path, digest) = multi_platform();
    let target = registry.image("dev/app:1");
    let (right, wrong) = (Auth::basic("me", "secret"), Auth::basic("me", "wrong"));
    let client = client();
    for auth in [&wrong, &Auth::Anonymous, &Auth::bearer("nonsense")] {
        let denied = client.import_oci_archive(&path, &target, auth).await;
        assert!(matches!(denied, Err(RegistryError::Denied { .. })), "{denied:?}");
        let denied = client.resolve_digest(&target, auth).await;
        assert!(matches!(denied, Err(RegistryError::Denied { .. })), "{denied:?}");
    }
    let imported = client.import_oci_archive(&path, &target, &right).await.expect("import");
    assert_eq!(imported.digest, digest);
    assert_eq!(client.resolve_digest(&target, &right).await.expect("resolve"), Some(digest));
    // Nothing that an earlier call proved is left over for a later one.
    assert!(client.resolve_digest(&target, &Auth::Anonymous).await.is_err());
}
