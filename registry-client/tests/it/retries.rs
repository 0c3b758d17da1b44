//! Registries that can't do just now what they are asked.

use std::time::{Duration, Instant};

use slipway_registry_client::{Auth, Digest, ImageRef, Patience, RegistryClient, RegistryError};
use tokio::net::TcpListener;

use crate::hostile::{answer, serve, server};

fn image(host: &str) -> ImageRef {
    format!("{host}/a/b:1").parse().expect("reference")
}

fn client() -> RegistryClient {
    RegistryClient::builder().build().expect("client")
}

fn found() -> Vec<u8> {
    answer("200 OK", &format!("docker-content-digest: {}\r\n", Digest::of(b"x")), b"")
}

#[tokio::test]
async fn a_busy_registry_is_asked_again_when_it_says_so() {
    let (listener, host) = server().await;
    let limited = answer("429 Too Many Requests", "retry-after: 1\r\n", b"");
    let answers = vec![limited, answer("503 Service Unavailable", "", b""), found()];
    let began = Instant::now();
    let (client, image) = (client(), image(&host));
    let (requests, result) = tokio::join!(serve(listener, answers), client.resolve_digest(&image, &Auth::Anonymous));
    assert_eq!(result.expect("resolve"), Some(Digest::of(b"x")));
    assert_eq!(requests.len(), 3);
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_broken_connection_is_made_again() {
    let (listener, host) = server().await;
    // Hangs up without an answer, and then in the middle of one.
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"tags\"".to_vec();
    let list = answer("200 OK", "", br#"{"name":"a/b","tags":["t1"]}"#);
    let (client, image) = (client(), image(&host));
    let (requests, tags) = tokio::join!(
        serve(listener, vec![Vec::new(), half, list]),
        client.list_tags(image.registry(), image.repository(), &Auth::Anonymous)
    );
    assert_eq!(tags.expect("list").len(), 1);
    assert_eq!(requests.len(), 3);
}

#[tokio::test]
async fn a_registry_that_stays_away_is_left_and_said_how_often_it_was_asked() {
    let (listener, host) = server().await;
    drop(listener);
    let client = RegistryClient::builder().patience(Patience { attempts: 3, ..Patience::default() });
    let client = client.build().expect("client");
    let error = client.resolve_digest(&image(&host), &Auth::Anonymous).await.expect_err("nobody is there");
    assert!(error.to_string().ends_with("(after 3 attempts)"), "{error}");

    let (listener, host) = server().await;
    let busy = answer("429 Too Many Requests", "", br#"{"errors":[{"message":"too many pulls"}]}"#);
    let (image, auth) = (image(&host), Auth::Anonymous);
    let (_, result) =
        tokio::join!(serve(listener, vec![busy; 3]), client.list_tags(image.registry(), image.repository(), &auth));
    let error = result.expect_err("it is busy").to_string();
    assert!(error.ends_with("429 Too Many Requests: too many pulls (after 3 attempts)"), "{error}");
}

#[tokio::test]
async fn its_token_server_is_asked_again_too() {
    let (listener, host) = server().await;
    let challenge = format!("www-authenticate: Bearer realm=\"http://{host}/token\"\r\n");
    let challenge = || answer("401 Unauthorized", &challenge, b"");
    let token = answer("200 OK", "", br#"{"token":"minted"}"#);
    let answers = vec![challenge(), answer("502 Bad Gateway", "", b""), challenge(), token, found()];
    let (client, image, auth) = (client(), image(&host), Auth::basic("me", "secret"));
    let (requests, result) = tokio::join!(serve(listener, answers), client.resolve_digest(&image, &auth));
    assert_eq!(result.expect("resolve"), Some(Digest::of(b"x")));
    assert!(requests[4].contains("authorization: Bearer minted"), "{}", requests[4]);
}

#[tokio::test]
async fn what_will_not_change_is_asked_once() {
    for status in ["401 Unauthorized", "403 Forbidden", "500 Internal Server Error"] {
        let (listener, host) = server().await;
        let (client, image) = (client(), image(&host));
        let ((), result) = tokio::join!(
            async {
                serve_once(&listener, &answer(status, "retry-after: 0\r\n", b"")).await;
                let more = tokio::time::timeout(Duration::from_secs(1), listener.accept()).await;
                assert!(more.is_err(), "{status}: asked again");
            },
            client.resolve_digest(&image, &Auth::Anonymous)
        );
        assert!(matches!(result, Err(RegistryError::Denied { .. } | RegistryError::Status { .. })), "{result:?}");
    }
}

async fn serve_once(listener: &TcpListener, answer: &[u8]) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (mut stream, _) = listener.accept().await.expect("accept");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("read"));
    }
    stream.write_all(answer).await.expect("write");
}

#[tokio::test]
async fn who_stops_waiting_is_heard() {
    let (listener, host) = server().await;
    let (client, image) = (client(), image(&host));
    let busy = answer("503 Service Unavailable", "retry-after: 30\r\n", b"");
    let asking = tokio::time::timeout(Duration::from_millis(500), client.resolve_digest(&image, &Auth::Anonymous));
    let ((), stopped) = tokio::join!(serve_once(&listener, &busy), asking);
    assert!(stopped.is_err());
    assert!(tokio::time::timeout(Duration::from_millis(200), listener.accept()).await.is_err(), "it goes on");
}
