use slipway_registry_client::{Auth, RegistryClient, RegistryError};
use tempfile::TempDir;

use crate::archive::{Layout, noise};
use crate::registry::TestRegistry;

#[tokio::test]
async fn images_are_tagged_listed_and_copied() {
    let registry = TestRegistry::open();
    let client = RegistryClient::builder().build().expect("client");
    let auth = Auth::Anonymous;
    let dir = TempDir::new().expect("temporary directory");
    let path = dir.path().join("image.tar");
    let mut layout = Layout::default();
    let amd64 = layout.image("amd64", noise(1, 100_000));
    let attestation = layout.attestation(&amd64);
    // An index in an index, and a manifest that both of them name.
    let inner = layout.index(std::slice::from_ref(&amd64));
    let index = layout.index(&[amd64, attestation, inner]);
    layout.write(&path, &[index]);
    let source = registry.image("okteto/app:hash");
    let digest = client.import_oci_archive(&path, &source, &auth).await.expect("import").digest;

    let tagged = client.tag(&source, &"okteto".parse().expect("tag"), &auth).await.expect("tag");
    assert_eq!(tagged, digest);
    let tags = client.list_tags(source.registry(), source.repository(), &auth).await.expect("list");
    let mut tags: Vec<_> = tags.iter().map(ToString::to_string).collect();
    tags.sort();
    assert_eq!(tags, ["hash", "okteto"]);

    let copy = registry.image("dev/app:okteto");
    assert_eq!(client.copy(&source, &copy, &auth).await.expect("copy"), digest);
    assert_eq!(client.copy(&source, &copy, &auth).await.expect("copy again"), digest);
    assert_eq!(client.resolve_digest(&copy, &auth).await.expect("resolve"), Some(digest));

    let missing = registry.image("dev/none:1");
    assert!(matches!(client.copy(&missing, &copy, &auth).await, Err(RegistryError::NotFound { .. })));
    assert!(client.list_tags(missing.registry(), missing.repository(), &auth).await.expect("list").is_empty());
    let elsewhere = "other.example/dev/app:1".parse().expect("reference");
    assert!(matches!(client.copy(&source, &elsewhere, &auth).await, Err(RegistryError::CopyAcross { .. })));
}

#[tokio::test]
async fn an_index_says_which_of_its_manifests_attest_to_which() {
    let registry = TestRegistry::open();
    let client = RegistryClient::builder().build().expect("client");
    let auth = Auth::Anonymous;
    let dir = TempDir::new().expect("temporary directory");
    let path = dir.path().join("image.tar");
    let mut layout = Layout::default();
    let amd64 = layout.image("amd64", noise(2, 10_000));
    let attestation = layout.attestation(&amd64);
    let index = layout.index(&[amd64.clone(), attestation]);
    layout.write(&path, &[index]);
    let image = registry.image("dev/attested:1");
    client.import_oci_archive(&path, &image, &auth).await.expect("import");
    let found = client.inspect(&image, &auth).await.expect("inspect").expect("an image");
    assert!(found.is_index());
    let [one, other] = found.manifests.as_slice() else { panic!("{found:?}") };
    assert!(one.attestation.is_none() && one.config.is_some() && one.platform.as_deref() == Some("linux/amd64"));
    assert!(other.config.is_none() && other.platform.is_none());
    assert_eq!(other.attestation.as_ref().map(|found| found.of.as_str()), amd64["digest"].as_str());
    let none = registry.image("dev/none:1");
    assert!(client.inspect(&none, &auth).await.expect("inspect").is_none());
}
