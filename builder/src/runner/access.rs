//! What commands may reach besides the service: files that the admin gives, and the caller's SSH agent. All of it is mounted from the
//! session, in memory, and so is in no layer, no definition and no cache.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretSlice};
use serde::Deserialize;

use crate::buildkit::session::secrets::{MAX_SECRET, Secrets};
use crate::buildkit::session::ssh::Agents;
use crate::names::Namespace;
use crate::runner::network;

/// Instead of a file.
const IN_CLUSTER: &str = "in-cluster";
/// Where it gives that (kubernetes.io/docs, "Accessing the Kubernetes API from a Pod").
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const KUBECONFIG: &str = "/okteto/access/kubeconfig";
const CA_BUNDLE: &str = "/okteto/access/ca.pem";
const AGENT: &str = "/okteto/access/ssh-agent.sock";
/// Read by all of OpenSSH's programs, whoever runs them.
const KNOWN_HOSTS: &str = "/etc/ssh/ssh_known_hosts";
/// Which variables name a CA bundle: OpenSSL's, git's, curl's, Python's and Node's.
const CA_VARIABLES: [&str; 5] =
    ["SSL_CERT_FILE", "GIT_SSL_CAINFO", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"];

/// `[runner.access]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// A file of certificates (PEM) that commands trust instead of their image's own: all that they need to.
    pub ca_bundle: Option<PathBuf>,
    /// The kubeconfig of commands, by namespace: a file, or `in-cluster`.
    pub kubeconfigs: BTreeMap<Namespace, Kubeconfig>,
}

/// Where a kubeconfig comes from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum Kubeconfig {
    /// What Kubernetes gives to the service's own pod.
    InCluster,
    /// A file.
    File(PathBuf),
}

impl From<String> for Kubeconfig {
    fn from(text: String) -> Self {
        if text == IN_CLUSTER { Self::InCluster } else { Self::File(text.into()) }
    }
}

/// What commands of one container may reach.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// By where they are.
    files: BTreeMap<&'static str, SecretSlice<u8>>,
    agent: Option<(String, Agents)>,
    /// The port of a proxy, and names of the container itself.
    proxy: Option<(u16, Vec<String>)>,
    /// Values that nobody is to see.
    pub hidden: Vec<String>,
}

impl Config {
    /// The paths of all files.
    pub fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let configs = self.kubeconfigs.values_mut().filter_map(|kubeconfig| match kubeconfig {
            Kubeconfig::InCluster => None,
            Kubeconfig::File(path) => Some(path),
        });
        self.ca_bundle.iter_mut().chain(configs)
    }

    /// Files that can't be opened, each for a line of its own.
    pub fn problems(&self) -> Vec<String> {
        let file = |key: String, path: &Path| {
            let error = File::open(path).err()?;
            Some(format!("{key}: {}: {error}", path.display()))
        };
        let bundle = self.ca_bundle.as_deref().and_then(|path| file("runner.access.ca_bundle".to_owned(), path));
        let configs = self.kubeconfigs.iter().filter_map(|(name, kubeconfig)| match kubeconfig {
            Kubeconfig::InCluster => None,
            Kubeconfig::File(path) => file(format!("runner.access.kubeconfigs.{name}"), path),
        });
        bundle.into_iter().chain(configs).collect()
    }
}

impl Access {
    /// What an admin gives to all commands.
    pub fn new(config: &Config) -> io::Result<Self> {
        let mut access = Self::default();
        if let Some(path) = &config.ca_bundle {
            access.files.insert(CA_BUNDLE, read(path)?.into());
        }
        Ok(access)
    }

    /// What an admin gives to those of a namespace.
    pub fn with_kubeconfig(mut self, config: &Config, namespace: &Namespace) -> io::Result<Self> {
        let Some(source) = config.kubeconfigs.get(namespace) else { return Ok(self) };
        let text = match source {
            Kubeconfig::InCluster => {
                let place =
                    |name: &str| std::env::var(name).map_err(|_| io::Error::other(format!("{name} is not set")));
                let (host, port) = (place("KUBERNETES_SERVICE_HOST")?, place("KUBERNETES_SERVICE_PORT")?);
                let (text, token) = in_cluster(Path::new(SERVICE_ACCOUNT), &host, &port, namespace)?;
                self.hidden.push(token);
                text
            }
            Kubeconfig::File(path) => {
                let text = read(path)?;
                self.hidden.extend(secrets(&String::from_utf8_lossy(&text)));
                text
            }
        };
        self.files.insert(KUBECONFIG, text.into());
        Ok(self)
    }

