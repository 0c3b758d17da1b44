//! Where requests that a user can cause may go: to hosts that an administrator has named, and to public addresses.
//!
//! A Dockerfile chooses the registry, and that registry chooses token servers and redirects. Names are therefore judged by the
//! addresses that they resolve to when the connection is made, so that neither another spelling nor another answer of the
//! DNS leads into the service's own network.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::reference::RegistryHost;

/// The hosts that may be anywhere.
#[derive(Debug, Clone, Default)]
pub(super) struct Reach {
    /// With their ports.
    hosts: Arc<HashSet<(String, u16)>>,
    names: Arc<HashSet<String>>,
}

/// A request would leave what a user may make us reach.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is neither a host that an administrator has named nor a public address")]
pub(super) struct NotPublic(String);

// === impl Reach ===

impl Reach {
    /// These hosts, and whatever is public; `plain` tells those that are reached without TLS.
    pub(super) fn new(hosts: impl IntoIterator<Item = RegistryHost>, plain: impl Fn(&RegistryHost) -> bool) -> Self {
        let place = |host: RegistryHost| {
            let scheme = if plain(&host) { "http" } else { "https" };
            // As they are spelled in the URLs of requests.
            let url = Url::parse(&format!("{scheme}://{}/", host.api_host())).ok()?;
            Some((url.host_str()?.to_owned(), url.port_or_known_default()?))
        };
        let hosts: HashSet<_> = hosts.into_iter().filter_map(place).collect();
        let names = hosts.iter().map(|(name, _)| name.clone()).collect();
        Self { hosts: Arc::new(hosts), names: Arc::new(names) }
    }

    /// Refuses what can be told from a URL alone. Names that pass are judged when they are resolved.
    pub(super) fn check(&self, url: &Url) -> Result<(), NotPublic> {
        let host = url.host_str().unwrap_or_default();
        let known = url.port_or_known_default().is_some_and(|port| self.hosts.contains(&(host.to_owned(), port)));
        // URLs have one spelling of each address: `0x7f.1` was turned into `127.0.0.1` when this one was parsed.
        let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host).parse::<IpAddr>();
        let open = match address {
            Ok(address) => is_public(address),
            // Another port of a host that was named: its name would be resolved without a look at the address.
            Err(_) => !host.is_empty() && !self.names.contains(host),
        };
        if known || open { Ok(()) } else { Err(NotPublic(host.to_owned())) }
    }
}

impl Resolve for Reach {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        let known = self.names.contains(&name);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.filter(|address| known || is_public(address.ip())).collect();
            if found.is_empty() {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, NotPublic(name)).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is one of the Internet's: of no registry of special-purpose addresses (IANA, RFC 6890).
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let special = match address.octets() {
        // This network; carrier-grade NAT; protocol assignments; 6to4 relays; benchmarks; reserved.
        [0 | 240..=255, ..] | [100, 64..=127, ..] | [192, 0, 0, _] | [192, 88, 99, _] | [198, 18 | 19, ..] => true,
        _ => false,
    };
    !(special
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation())
}

/// Global unicast without what holds an IPv4 address (Teredo, 6to4; NAT64 is outside) and what is for documents.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let special = match (first, second) {
        (0x2001, 0..=0x01ff | 0x0db8) | (0x2002, _) => true,
        (0x3fff, second) => second < 0x1000,
        _ => false,
    };
    first & 0xe000 == 0x2000 && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses_are_not_public() {
        for public in [
            "1.1.1.1",
            "100.63.0.1",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "2600::1",
            "::ffff:1.1.1.1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for special in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
    }

    #[test]
    fn urls_are_judged_by_their_host_and_port() {
        let host = |text: &str| text.parse::<RegistryHost>().unwrap();
        let hosts = ["localhost:5000", "10.0.0.5", "docker.io", "mirror.example"].map(host);
        let reach = Reach::new(hosts, RegistryHost::is_loopback);
        let open = |url: &str| reach.check(&Url::parse(url).unwrap()).is_ok();
        for url in [
            "http://localhost:5000/v2/",
            "https://10.0.0.5/v2/",
            "https://registry-1.docker.io/v2/",
            "https://mirror.example/token",
            "https://ghcr.io/v2/",
            "https://1.1.1.1/v2/",
        ] {
            assert!(open(url), "{url}");
        }
        for url in [
            "http://localhost:22/v2/",
            "http://127.0.0.1:5000/v2/",
            "http://10.0.0.5/v2/",
            "https://10.0.0.6/v2/",
            "https://0x7f.1/v2/",
            "https://2130706433/v2/",
            "https://[::ffff:127.0.0.1]/v2/",
            "https://[::1]:5000/v2/",
            "https://169.254.169.254/latest/meta-data",
            "https://mirror.example:8443/v2/",
            "file:///etc/passwd",
        ] {
            assert!(!open(url), "{url}");
        }
    }

    #[tokio::test]
    async fn names_are_judged_by_their_addresses() {
        let resolved = async |reach: Reach| reach.resolve("localhost".parse().unwrap()).await.is_ok();
        assert!(!resolved(Reach::default()).await);
        assert!(resolved(Reach::new(["localhost:1".parse().unwrap()], |_| true)).await);
    }
}
