//! A host of the admin's list.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::str::FromStr;

use rustix::io::Errno;

use super::Reason;

/// `HOST` or `HOST:PORT`: a name, `*.` and a name (whatever is under it), or an IP address. Without a port: any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    name: Name,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Exactly(String),
    /// With the dot that it begins with.
    Under(String),
    Address(IpAddr),
}

/// A text that is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{}` is no host: {why}", text.escape_debug())]
pub struct HostError {
    text: String,
    why: &'static str,
}

impl Host {
    /// Whether a host of this name, in lower case, is meant, at this port.
    pub(super) fn matches(&self, host: &str, port: u16) -> bool {
        let name = match &self.name {
            Name::Exactly(name) => name == host,
            // What is under an address is none of it.
            Name::Under(name) => host.len() > name.len() && host.ends_with(name.as_str()) && address_of(host).is_none(),
            Name::Address(address) => address_of(host) == Some(*address),
        };
        name && self.port.is_none_or(|only| only == port)
    }

    /// What it lets a name lead to.
    pub(super) fn reason(&self) -> Reason {
        match self.name {
            Name::Exactly(_) => Reason::ByName,
            Name::Under(_) => Reason::ByPattern,
            Name::Address(_) => Reason::Wherever,
        }
    }
}

/// An address as in a URL.
pub(super) fn address_of(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

/// Whether a name may lead there that an admin has written down: not to this machine, not to its link, not to many, and not to
/// what tells a machine's credentials to whoever asks on it.
pub(super) fn is_elsewhere(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let is_special = match address {
        IpAddr::V4(address) => {
            address.is_loopback()
                || address.octets()[0] == 0
                || address.is_link_local()
                || address.is_multicast()
                || address.is_broadcast()
                // What is for protocols of the link itself (RFC 6890); there is metadata at one of them.
                || address.octets()[..3] == [192, 0, 0]
        }
        IpAddr::V6(address) => {
            address.is_loopback()
                || address.is_unspecified()
                || address.is_unicast_link_local()
                || address.is_multicast()
                // NAT64 (RFC 6052) leads to any IPv4 address.
                || address.segments()[..2] == [0x64, 0xff9b]
        }
    };
    !is_special && !METADATA.contains(&address)
}

/// Whether an address is one of this machine's, also where that can't be found out.
pub(super) fn is_own(address: SocketAddr) -> bool {
    // Both: interfaces don't have what only a route makes the machine's own, and what would be sent to an interface's second
    // address comes from its first.
    let ip = address.ip().to_canonical();
    let known_elsewhere = comes_from(address).is_ok_and(|from| from != Some(ip))
        && if_addrs::get_if_addrs().is_ok_and(|interfaces| interfaces.iter().all(|own| own.ip().to_canonical() != ip));
    !known_elsewhere
}

/// The address that would be the sender's of what is sent there; none where there is no way to it. Nothing is sent.
fn comes_from(address: SocketAddr) -> io::Result<Option<IpAddr>> {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let from = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect(address)?;
        socket.local_addr()
    });
    match from {
        Ok(from) => Ok(Some(from.ip().to_canonical())),
        // Nobody gets there.
        Err(error) if Errno::from_io_error(&error).is_some_and(|error| NO_WAY.contains(&error)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the kernel says of addresses without a way to them, and where it has no IPv6.
const NO_WAY: [Errno; 5] =
    [Errno::NETUNREACH, Errno::HOSTUNREACH, Errno::ADDRNOTAVAIL, Errno::ACCESS, Errno::AFNOSUPPORT];

/// Where clouds have their metadata besides addresses of the link: Alibaba's, Azure's, Amazon's (two), Google's, Oracle's,
/// Scaleway's, Linode's.
const METADATA: [IpAddr; 8] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1)),
];

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let wrong = |why| HostError { text: text.to_owned(), why };
        if let Some(address) = address_of(text) {
            return Ok(Self { name: Name::Address(address), port: None });
        }
        if text.split_once('/').is_some_and(|(address, _)| address_of(address).is_some()) {
            return Err(wrong("networks are not taken, addresses are"));
        }
        if text.contains('/') {
            return Err(wrong("a name or an address is wanted, without a scheme and a path"));
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => {
                let port = port.parse().ok().filter(|port| *port != 0);
                (name, Some(port.ok_or_else(|| wrong("its port is no number from 1 to 65535"))?))
            }
            None => (text, None),
        };
        if let Some(address) = address_of(name) {
            return Ok(Self { name: Name::Address(address), port });
        }
        let lower = name.trim_end_matches('.').to_ascii_lowercase();
        let (under, rest) = lower.strip_prefix("*.").map_or((false, lower.as_str()), |rest| (true, rest));
        if rest == "*" {
            return Err(wrong("any host at all is `mode = \"open\"`"));
        }
        let known = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
        let label = |label: &str| !label.is_empty() && label.len() <= 63 && label.chars().all(known);
        if rest.len() > 253 || !rest.split('.').all(label) {
            return Err(wrong("a name has letters, digits, `-`, `_` and dots between them, or `*.` before all that"));
        }
        let name = if under { Name::Under(format!(".{rest}")) } else { Name::Exactly(rest.to_owned()) };
        Ok(Self { name, port })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Name::Exactly(name) => f.write_str(name)?,
            Name::Under(name) => write!(f, "*{name}")?,
            Name::Address(IpAddr::V6(address)) if self.port.is_some() => write!(f, "[{address}]")?,
            Name::Address(address) => write!(f, "{address}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_have_four_forms() {
        for (text, host, port, expected) in [
            ("github.com", "github.com", 22, true),
            ("GitHub.com.", "github.com", 443, true),
            ("github.com", "api.github.com", 443, false),
            ("github.com:443", "github.com", 22, false),
            ("*.github.com", "api.github.com", 443, true),
            ("*.github.com", "a.b.github.com", 443, true),
            ("*.github.com", "github.com", 443, false),
            ("*.github.com", "evilgithub.com", 443, false),
            ("*.github.com", ".github.com", 443, false),
            ("*.0.0.1", "10.0.0.1", 1, false),
            ("10.0.0.1", "10.0.0.1", 1, true),
            ("10.0.0.1:6443", "10.0.0.1", 1, false),
            ("fd00::1", "[fd00::1]", 1, true),
            ("[fd00::1]", "fd00::1", 1, true),
            ("[fd00::1]:6443", "fd00:0::1", 6443, true),
        ] {
            let rule: Host = text.parse().unwrap();
            assert_eq!(rule.matches(host, port), expected, "{text} {host}:{port}");
        }
        for (text, shown) in
            [("A.example:1", "a.example:1"), ("*.b", "*.b"), ("[fd00::1]:2", "[fd00::1]:2"), ("::1", "::1")]
        {
            assert_eq!(text.parse::<Host>().unwrap().to_string(), shown);
        }
        for (text, why) in [
            ("https://github.com", "without a scheme"),
            ("10.0.0.0/8", "networks"),
            ("a.example:0", "port"),
            ("a.example:http", "port"),
            ("*", "open"),
            ("*.*", "open"),
            ("a..b", "letters"),
            ("a b", "letters"),
            ("", "letters"),
            ("a.*.b", "letters"),
        ] {
            let error = text.parse::<Host>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn this_machines_addresses_are_known() {
        let own = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
            socket.connect("192.0.2.1:9")?;
            socket.local_addr()
        });
        for (address, expected) in [("127.0.0.1:1", true), ("127.8.9.1:1", false), ("192.0.2.1:1", false)] {
            assert_eq!(is_own(address.parse().unwrap()), expected, "{address}");
        }
        // Without a way to the outside it has none that could be asked for.
        if let Ok(own) = own {
            assert!(is_own(own), "{own}");
        }
    }

    /// An interface's second address, from which nothing is sent: in a network of this test's own.
    #[test]
    fn all_addresses_of_an_interface_are_this_machines() {
        const SET_UP: &str =
            "ip link set lo up && ip address add 10.9.0.5/24 dev lo && ip address add 10.9.0.6/24 dev lo";
        const INSIDE: &str = "SLIPWAY_TEST_INSIDE";
        if std::env::var_os(INSIDE).is_some() {
            for (address, expected) in [("10.9.0.5:22", true), ("10.9.0.6:22", true), ("10.10.0.1:22", false)] {
                assert_eq!(is_own(address.parse().unwrap()), expected, "{address}");
            }
            return;
        }
        let run = |script: &str| {
            let mut command = Command::new("unshare");
            // Whoever isn't root is so in a namespace.
            command
                .args(["--map-root-user", "--net", "sh", "-c", script, "sh"])
                .arg(std::env::current_exe().unwrap())
                .env(INSIDE, "1");
            command.args(["--exact", "runner::network::host::tests::all_addresses_of_an_interface_are_this_machines"]);
            command.output().unwrap()
        };
        if !run(SET_UP).status.success() {
            assert!(std::env::var_os("CI").is_none(), "no network can be made: {:?}", run(SET_UP));
            return;
        }
        let told = run(&format!("{SET_UP} && \"$@\""));
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stdout));
        assert!(String::from_utf8_lossy(&told.stdout).contains("1 passed"), "it is that test");
    }

    #[test]
    fn where_clouds_have_their_metadata_is_nowhere() {
        for address in ["169.254.169.254", "192.0.0.192", "fd00:c1::a9fe:a9fe", "fd00:42::42", "fd00:a9fe:a9fe::1"] {
            assert!(!is_elsewhere(address.parse().unwrap()), "{address}");
        }
        assert!(is_elsewhere("192.0.1.1".parse().unwrap()) && is_elsewhere("fd00:42::43".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(text in "(\\*\\.)?[a-z0-9.:*\\[\\]-]{0,20}") {
            if let Ok(host) = text.parse::<Host>() {
                prop_assert_eq!(host.to_string().parse::<Host>(), Ok(host));
            }
        }
    }
}
