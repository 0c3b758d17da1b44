use std::net::SocketAddr;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// A server that answers with what it was asked, once each connection.
async fn echoing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut asked = vec![0; 4096];
                let read = stream.read(&mut asked).await.unwrap();
                let head = format!(
                    "HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nContent-Length: {read}\r\n\r\n"
                );
                stream.write_all(head.as_bytes()).await.unwrap();
                stream.write_all(&asked[..read]).await.unwrap();
            });
        }
    });
    address
}

/// What a proxy with these hosts answers, and what it refused.
async fn asked(hosts: &[String], request: &str) -> (String, Vec<String>) {
    let allowed = Allowed { hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(), own: Vec::new() };
    let refused = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&refused);
    let proxy = Proxy::new(allowed, move |host| told.lock().unwrap().push(host.to_owned()));
    let (mut here, there) = tokio::io::duplex(4096);
    let served = tokio::spawn(proxy.serve(there, CancellationToken::new()));
    here.write_all(request.as_bytes()).await.unwrap();
    here.shutdown().await.unwrap();
    let mut answer = String::new();
    here.read_to_string(&mut answer).await.unwrap();
    served.await.unwrap();
    let refused = refused.lock().unwrap().clone();
    (answer, refused)
}

#[tokio::test]
async fn plain_requests_are_passed_on_to_where_they_were_allowed() {
    let server = echoing().await;
    let request = format!(
        "POST http://{server}/a?b HTTP/1.1\r\nHost: other.example\r\nProxy-Connection: keep-alive\r\nConnection: X-Mine\r\n\
         X-Mine: 1\r\nX-Kept: 1\r\nContent-Length: 4\r\n\r\nbody"
    );
    let (answer, refused) = asked(&[server.to_string()], &request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("POST /a?b HTTP/1.1\r\n"), "{answer}");
    assert!(answer.contains(&format!("{server}\r\n")) && !answer.contains("other.example"), "{answer}");
    assert!(answer.contains("X-Kept: 1") && answer.ends_with("body"), "{answer}");
    for hop in ["Proxy-Connection", "X-Mine", "X-Hop"] {
        assert!(!answer.contains(hop), "{hop} is between two neighbours: {answer}");
    }
    assert_eq!(refused, [""; 0]);
}

#[tokio::test]
async fn a_tunnel_carries_whatever_it_is_given() {
    let server = echoing().await;
    let (answer, _) =
        asked(&[server.to_string()], &format!("CONNECT {server} HTTP/1.1\r\nHost: x\r\n\r\n\u{1}not HTTP")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\u{1}not HTTP"), "{answer}");
}

#[tokio::test]
async fn what_is_not_on_the_list_is_refused_and_told() {
    let server = echoing().await;
    let port = server.port();
    for (allowed, request, status, said, told) in [
        (
            "a.example",
            format!("CONNECT {server} HTTP/1.1\r\n\r\n"),
            403,
            "runner.network.allow",
            vec![server.to_string()],
        ),
        (
            "a.example",
            format!("GET http://{server}/ HTTP/1.1\r\n\r\n"),
            403,
            "runner.network.allow",
            vec![server.to_string()],
        ),
        (
            "a.example",
            "GET http://b.example/ HTTP/1.1\r\n\r\n".to_owned(),
            403,
            "b.example:80",
            vec!["b.example:80".to_owned()],
        ),
        // By name, its own machine is out of reach, and nobody can do anything about it.
        ("localhost", format!("CONNECT localhost:{port} HTTP/1.1\r\n\r\n"), 403, "the service's own", Vec::new()),
        ("127.0.0.1", "CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n".to_owned(), 502, "127.0.0.1:1", Vec::new()),
        ("127.0.0.1", "CONNECT 127.0.0.1 HTTP/1.1\r\n\r\n".to_owned(), 400, "needs a port", Vec::new()),
        ("127.0.0.1", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_owned(), 400, "the whole URL", Vec::new()),
        ("127.0.0.1", "GET https://127.0.0.1/ HTTP/1.1\r\n\r\n".to_owned(), 400, "CONNECT", Vec::new()),
    ] {
        let (answer, refused) = asked(&[allowed.to_owned()], &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        assert!(answer.contains(said), "{request}: {answer}");
        assert_eq!(refused, told, "{request}");
    }
}
