//! Where commands may connect to: `[runner.network]`.
//!
//! Open, they have the engine's network. Restricted, their container has none but its own loopback: what they reach goes through
//! the agent and the job's process, which holds the list of hosts. The service and its registry are always among them.

mod host;
mod proxy;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Deserializer};

pub use self::host::Host;
pub use self::proxy::Proxy;
use crate::names::Namespace;

/// Where the proxy listens inside, if nothing else does.
const FIRST_PORT: u16 = 3128;
/// Read by all of OpenSSH's programs where their own file includes it, as distributions' do.
pub(super) const SSH_CONFIG: &str = "/etc/ssh/ssh_config.d/50-slipway.conf";

/// `[runner.network]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Default `open`.
    pub mode: Mode,
    /// What restricted commands reach besides the service and its registry.
    pub allow: Hosts,
    /// What is otherwise in some namespaces.
    pub namespaces: BTreeMap<Namespace, Other>,
}

/// `[runner.network.namespaces.NAME]`: what is not set is as in `[runner.network]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Other {
    /// Instead of `mode`.
    pub mode: Option<Mode>,
    /// Instead of `allow`.
    pub allow: Option<Hosts>,
}

/// How much of the network commands have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// All that the engine gives.
    #[default]
    Open,
    /// A list of hosts.
    Restricted,
}

/// A list of [`Host`]s; a text with commas is one, too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts(pub Vec<Host>);

impl<'de> Deserialize<'de> for Hosts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts: Vec<String> = crate::config::list(deserializer)?;
        let hosts = texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom));
        Ok(Self(hosts.collect::<Result<_, D::Error>>()?))
    }
}

impl Config {
    /// The rules of a namespace, where `own` are the service and its registry: hosts and ports.
    pub fn of(&self, namespace: &Namespace, own: impl IntoIterator<Item = (String, u16)>) -> Rules {
        let other = self.namespaces.get(namespace);
        match other.and_then(|other| other.mode).unwrap_or(self.mode) {
            Mode::Open => Rules::Open,
            Mode::Restricted => {
                let hosts = other.and_then(|other| other.allow.as_ref()).unwrap_or(&self.allow).0.clone();
                let own = own.into_iter().map(|(host, port)| (host.to_ascii_lowercase(), port)).collect();
                Rules::Restricted(Allowed { hosts, own })
            }
        }
    }

    /// Hosts that are allowed where nothing is forbidden.
    pub(crate) fn problems(&self) -> Vec<String> {
        let modes = self.namespaces.values().map(|other| other.mode.unwrap_or(self.mode));
        let idle = !self.allow.0.is_empty() && modes.chain([self.mode]).all(|mode| mode == Mode::Open);
        let base =
            idle.then(|| "runner.network.allow: nothing is restricted; `mode = \"restricted\"` does it".to_owned());
        let others = self.namespaces.iter().filter_map(|(name, other)| {
            let idle = other.allow.is_some() && other.mode.unwrap_or(self.mode) == Mode::Open;
            idle.then(|| {
                format!(
                    "runner.network.namespaces.{name}.allow: its network is open; `mode = \"restricted\"` changes that"
                )
            })
        });
        base.into_iter().chain(others).collect()
    }
}

/// The rules of one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rules {
    /// There are none.
    Open,
    /// What is not allowed is refused.
    Restricted(Allowed),
}

/// What restricted commands may connect to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    hosts: Vec<Host>,
    /// The service and its registry.
    own: Vec<(String, u16)>,
}

/// Why a connection may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// To the service or its registry, or to an address that the admin has written down: wherever that is.
    Wherever,
    /// By a name, which may lead to addresses that others say.
    ByName,
}

impl Allowed {
    /// Whether a host, as a client names it, may be connected to at a port.
    fn reason(&self, host: &str, port: u16) -> Option<Reason> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if self.own.iter().any(|(own, of)| *own == host && *of == port) {
            return Some(Reason::Wherever);
        }
        let mut matching = self.hosts.iter().filter(|rule| rule.matches(&host, port));
        matching.next().map(|rule| if rule.is_address() { Reason::Wherever } else { Reason::ByName })
    }

    /// Whether that reason holds for an address that the name has led to. The service's own machine is nobody's to reach, and
    /// link-local addresses are where clouds keep their machines' credentials.
    fn reaches(reason: Reason, address: SocketAddr) -> bool {
        reason == Reason::Wherever || host::is_public_enough(address.ip())
    }
}

/// A port of the container's loopback for the proxy, besides those that lead elsewhere.
pub(super) fn proxy_port(forwards: &BTreeMap<u16, SocketAddr>) -> u16 {
    (FIRST_PORT..=u16::MAX).find(|port| !forwards.contains_key(port)).unwrap_or(FIRST_PORT)
}