    /// With an SSH agent of this id, and the hosts that its owner knows.
    #[must_use]
    pub fn with_agent(mut self, id: String, agents: Agents, known_hosts: &str) -> Self {
        self.agent = Some((id, agents));
        if !known_hosts.is_empty() {
            self.files.insert(KNOWN_HOSTS, known_hosts.as_bytes().to_vec().into());
        }
        self
    }

    /// With a proxy at this port of the container's loopback, which has the names `here`; `agent` is the agent's program.
    #[must_use]
    pub(super) fn with_proxy(mut self, agent: &str, port: u16, here: Vec<String>) -> Self {
        let config = network::ssh_config(agent, port, &here);
        self.files.insert(network::SSH_CONFIG, config.into_bytes().into());
        self.proxy = Some((port, here));
        self
    }

    /// The variables that say where it is.
    pub fn env(&self) -> BTreeMap<String, String> {
        let mut env = self.proxy.as_ref().map(|(port, here)| network::variables(*port, here)).unwrap_or_default();
        let mut set = |name: &str, value: &str| drop(env.insert(name.to_owned(), value.to_owned()));
        if self.files.contains_key(CA_BUNDLE) {
            for name in CA_VARIABLES {
                set(name, CA_BUNDLE);
            }
        }
        if self.files.contains_key(KUBECONFIG) {
            set("KUBECONFIG", KUBECONFIG);
        }
        if self.agent.is_some() {
            set("SSH_AUTH_SOCK", AGENT);
        }
        env
    }

    /// Where files are, which are secrets of these ids.
    pub(super) fn files(&self) -> impl Iterator<Item = &'static str> {
        self.files.keys().copied()
    }

    /// Where the SSH agent is, and its id.
    pub(super) fn agent(&self) -> Option<(&'static str, &str)> {
        self.agent.as_ref().map(|(id, _)| (AGENT, id.as_str()))
    }

    /// What the session serves.
    pub(super) fn services(&self) -> (Secrets, Agents) {
        let values = self.files.iter().map(|(dest, value)| ((*dest).to_owned(), value.expose_secret().to_vec()));
        let agents = self.agent.as_ref().map(|(_, agents)| agents.clone()).unwrap_or_default();
        (Secrets::new(values.collect()), agents)
    }
}

/// A file that fits into a secret of BuildKit's.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mut content = Vec::new();
    File::open(path).map_err(named)?.take(MAX_SECRET as u64 + 1).read_to_end(&mut content).map_err(named)?;
    if content.len() > MAX_SECRET {
        return Err(named(io::Error::other(format!("more than {MAX_SECRET} bytes"))));
    }
    Ok(content)
}

/// The kubeconfig of a pod's service account, and its token.
fn in_cluster(dir: &Path, host: &str, port: &str, namespace: &Namespace) -> io::Result<(Vec<u8>, String)> {
    let token = String::from_utf8_lossy(&read(&dir.join("token"))?).trim().to_owned();
    let ca = STANDARD.encode(read(&dir.join("ca.crt"))?);
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": IN_CLUSTER,
            "cluster": { "server": format!("https://{host}:{port}"), "certificate-authority-data": ca },
        }],
        "users": [{ "name": IN_CLUSTER, "user": { "token": token } }],
        "contexts": [{
            "name": IN_CLUSTER,
            "context": { "cluster": IN_CLUSTER, "user": IN_CLUSTER, "namespace": namespace.as_str() },
        }],
        "current-context": IN_CLUSTER,
    });
    // JSON is YAML.
    Ok((serde_json::to_vec(&config)?, token))
}

