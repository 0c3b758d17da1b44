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

fn allowed(hosts: &[String]) -> Allowed {
    let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
    Allowed { hosts, own: Vec::new(), key: "runner.network.allow".to_owned() }
}

fn connection() -> (Connection, mpsc::Receiver<()>) {
    let (alive, rest) = mpsc::channel(1);
    (Connection { closed: CancellationToken::new(), broken: CancellationToken::new(), alive }, rest)
}

/// What a proxy with these hosts answers, and what it refused.
async fn asked(hosts: &[String], request: &str) -> (String, Vec<String>) {
    let refused = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&refused);
    let proxy = Proxy::new(allowed(hosts), &[], move |why| told.lock().unwrap().push(why.to_owned()));
    let (mut here, there) = tokio::io::duplex(4096);
    let served = tokio::spawn(proxy.serve(there, connection().0));
    here.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // Kept open by who may ask for more.
    while let Ok(Ok(1..)) = tokio::time::timeout(Duration::from_millis(300), here.read_buf(&mut answer)).await {}
    drop(here);
    let answer = String::from_utf8(answer).unwrap();
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
async fn a_tunnels_answer_is_whole_although_nobody_reads_the_question() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&vec![b'x'; 100_000]).await.unwrap();
    });
    let proxy = Proxy::new(allowed(&[server.to_string()]), &[], |_| ());
    let (mut here, there) = tokio::io::duplex(4096);
    let (connection, mut rest) = connection();
    let broken = connection.broken.clone();
    let serving = tokio::spawn(proxy.serve(there, connection));
    here.write_all(format!("CONNECT {server} HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = vec![0; 12];
    here.read_exact(&mut head).await.unwrap();
    // The first is what the server's machine refuses, the second then can't be written.
    for _ in 0..2 {
        here.write_all(b"question").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut answer = Vec::new();
    here.read_to_end(&mut answer).await.unwrap();
    assert!(answer.ends_with(&vec![b'x'; 100_000]), "{} bytes", answer.len());
    drop(here);
    serving.await.unwrap();
    assert_eq!(rest.recv().await, None);
    assert!(!broken.is_cancelled(), "it is all there");
}

#[tokio::test]
async fn what_is_not_on_the_list_is_refused_and_told() {
    let server = echoing().await;
    let port = server.port();
    for (allowed, request, status, said, told) in [
        ("a.example", format!("CONNECT {server} HTTP/1.1\r\n\r\n"), 403, "`runner.network.allow`", 1),
        ("a.example", format!("GET http://{server}/ HTTP/1.1\r\n\r\n"), 403, "`runner.network.allow`", 1),
        ("a.example", "GET http://b.example/ HTTP/1.1\r\n\r\n".to_owned(), 403, "b.example:80 is not among", 1),
        // By name, its own machine is out of reach.
        ("localhost", format!("CONNECT localhost:{port} HTTP/1.1\r\n\r\n"), 403, "the service's own", 1),
        ("127.0.0.1", "CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n".to_owned(), 502, "connect to 127.0.0.1:1", 1),
        ("127.0.0.1", "CONNECT 127.0.0.1 HTTP/1.1\r\n\r\n".to_owned(), 400, "needs a port", 0),
        ("127.0.0.1", "GET http://127.0.0.1:99999/ HTTP/1.1\r\n\r\n".to_owned(), 400, "a port is a number", 0),
        ("127.0.0.1", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_owned(), 400, "the whole URL", 0),
        ("127.0.0.1", "GET https://127.0.0.1/ HTTP/1.1\r\n\r\n".to_owned(), 400, "CONNECT", 0),
        (
            "127.0.0.1",
            format!("GET http://{server}/ HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
            501,
            "CONNECT",
            0,
        ),
    ] {
        let (answer, refused) = asked(&[allowed.to_owned()], &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        assert!(answer.contains(said), "{request}: {answer}");
        assert!(refused.len() == told && refused.iter().all(|why| why.contains(said)), "{request}: {refused:?}");
    }
}

#[tokio::test]
async fn each_request_of_a_connection_is_judged_and_told_once() {
    let server = echoing().await;
    let get = |url: &str| format!("GET {url} HTTP/1.1\r\nX-End: {url}\r\n\r\n");
    let other = get("http://b.example/");
    let requests = [get(&format!("http://{server}?q")), other.clone(), other].concat();
    let (answer, refused) = asked(&[server.to_string()], &requests).await;
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 1, "{answer}");
    assert!(answer.contains("GET /?q HTTP/1.1"), "{answer}");
    assert_eq!((answer.matches("HTTP/1.1 403 ").count(), refused.len()), (2, 1), "{answer}");
}

#[tokio::test]
async fn hosts_of_the_container_are_found_as_in_it() {
    let server = echoing().await;
    let hosts = [ExtraHost { name: "db".to_owned(), address: server.ip() }];
    for (rule, reached) in [(server.to_string(), true), ("db".to_owned(), false)] {
        let proxy = Proxy::new(allowed(std::slice::from_ref(&rule)), &hosts, |_| ());
        let target = Target { host: "DB".to_owned(), port: server.port() };
        assert_eq!(proxy.connect(&target).await.is_ok(), reached, "{rule}: a name of the job's own is no admin's word");
    }
}

#[tokio::test]
async fn an_end_that_is_none_is_told_before_the_bytes_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let read = stream.read(&mut asked).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nsome").await.unwrap();
            if !asked[..read].ends_with(b"whole") {
                tokio::time::sleep(Duration::from_millis(50)).await;
                // The end of a connection with this is a reset.
                stream.set_zero_linger().unwrap();
            }
        }
    });
    for (end, is_broken) in [("cut", true), ("whole", false)] {
        let proxy = Proxy::new(allowed(&[address.to_string()]), &[], |_| ());
        let ((connection, mut rest), (mut here, there)) = (connection(), tokio::io::duplex(4096));
        let broken = connection.broken.clone();
        tokio::spawn(proxy.serve(there, connection));
        here.write_all(format!("CONNECT {address} HTTP/1.1\r\n\r\n{end}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        if !is_broken {
            here.shutdown().await.unwrap();
        }
        here.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("some"), "{answer}");
        assert_eq!(broken.is_cancelled(), is_broken, "{end}");
        drop(here);
        assert!(rest.recv().await.is_none(), "nobody is left");
    }
}
