//! A buildkitd on TCP that wants certificates, and whose steps run on the host's network.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use slipway_journeys::service::{Options, free_address};
use slipway_journeys::wait::{SOON, until};
use slipway_journeys::{Buildkitd, Service};

/// Writes `ca.pem`, and `<name>.pem` and `<name>.key` signed by it.
pub(crate) fn certificates(dir: &Path, names: &[&str]) {
    let write = |name: String, text: String| std::fs::write(dir.join(name), text).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Another name than what it signs has: OpenSSL would take that for signed by itself.
    authority.distinguished_name.push(DnType::CommonName, "a CA");
    write("ca.pem".to_owned(), authority.self_signed(&key).unwrap().pem());
    let issuer = Issuer::new(authority, key);
    for name in names {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        write(format!("{name}.pem"), params.signed_by(&key, &issuer).unwrap().pem());
        write(format!("{name}.key"), key.serialize_pem());
    }
}

#[test]
fn an_engine_with_certificates_takes_ours_and_an_open_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path(), &["engine", "service"]);
    let address = free_address();
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (ca, cert, key) = (file("ca.pem"), file("engine.pem"), file("engine.key"));
    let tls = ["--tlscacert", &ca, "--tlscert", &cert, "--tlskey", &key];
    let _engine = Buildkitd::start(dir.path(), &format!("tcp://{address}"), &tls);
    until("buildkitd listens", SOON, || std::net::TcpStream::connect(address).ok());

    let tcp = Options::default().set("SLIPWAYD_ENGINE__ADDRESS", format!("tcp://{address}"));
    let with_ours = tcp
        .clone()
        .set("SLIPWAYD_ENGINE__CA", file("ca.pem"))
        .set("SLIPWAYD_ENGINE__CERT", file("service.pem"))
        .set("SLIPWAYD_ENGINE__KEY", file("service.key"));
    let service = Service::with(with_ours);
    let app = service.team().project();
    app.image("FROM scratch\nCOPY x /x\n").file("x", "over TLS").build_app();
    assert!(service.log().contains("OPEN ENGINE"), "its steps are on the host's network");

    let without = Service::prepare(tcp);
    without.spawn();
    until("it finds no engine", SOON, || without.log().contains("waiting for the engine").then_some(()));
    assert_eq!(without.http_status("/readyz"), Some(503));
}
