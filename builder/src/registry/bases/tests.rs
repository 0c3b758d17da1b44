//! Against servers of the test's own, which write down what they are asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::registry::{Config, Kind};

/// A registry that has every image, each another one, for whoever asks.
pub(crate) struct Server {
    pub(crate) host: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let log = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let digest = Digest::of(head.split(' ').nth(1).unwrap().as_bytes());
                log.lock().unwrap().push(head);
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nconnection: close\r\ndocker-content-digest: {digest}\r\ncontent-length: 0\r\n\r\n"
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { host, asked }
    }

    /// The requests since this was asked last.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// What an image is, with these mirrors, over an external registry with credentials.
async fn find(ours: &str, mirrors: &[(&str, &str)], image: &str) -> Result<Base, BaseError> {
    let config = Config {
        kind: Kind::External,
        host: Some(ours.parse().unwrap()),
        username: Some("me".to_owned()),
        password: Some("hunter2".to_owned().into()),
        ..Config::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let registry = Arc::new(Registry::open(&config, dir.path()).unwrap());
    let urls = |url: &str| if url.is_empty() { Vec::new() } else { vec![url.to_owned()] };
    let mirrors: BTreeMap<_, _> = mirrors.iter().map(|(host, url)| ((*host).to_owned(), urls(url))).collect();
    let bases = BaseImages::new(registry, Mirrors::parse(&mirrors).unwrap()).unwrap();
    let namespace = "dev".parse().unwrap();
    let image = bases.reference(&namespace, image).unwrap();
    bases.find(&namespace, &image).await
}

#[tokio::test]
async fn only_what_somebody_has_named_is_asked_on_this_machine() {
    let server = Server::start().await;
    let port = server.host.rsplit_once(':').unwrap().1;
    for host in ["127.0.0.1", "localhost", "0x7f.1", "[::ffff:127.0.0.1]"] {
        let image = format!("{host}:{port}/a/b:1");
        assert!(find("registry.invalid", &[], &image).await.is_err(), "{image}");
    }
    assert_eq!(server.asked(), [""; 0]);
    // A mirror on the loopback, and a registry that is named.
    let mirror = format!("http://{}", server.host);
    assert!(find("registry.invalid", &[("docker.io", &mirror)], "debian:12").await.is_ok());
    assert!(server.asked()[0].starts_with("HEAD /v2/library/debian/manifests/12 "));
    assert!(find("registry.invalid", &[(&server.host, "")], &format!("{}/a/b:1", server.host)).await.is_ok());
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn credentials_are_for_our_registry_under_its_own_name() {
    let server = Server::start().await;
    // Its credentials are sent when it asks for them; a token would be at once.
    let config = Config { listen: server.host.parse().unwrap(), ..Config::default() };
    let dir = tempfile::tempdir().unwrap();
    let registry = Arc::new(Registry::open(&config, dir.path()).unwrap());
    let urls = BTreeMap::from([("docker.io".to_owned(), vec![format!("http://{}", server.host)])]);
    let bases = BaseImages::new(registry, Mirrors::parse(&urls).unwrap()).unwrap();
    let namespace = "dev".parse().unwrap();
    for (image, authorized) in [("okteto.dev/app", true), ("docker.io/team-b/app", false)] {
        bases.find(&namespace, &bases.reference(&namespace, image).unwrap()).await.unwrap();
        assert_eq!(server.asked()[0].contains("authorization: "), authorized, "{image}");
    }
    assert!(matches!(
        bases.find(&namespace, &format!("{}/team-b/app:1", server.host).parse().unwrap()).await,
        Err(BaseError::Refused(_))
    ));
    assert_eq!(server.asked(), [""; 0]);
}

#[tokio::test]
async fn a_login_is_for_the_registry_that_is_named_and_for_its_job_alone() {
    use crate::registry::{Login, Logins};
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let registry = Arc::new(Registry::open(&Config::default(), dir.path()).unwrap());
    let mirror = format!("http://{}", server.host);
    let urls = BTreeMap::from([("docker.io".to_owned(), vec![mirror]), (server.host.clone(), Vec::new())]);
    let shared = Arc::new(BaseImages::new(registry, Mirrors::parse(&urls).unwrap()).unwrap());
    // One that is sent at once; a password waits until the registry asks.
    let login = |host: &str| (host.parse().unwrap(), Login::Token("hunter2".to_owned().into()));
    let logins = Logins::new([login(&server.host), login("docker.io")]).unwrap();
    let own = shared.clone().for_caller(&logins);
    let namespace = "dev".parse().unwrap();
    let named = format!("{}/team/app:1", server.host);
    let cases = [(&own, named.as_str(), true), (&own, "debian:12", false), (&shared, named.as_str(), false)];
    for (bases, image, authorized) in cases {
        bases.find(&namespace, &bases.reference(&namespace, image).unwrap()).await.unwrap();
        assert_eq!(server.asked()[0].contains("authorization: Bearer hunter2"), authorized, "{image}");
    }
    assert!(Arc::ptr_eq(&shared, &shared.clone().for_caller(&Logins::default())), "others share what is known");
}
