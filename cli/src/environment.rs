//! Every environment name that the command reads, and one snapshot of the environment, taken at the start.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Address of the service.
pub(crate) const SLIPWAY_SERVER: &str = "SLIPWAY_SERVER";
/// The caller's token.
pub(crate) const SLIPWAY_TOKEN: &str = "SLIPWAY_TOKEN";
/// The namespace to work in.
pub(crate) const SLIPWAY_NAMESPACE: &str = "SLIPWAY_NAMESPACE";
/// The manifest.
pub(crate) const SLIPWAY_FILE: &str = "SLIPWAY_FILE";
/// `auto`, `tty`, `plain` or `json`.
pub(crate) const SLIPWAY_OUTPUT: &str = "SLIPWAY_OUTPUT";
/// How much the command says about itself.
pub(crate) const SLIPWAY_LOG_LEVEL: &str = "SLIPWAY_LOG_LEVEL";
/// `false`: contexts are sent whole. The way out, should narrowing ever be wrong.
pub(crate) const SLIPWAY_NARROW: &str = "SLIPWAY_NARROW";
/// Okteto's name for the address of the service.
pub(crate) const OKTETO_CONTEXT: &str = "OKTETO_CONTEXT";
/// Okteto's name for the token.
pub(crate) const OKTETO_TOKEN: &str = "OKTETO_TOKEN";
/// Okteto's name for the namespace.
pub(crate) const OKTETO_NAMESPACE: &str = "OKTETO_NAMESPACE";
/// The address of the service as commands see it; only reserved here.
pub(crate) const OKTETO_URL: &str = "OKTETO_URL";
/// `true`: commands run remotely, whatever the manifest leaves open.
pub(crate) const OKTETO_FORCE_REMOTE: &str = "OKTETO_FORCE_REMOTE";
/// The host of the service's registry, as commands see it.
pub(crate) const OKTETO_REGISTRY_URL: &str = "OKTETO_REGISTRY_URL";
/// `true`: this is a runner.
pub(crate) const OKTETO_DEPLOY_REMOTE: &str = "OKTETO_DEPLOY_REMOTE";
/// The name of the environment.
pub(crate) const OKTETO_NAME: &str = "OKTETO_NAME";
/// The branch of the project.
pub(crate) const OKTETO_GIT_BRANCH: &str = "OKTETO_GIT_BRANCH";
/// The commit of the project.
pub(crate) const OKTETO_GIT_COMMIT: &str = "OKTETO_GIT_COMMIT";
/// Where the project comes from.
pub(crate) const GITHUB_REPOSITORY: &str = "GITHUB_REPOSITORY";
/// The folder of Docker's configuration, which holds what the caller is logged in to.
const DOCKER_CONFIG: &str = "DOCKER_CONFIG";
/// Where kubectl looks for clusters.
pub(crate) const KUBECONFIG: &str = "KUBECONFIG";
/// Where programs are.
pub(crate) const PATH: &str = "PATH";
/// What kind of terminal it is.
const TERM: &str = "TERM";
const XDG_CACHE_HOME: &str = "XDG_CACHE_HOME";
const XDG_CONFIG_HOME: &str = "XDG_CONFIG_HOME";
const HOME: &str = "HOME";

/// Variables that say who and where the caller is: neither `--var` nor `.env` sets them for commands.
pub(crate) const RESERVED: [&str; 4] = [OKTETO_CONTEXT, OKTETO_NAMESPACE, OKTETO_URL, OKTETO_TOKEN];

/// The process environment as it was when the command started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// What the process was given. Variables that are not UTF-8 are left out: nothing here could name or send them.
    pub(crate) fn current() -> Self {
        Self(std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect())
    }

    /// The variable's value; an empty one counts as unset, as scripts write `NAME= slipway …`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether a variable is true, as Go reads it.
    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| ["1", "t", "true"].iter().any(|truth| truth.eq_ignore_ascii_case(value)))
    }

    /// All variables, empty ones included.
    pub(crate) fn vars(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// The same without the variables whose names begin so.
    pub(crate) fn without(&self, prefixes: &[&str]) -> Self {
        let mut vars = self.0.clone();
        vars.retain(|name, _| !prefixes.iter().any(|prefix| name.starts_with(prefix)));
        Self(vars)
    }

    /// Gives a variable a value.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    /// Whether a terminal can draw over what it shows.
    pub(crate) fn can_redraw(&self) -> bool {
        self.get(TERM).is_some_and(|kind| kind != "dumb")
    }

    /// Where `slipway login` keeps what it learns.
    pub(crate) fn contexts_file(&self) -> Option<PathBuf> {
        Some(self.directory(XDG_CONFIG_HOME, ".config")?.join("contexts.json"))
    }

    /// Where that is kept which can be found out again.
    pub(crate) fn cache_dir(&self) -> Option<PathBuf> {
        self.directory(XDG_CACHE_HOME, ".cache")
    }

    /// Where scans of contexts remember what files held.
    pub(crate) fn scan_cache(&self) -> Option<PathBuf> {
        Some(self.cache_dir()?.join("contexts"))
    }

    /// Docker's configuration, whether it is there or not.
    pub(crate) fn docker_config(&self) -> Option<PathBuf> {
        let named = self.get(DOCKER_CONFIG).map(PathBuf::from);
        let folder = named.or_else(|| Some(PathBuf::from(self.get(HOME)?).join(".docker")))?;
        Some(folder.join("config.json"))
    }

    /// Where kubectl looks for its configuration, whether it is there or not.
    pub(crate) fn kubeconfigs(&self) -> Vec<PathBuf> {
        match self.get(KUBECONFIG) {
            Some(paths) => std::env::split_paths(paths).filter(|path| !path.as_os_str().is_empty()).collect(),
            None => self.get(HOME).map(|home| PathBuf::from(home).join(".kube/config")).into_iter().collect(),
        }
    }

    fn directory(&self, xdg: &str, below_home: &str) -> Option<PathBuf> {
        // A relative path in these variables is to be ignored, says their specification.
        let xdg = self.get(xdg).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = xdg.or_else(|| self.get(HOME).map(|home| PathBuf::from(home).join(below_home)))?;
        Some(base.join("slipway"))
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(vars: [(&str, &str); N]) -> Self {
        Self(vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_file_is_under_the_configuration_home() {
        let path = |env: Environment| env.contexts_file().map(|path| path.display().to_string());
        assert_eq!(path([("HOME", "/h")].into()).unwrap(), "/h/.config/slipway/contexts.json");
        assert_eq!(path([("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")].into()).unwrap(), "/x/slipway/contexts.json");
        assert_eq!(
            path([("HOME", "/h"), ("XDG_CONFIG_HOME", "x")].into()).unwrap(),
            "/h/.config/slipway/contexts.json"
        );
        assert_eq!(path(Environment::default()), None);
        let cache = Environment::from([("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]).scan_cache();
        assert_eq!(cache.unwrap(), PathBuf::from("/x/slipway/contexts"));
        let cache = Environment::from([("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]).scan_cache();
        assert_eq!(cache.unwrap(), PathBuf::from("/h/.cache/slipway/contexts"));
    }
}
