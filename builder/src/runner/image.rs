//! What an image's configuration says about its processes (OCI image specification, `config.md`).

use std::collections::BTreeMap;

use serde::Deserialize;

/// What an image that sets no PATH gets, as from Docker.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The part of the configuration that matters to commands. The entrypoint is not run.
#[derive(Debug, Default, Deserialize)]
pub struct ImageConfig {
    #[serde(default)]
    config: Execution,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Execution {
    env: Option<Vec<String>>,
}

impl ImageConfig {
    /// Reads the JSON.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// The environment that every process in the image has.
    pub fn env(&self) -> BTreeMap<String, String> {
        let mut env =
            BTreeMap::from([("HOME".to_owned(), "/root".to_owned()), ("PATH".to_owned(), DEFAULT_PATH.to_owned())]);
        let set = self.config.env.iter().flatten().filter_map(|entry| entry.split_once('='));
        env.extend(set.map(|(name, value)| (name.to_owned(), value.to_owned())));
        env
    }

    /// Its PATH.
    pub fn path(&self) -> String {
        self.env().remove("PATH").unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_variables_count() {
        let config = ImageConfig::parse(br#"{"config":{"Env":["PATH=/opt/bin","A=b=c"]}}"#).unwrap();
        assert_eq!(config.path(), "/opt/bin");
        assert_eq!(config.env()["A"], "b=c");
        assert_eq!(ImageConfig::parse(br#"{"config":{"Env":null}}"#).unwrap().path(), DEFAULT_PATH);
        assert_eq!(ImageConfig::parse(b"{}").unwrap().env()["HOME"], "/root");
    }
}
