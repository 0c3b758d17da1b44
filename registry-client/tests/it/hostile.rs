//! Servers that a user's Dockerfile could name.

use slipway_registry_client::{Auth, Digest, ImageRef, RegistryClient, RegistryError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Serves one connection after another, answering each with the next of these texts; gives back the requests.
pub(crate) async fn serve(listener: TcpListener, answers: Vec<Vec<u8>>) -> Vec<String> {
    let mut requests = Vec::new();
    for answer in answers {
        let (mut stream, _) = listener.accept().await.expect("accept");
        requests.push(read_head(&mut stream).await);
        // The client may hang up as soon as it has seen enough.
        let _ = stream.write_all(&answer).await;
        let _ = stream.shutdown().await;
    }
    requests
}

/// With its body, if it says how long that is.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("read"));
    }
    let mut head = String::from_utf8(head).expect("text");
    let length = head.split_once("content-length: ").and_then(|(_, rest)| rest.split_once('\r')?.0.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.expect("read");
    head.push_str(std::str::from_utf8(&body).expect("text"));
    head
}

pub(crate) fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

pub(crate) async fn server() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let host = listener.local_addr().expect("address").to_string();
    (listener, host)
}

fn client() -> RegistryClient {
    RegistryClient::builder().build().expect("client")
}

#[tokio::test]
async fn a_huge_answer_is_not_read() {
    let (listener, host) = server().await;
    let image: ImageRef = format!("{host}/a/b:1").parse().expect("reference");
    let huge = answer("200 OK", "", &vec![b' '; 5 << 20]);
    let answers = vec![answer("405 Method Not Allowed", "", b""), huge];
    let (client, auth) = (client(), Auth::Anonymous);
    let (_, result) = tokio::join!(serve(listener, answers), client.resolve_digest(&image, &auth));
    assert!(matches!(result, Err(RegistryError::TooLarge { .. })), "{result:?}");
}

#[tokio::test]
async fn content_that_is_not_what_was_asked_for_is_refused() {
    let (listener, host) = server().await;
    let image: ImageRef = format!("{host}/a/b@{}", Digest::of(b"wanted")).parse().expect("reference");
    let header = format!("docker-content-digest: {}\r\n", Digest::of(b"other"));
    let (client, auth) = (client(), Auth::Anonymous);
    let (_, result) =
        tokio::join!(serve(listener, vec![answer("200 OK", &header, b"")]), client.resolve_digest(&image, &auth));
    assert!(matches!(result, Err(RegistryError::DigestMismatch { .. })), "{result:?}");
}

/// An image, and what is answered where a token opens it.
fn behind_tokens(host: &str, token: &[u8]) -> (ImageRef, Vec<Vec<u8>>) {
    let image = format!("{host}/a/b:1").parse().expect("reference");
    let challenge = format!("www-authenticate: Bearer realm=\"http://{host}/token\",service=\"s\"\r\n");
    let found = format!("docker-content-digest: {}\r\n", Digest::of(b"x"));
    let answers =
        [("401 Unauthorized", challenge.as_str(), &b""[..]), ("200 OK", "", token), ("200 OK", found.as_str(), b"")];
    (image, answers.map(|(status, headers, body)| answer(status, headers, body)).to_vec())
}

