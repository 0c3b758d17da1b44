//! The way to the service through an HTTP proxy: what `HTTPS_PROXY` (or `ALL_PROXY`) names, unless `NO_PROXY` has the service's host.
//!
//! As Go's programs do, never for this machine itself. Only where TLS is spoken inside: over plain HTTP/2 the server speaks first,
//! and the tunnel loses what comes with the proxy's answer.

use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use tonic::transport::{Channel, Endpoint, Error};

/// The proxy on the way to a server, if there is one.
pub(super) fn on_the_way_to(server: &Uri, matcher: &Matcher) -> Option<Intercept> {
    let host = server.host()?;
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    let here = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    if here || server.scheme_str() != Some("https") {
        return None;
    }
    // Of other kinds (SOCKS, TLS to the proxy itself) there is none here.
    matcher.intercept(server).filter(|proxy| proxy.uri().scheme_str() == Some("http"))
}

/// Connects through it.
pub(super) async fn connect(endpoint: &Endpoint, proxy: &Intercept, timeout: Duration) -> Result<Channel, Error> {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(timeout));
    connector.set_nodelay(true);
    let tunnel = Tunnel::new(proxy.uri().clone(), connector);
    let tunnel = match proxy.basic_auth() {
        Some(login) => tunnel.with_auth(login.clone()),
        None => tunnel,
    };
    endpoint.connect_with_connector(tunnel).await
}

/// Where it is, without a login.
pub(super) fn shown(proxy: &Intercept) -> String {
    let uri = proxy.uri();
    format!("{}://{}", uri.scheme_str().unwrap_or("http"), uri.authority().map_or("", |authority| authority.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_other_machines_are_reached_through_it() {
        let matcher =
            Matcher::builder().all("http://user:sesame@proxy.example:3128").no("inside.example,10.0.0.0/8").build();
        for (server, expected) in [
            ("https://slipway.example", true),
            ("https://192.0.2.1:7700", true),
            ("https://inside.example", false),
            ("https://10.0.0.7", false),
            ("https://localhost:7700", false),
            ("https://127.0.0.1:7700", false),
            ("https://[::1]:7700", false),
            ("http://slipway.example", false),
        ] {
            let proxy = on_the_way_to(&server.parse().unwrap(), &matcher);
            assert_eq!(proxy.is_some(), expected, "{server}");
            assert!(proxy.is_none_or(|proxy| shown(&proxy) == "http://proxy.example:3128"));
        }
        for other in ["socks5h://proxy.example:1080", "https://proxy.example"] {
            let matcher = Matcher::builder().all(other).build();
            assert!(on_the_way_to(&Uri::from_static("https://slipway.example"), &matcher).is_none(), "{other}");
        }
        let none = Matcher::builder().build();
        assert!(on_the_way_to(&Uri::from_static("https://slipway.example"), &none).is_none());
    }

    #[tokio::test]
    async fn the_proxy_is_asked_for_the_service() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 1024];
            let read = tokio::io::AsyncReadExt::read(&mut stream, &mut asked).await.unwrap();
            let answer = b"HTTP/1.1 403 Forbidden\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.unwrap();
            String::from_utf8(asked[..read].to_vec()).unwrap()
        });
        let matcher = Matcher::builder().all(format!("http://user:sesame@{address}")).build();
        let server = Uri::from_static("https://slipway.example");
        let proxy = on_the_way_to(&server, &matcher).unwrap();
        let endpoint = Endpoint::from(server);
        let error = connect(&endpoint, &proxy, Duration::from_secs(5)).await.unwrap_err();
        assert!(crate::client::chain(&error).contains("tunnel error"), "{error:?}");
        let asked = asked.await.unwrap();
        assert!(asked.starts_with("CONNECT slipway.example:443 HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("Proxy-Authorization: Basic"), "{asked}");
    }
}
