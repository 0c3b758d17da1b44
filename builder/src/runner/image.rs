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
    user: Option<String>,
    working_dir: Option<String>,
}

impl ImageConfig {
    /// Reads the JSON.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// The environment that every process in the image has. Without a HOME of the image's it is the user's.
    pub fn env(&self) -> BTreeMap<String, String> {
        let mut env = BTreeMap::from([("PATH".to_owned(), DEFAULT_PATH.to_owned())]);
        let set = self.config.env.iter().flatten().filter_map(|entry| entry.split_once('='));
        env.extend(set.map(|(name, value)| (name.to_owned(), value.to_owned())));
        env
    }

    /// Who its processes run as: a user or an id, maybe with a group; empty: root.
    pub fn user(&self) -> &str {
        self.config.user.as_deref().unwrap_or_default()
    }

    /// Where its processes begin.
    pub fn working_dir(&self) -> &str {
        self.config.working_dir.as_deref().filter(|dir| !dir.is_empty()).unwrap_or("/")
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
        let empty = ImageConfig::parse(b"{}").unwrap();
        assert_eq!((empty.user(), empty.working_dir(), empty.env().get("HOME")), ("", "/", None));
        let config =
            ImageConfig::parse(br#"{"config":{"User":"app:staff","WorkingDir":"/srv","Env":["HOME=/h"]}}"#).unwrap();
        assert_eq!((config.user(), config.working_dir(), config.env()["HOME"].as_str()), ("app:staff", "/srv", "/h"));
    }
}
