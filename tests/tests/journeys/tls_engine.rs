//! A buildkitd on TCP that wants certificates, and whose steps run on the host's network.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use slipway_journeys::service::{Options, free_address};
use slipway_journeys::wait::{SOON, until};
use slipway_journeys::{Service, setup_tool};

/// Writes `ca.pem`, and `<name>.pem` and `<name>.key` signed by it.
fn certificates(dir: &Path, names: &[&str]) {
    let write = |name: String, text: String| std::fs::write(dir.join(name), text).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    write("ca.pem".to_owned(), authority.self_signed(&key).unwrap().pem());
    let issuer = Issuer::new(authority, key);
    for name in names {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        write(format!("{name}.pem"), params.signed_by(&key, &issuer).unwrap().pem());
        write(format!("{name}.key"), key.serialize_pem());
    }
}

struct Buildkitd(Child);

impl Buildkitd {
    fn start(dir: &Path, address: SocketAddr) -> Self {
        let program = setup_tool("buildkitd").unwrap_or_else(|| PathBuf::from("buildkitd"));
        let file = |name: &str| dir.join(name).display().to_string();
        let child = Command::new(program)
            .args(["--root", &file("root"), "--addr", &format!("tcp://{address}"), "--oci-worker-net", "host"])
            .args(["--tlscacert", &file("ca.pem"), "--tlscert", &file("engine.pem"), "--tlskey", &file("engine.key")])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.join("log")).unwrap())
            .spawn()
            .expect("run buildkitd; `make setup` installs it");
        Self(child)
    }
}

impl Drop for Buildkitd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_engine_with_certificates_takes_ours_and_an_open_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path(), &["engine", "service"]);
    let address = free_address();
    let _engine = Buildkitd::start(dir.path(), address);
    until("buildkitd listens", SOON, || std::net::TcpStream::connect(address).ok());

    let file = |name: &str| dir.path().join(name).display().to_string();
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
