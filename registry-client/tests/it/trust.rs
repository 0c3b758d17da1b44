//! Registries whose certificates are of a CA that the system doesn't know.

use std::error::Error as _;

use slipway_registry_client::{Auth, CaFile, RegistryClient, RegistryError};

use crate::import::multi_platform;
use crate::registry::TestRegistry;

#[tokio::test]
async fn a_ca_that_is_named_is_trusted_and_no_other() {
    let registry = TestRegistry::with_tls();
    let (_dir, archive, digest) = multi_platform();
    let target = registry.image("okteto/runner:1.0");

    let stranger = RegistryClient::builder().build().expect("client");
    let refused = stranger.resolve_digest(&target, &Auth::Anonymous).await.expect_err("an unknown CA");
    let mut cause = refused.source();
    while let Some(source) = cause.and_then(std::error::Error::source) {
        cause = Some(source);
    }
    let said = cause.map(ToString::to_string).unwrap_or_default();
    assert!(matches!(refused, RegistryError::Request { .. }) && said.contains("UnknownIssuer"), "{refused:?}");

    let file = CaFile::read(&registry.ca()).expect("a CA");
    let friend = RegistryClient::builder().trust([file.clone()]).build().expect("client");
    // Blobs go another way than the rest.
    let imported = friend.import_oci_archive(&archive, &target, &Auth::Anonymous).await.expect("import");
    assert_eq!(imported.digest, digest);
    // In a bundle, behind another.
    let other = TestRegistry::with_tls();
    let bundle = other.ca().with_file_name("bundle.pem");
    let text = [other.ca(), registry.ca()].map(|path| std::fs::read_to_string(path).expect("a CA")).concat();
    std::fs::write(&bundle, text).expect("write");
    let bundle = CaFile::read(&bundle).expect("a bundle");
    let both = RegistryClient::builder().trust([bundle]).build().expect("client");
    assert_eq!(both.resolve_digest(&target, &Auth::Anonymous).await.expect("resolve").as_ref(), Some(&digest));
    let limited = RegistryClient::builder().trust([file]).public_or([registry.host.clone()]).build().expect("client");
    assert_eq!(limited.resolve_digest(&target, &Auth::Anonymous).await.expect("resolve"), Some(digest));
}

#[test]
fn a_file_that_is_no_ca_is_named_with_what_is_wrong() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("ca.pem");
    let good = rcgen::CertificateParams::default().self_signed(&rcgen::KeyPair::generate().expect("key"));
    let good = good.expect("sign").pem();
    let key = rcgen::KeyPair::generate().expect("key").serialize_pem();
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let cases = [
        (None, "No such file"),
        (Some(String::new()), "no certificate in PEM"),
        (Some(key.clone()), "no certificate in PEM"),
        (Some("\u{30}\u{0}\u{1}".to_owned()), "no certificate in PEM"),
        (Some(good.replace("-----END CERTIFICATE-----", "")), "it is damaged"),
        (Some(format!("{good}{no_certificate}")), "a certificate in it is damaged"),
    ];
    for (content, problem) in cases {
        if let Some(content) = &content {
            std::fs::write(&path, content).expect("write");
        }
        let wrong = CaFile::read(&path).expect_err(problem).to_string();
        assert!(wrong.starts_with(&format!("`{}`: ", path.display())) && wrong.contains(problem), "{wrong}");
    }
    std::fs::write(&path, format!("# ours\n{good}{key}{good}")).expect("write");
    CaFile::read(&path).expect("two certificates and what else is there");
}