#[tokio::test]
async fn tokens_are_fetched_with_the_scope_and_used() {
    let (listener, host) = server().await;
    let (image, answers) = behind_tokens(&host, br#"{"token":"minted"}"#);
    let (client, auth) = (client(), Auth::basic("me", "secret"));
    let (requests, result) = tokio::join!(serve(listener, answers), client.resolve_digest(&image, &auth));
    assert_eq!(result.expect("resolve"), Some(Digest::of(b"x")));
    assert!(!requests[0].contains("authorization"), "{}", requests[0]);
    assert!(requests[1].starts_with("GET /token?service=s&scope=repository%3Aa%2Fb%3Apull "), "{}", requests[1]);
    assert!(requests[1].contains("authorization: Basic"), "{}", requests[1]);
    assert!(requests[2].contains("authorization: Bearer minted"), "{}", requests[2]);
}

#[tokio::test]
async fn an_identity_token_is_exchanged_and_goes_to_the_token_server_only() {
    let (listener, host) = server().await;
    let (image, answers) = behind_tokens(&host, br#"{"access_token":"minted"}"#);
    let (client, auth) = (client(), Auth::identity("refresh"));
    let (requests, result) = tokio::join!(serve(listener, answers), client.resolve_digest(&image, &auth));
    assert_eq!(result.expect("resolve"), Some(Digest::of(b"x")));
    assert!(requests[1].starts_with("POST /token "), "{}", requests[1]);
    for part in ["grant_type=refresh_token", "service=s", "scope=repository%3Aa%2Fb%3Apull", "refresh_token=refresh"] {
        assert!(requests[1].contains(part), "{part}: {}", requests[1]);
    }
    assert!(requests[2].contains("authorization: Bearer minted"), "{}", requests[2]);
    // A registry that wants a password gets nothing of it.
    let (listener, host) = server().await;
    let image: ImageRef = format!("{host}/a/b:1").parse().expect("reference");
    let basic = answer("401 Unauthorized", "www-authenticate: Basic realm=\"x\"\r\n", b"");
    let (requests, result) = tokio::join!(serve(listener, vec![basic]), client.resolve_digest(&image, &auth));
    assert!(matches!(result, Err(RegistryError::Denied { .. })), "{result:?}");
    assert!(!requests[0].contains("refresh"), "{}", requests[0]);
}

#[tokio::test]
async fn a_wrong_raw_token_is_not_exchanged_for_another() {
    let (listener, host) = server().await;
    let image: ImageRef = format!("{host}/a/b:1").parse().expect("reference");
    let challenge = format!("www-authenticate: Bearer realm=\"http://{host}/token\"\r\n");
    let (client, auth) = (client(), Auth::bearer("raw"));
    let (requests, result) = tokio::join!(
        serve(listener, vec![answer("401 Unauthorized", &challenge, b"")]),
        client.resolve_digest(&image, &auth)
    );
    assert!(requests[0].contains("authorization: Bearer raw"), "{}", requests[0]);
    assert!(matches!(result, Err(RegistryError::Denied { .. })), "{result:?}");
}

#[tokio::test]
async fn tag_lists_are_paged() {
    let (listener, host) = server().await;
    let image: ImageRef = format!("{host}/a/b").parse().expect("reference");
    let link = "link: </v2/a/b/tags/list?last=t2&n=2>; rel=\"next\"\r\n";
    let answers = vec![
        answer("200 OK", link, br#"{"name":"a/b","tags":["t1","t2"]}"#),
        answer("200 OK", "", br#"{"name":"a/b","tags":["t3"]}"#),
    ];
    let (client, auth) = (client(), Auth::Anonymous);
    let (requests, tags) =
        tokio::join!(serve(listener, answers), client.list_tags(image.registry(), image.repository(), &auth));
    let tags: Vec<_> = tags.expect("list").iter().map(ToString::to_string).collect();
    assert_eq!(tags, ["t1", "t2", "t3"]);
    assert!(requests[1].contains("last=t2"), "{}", requests[1]);
}

/// A client that reaches this registry and what is public.
fn guarded(host: &str) -> RegistryClient {
    RegistryClient::builder().public_or([host.parse().expect("host")]).build().expect("client")
}

/// Fails when somebody connects.
async fn untouched(listener: TcpListener) {
    let wait = std::time::Duration::from_millis(300);
    assert!(tokio::time::timeout(wait, listener.accept()).await.is_err(), "it was reached");
}

#[tokio::test]
async fn only_named_hosts_and_public_ones_are_reached() {
    let (listener, host) = server().await;
    let port = host.rsplit_once(':').expect("port").1;
    let client = guarded("localhost:1");
    for spelling in
        ["127.0.0.1", "localhost", "LOCALHOST", "0x7f.1", "2130706433", "127.1", "[::ffff:127.0.0.1]", "0.0.0.0"]
    {
        let image: ImageRef = format!("{spelling}:{port}/a/b:1").parse().expect("reference");
        let result = client.resolve_digest(&image, &Auth::Anonymous).await;
        assert!(matches!(result, Err(RegistryError::NotPublic { .. })), "{spelling}: {result:?}");
    }
    // A name says nothing; what it resolves to does.
    let image: ImageRef = format!("localhost:{port}/a/b:1").parse().expect("reference");
    assert!(guarded("127.0.0.1:1").resolve_digest(&image, &Auth::Anonymous).await.is_err());
    untouched(listener).await;
}

#[tokio::test]
async fn a_token_server_that_is_not_public_is_not_asked() {
    let (listener, host) = server().await;
    let (inner, inner_host) = server().await;
    let image: ImageRef = format!("{host}/a/b:1").parse().expect("reference");
    let challenge = format!("www-authenticate: Bearer realm=\"http://{inner_host}/token\"\r\n");
    let (client, auth) = (guarded(&host), Auth::Anonymous);
    let (_, result) = tokio::join!(
        serve(listener, vec![answer("401 Unauthorized", &challenge, b"")]),
        client.resolve_digest(&image, &auth)
    );
    assert!(matches!(result, Err(RegistryError::NotPublic { .. })), "{result:?}");
    untouched(inner).await;
}

#[tokio::test]
async fn a_redirect_to_what_is_not_public_is_not_followed() {
    for name in ["127.0.0.1", "localhost"] {
        let (listener, host) = server().await;
        let (inner, inner_host) = server().await;
        let port = inner_host.rsplit_once(':').expect("port").1;
        let image: ImageRef = format!("{host}/a/b:1").parse().expect("reference");
        let location = format!("location: http://{name}:{port}/latest/meta-data\r\n");
        let (client, auth) = (guarded(&host), Auth::Anonymous);
        let answers = vec![answer("307 Temporary Redirect", &location, b"")];
        let (_, result) = tokio::join!(serve(listener, answers), client.resolve_digest(&image, &auth));
        assert!(result.is_err(), "{result:?}");
        untouched(inner).await;
    }
}