/// What of a kubeconfig opens something: the values of these keys, however the YAML is written (rather too many than too few).
fn secrets(text: &str) -> Vec<String> {
    const KEYS: [&str; 5] = ["token", "password", "client-key-data", "secret", "value"];
    let found = KEYS.iter().flat_map(|key| text.match_indices(key).map(|(at, key)| &text[at + key.len()..]));
    found.filter_map(value).collect()
}

/// The value that follows a key.
fn value(rest: &str) -> Option<String> {
    let quotes = ['"', '\''];
    let rest = rest.trim_start_matches(quotes).trim_start().strip_prefix(':')?.trim_start();
    // A block begins in the next line.
    let rest = rest.trim_start_matches(['|', '>', '-', '+']).trim_start();
    let value = match rest.chars().next().filter(|first| quotes.contains(first)) {
        Some(quote) => rest[1..].split(quote).next(),
        None => rest.split(|character: char| character.is_whitespace() || ",}".contains(character)).next(),
    };
    value.filter(|value| !value.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn commands_find_what_they_were_given() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("ca"), "certificates").unwrap();
        fs::write(path("kube"), "users:\n- user:\n    token: \"sesame token\"\n  name: token of\n").unwrap();
        let [dev, ops]: [Namespace; 2] = ["dev", "ops"].map(|name| name.parse().unwrap());
        let config = Config {
            ca_bundle: Some(path("ca")),
            kubeconfigs: BTreeMap::from([(dev.clone(), Kubeconfig::from(path("kube").display().to_string()))]),
        };
        assert_eq!(config.problems(), [""; 0]);
        let of = |namespace| Access::new(&config).unwrap().with_kubeconfig(&config, namespace).unwrap();
        let of_dev = of(&dev);
        assert_eq!(of_dev.env().get("KUBECONFIG").map(String::as_str), Some(KUBECONFIG));
        assert_eq!(of_dev.env().len(), 6);
        assert_eq!(of_dev.hidden, ["sesame token"]);
        assert!(!format!("{of_dev:?}").contains("certificates"));
        let of_ops = of(&ops).with_agent("default".to_owned(), Agents::default(), "host ssh-ed25519 AAAA\n");
        assert!(!of_ops.env().contains_key("KUBECONFIG"), "it is another namespace's");
        assert_eq!(of_ops.env().get("SSH_AUTH_SOCK").map(String::as_str), Some(AGENT));
        assert_eq!(of_ops.files().collect::<Vec<_>>(), [KNOWN_HOSTS, CA_BUNDLE]);
        fs::remove_file(path("kube")).unwrap();
        assert_eq!(config.problems().len(), 1);
        let error = Access::default().with_kubeconfig(&config, &dev).unwrap_err().to_string();
        assert!(error.contains("kube"), "{error}");
        fs::write(path("ca"), vec![b'x'; MAX_SECRET + 1]).unwrap();
        assert!(Access::new(&config).is_err());
    }

    #[test]
    fn a_pod_gives_its_service_account() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("token"), "sesame\n").unwrap();
        fs::write(dir.path().join("ca.crt"), "ca").unwrap();
        let (text, token) = in_cluster(dir.path(), "fd00::1", "443", &"dev".parse().unwrap()).unwrap();
        let text: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(text["clusters"][0]["cluster"]["server"], "https://[fd00::1]:443");
        assert_eq!(text["contexts"][0]["context"]["namespace"], "dev");
        assert_eq!((token.as_str(), &text["users"][0]["user"]["token"]), ("sesame", &"sesame".into()));
    }

    #[test]
    fn what_opens_a_cluster_is_found() {
        for (text, expected) in [
            ("    token: abc\n    client-key-data: 'd=='\n", &["abc", "d=="][..]),
            ("  - password: \"p: q\"\n    name: token\n", &["p: q"]),
            ("user: {token: abc}, x", &["abc"]),
            (r#"{"users":[{"user":{"token":"abc","id-token":"def"}}]}"#, &["abc", "def"]),
            ("  token: >-\n    abc\n  tokenFile: /x\n", &["abc"]),
            ("  token: abc # a note\n  env:\n  - name: A\n    value: def\n", &["abc", "def"]),
            ("token:", &[]),
        ] {
            assert_eq!(secrets(text), expected, "{text}");
        }
    }
}