/// The variables that tools find the proxy by. Go, curl and Python's take both cases, curl takes `http_proxy` in lower case alone.
pub(super) fn variables(port: u16) -> BTreeMap<String, String> {
    let proxy = format!("http://127.0.0.1:{port}");
    let pairs =
        [("HTTP_PROXY", proxy.as_str()), ("HTTPS_PROXY", proxy.as_str()), ("NO_PROXY", "localhost,127.0.0.1,::1")];
    let both =
        |(name, value): (&str, &str)| [name.to_owned(), name.to_ascii_lowercase()].map(|name| (name, value.to_owned()));
    pairs.into_iter().flat_map(both).collect()
}

/// How `ssh` gets through it, by the agent (`ssh_config(5)`, `ProxyCommand`).
pub(super) fn ssh_config(agent: &str, port: u16) -> String {
    format!(
        "Host localhost 127.0.0.1 ::1\n  ProxyCommand none\nHost *\n  ProxyCommand {agent} {} 127.0.0.1:{port} %h %p\n",
        slipway_runner_agent::connect::VERB
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Config, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_namespace_has_its_own_rules_or_everybodys() {
        let config = config(
            "mode = \"restricted\"\nallow = \"github.com, *.example.com:443\"\n[namespaces.ops]\nmode = \"open\"\n\
             [namespaces.web]\nallow = [\"10.0.0.5:6443\"]\n",
        )
        .unwrap();
        assert_eq!(config.problems(), [""; 0]);
        let of = |name: &str| config.of(&name.parse().unwrap(), [("Slipway.example".to_owned(), 443)]);
        assert_eq!(of("ops"), Rules::Open);
        let (Rules::Restricted(dev), Rules::Restricted(web)) = (of("dev"), of("web")) else { panic!("restricted") };
        for (host, port, dev_may, web_may) in [
            ("slipway.example", 443, Some(Reason::Wherever), Some(Reason::Wherever)),
            ("SLIPWAY.example.", 443, Some(Reason::Wherever), Some(Reason::Wherever)),
            ("slipway.example", 80, None, None),
            ("github.com", 22, Some(Reason::ByName), None),
            ("a.example.com", 443, Some(Reason::ByName), None),
            ("a.example.com", 80, None, None),
            ("10.0.0.5", 6443, None, Some(Reason::Wherever)),
            ("10.0.0.6", 6443, None, None),
        ] {
            assert_eq!((dev.reason(host, port), web.reason(host, port)), (dev_may, web_may), "{host}:{port}");
        }
    }

    #[test]
    fn rules_that_do_nothing_are_problems() {
        for (text, expected) in [
            ("allow = [\"a.example\"]", "runner.network.allow: nothing is restricted"),
            ("[namespaces.web]\nallow = [\"a.example\"]", "runner.network.namespaces.web.allow: its network is open"),
        ] {
            assert!(config(text).unwrap().problems()[0].starts_with(expected), "{text}");
        }
        assert!(
            config("allow = [\"a.example\"]\n[namespaces.web]\nmode = \"restricted\"").unwrap().problems().is_empty()
        );
        assert!(config("allow = [\"https://a.example/\"]").unwrap_err().contains("https://a.example/"));
        assert!(config("mode = \"closed\"").unwrap_err().contains("closed"));
    }

    #[test]
    fn a_name_never_leads_to_the_services_own_machine() {
        let leads = |reason, address: &str| Allowed::reaches(reason, address.parse().unwrap());
        for address in
            ["127.0.0.1:80", "[::1]:80", "169.254.169.254:80", "0.0.0.0:80", "[::ffff:127.0.0.1]:80", "[fe80::1]:80"]
        {
            assert!(!leads(Reason::ByName, address) && leads(Reason::Wherever, address), "{address}");
        }
        for address in ["10.0.0.1:80", "192.0.2.1:80", "[2001:db8::1]:80"] {
            assert!(leads(Reason::ByName, address), "{address}");
        }
    }

    #[test]
    fn the_proxy_has_a_port_of_its_own() {
        let taken = |ports: &[u16]| ports.iter().map(|port| (*port, ([127, 0, 0, 1], *port).into())).collect();
        assert_eq!(proxy_port(&taken(&[])), 3128);
        assert_eq!(proxy_port(&taken(&[3128, 3129, 7700])), 3130);
        let variables = variables(3128);
        assert_eq!(variables.len(), 6);
        assert_eq!(variables["https_proxy"], "http://127.0.0.1:3128");
    }
}
