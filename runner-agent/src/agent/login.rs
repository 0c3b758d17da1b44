//! How commands' tools find the credential helper ([`crate::login`]): its program, and a configuration of Docker's that names it.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read as _},
    os::unix::fs::{DirBuilderExt as _, symlink},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use crate::login::HELPER;

/// Names the folder of Docker's configuration.
const DOCKER_CONFIG: &str = "DOCKER_CONFIG";
/// Its file.
const CONFIG: &str = "config.json";
/// The largest that is read.
const MAX_CONFIG: u64 = 1 << 20;

/// A folder with both; removed when dropped.
pub(crate) struct Login {
    dir: PathBuf,
}

impl Login {
    /// Makes it, with all else that the configuration in `home` says.
    pub(crate) fn create(registry: &str, home: Option<&str>, places: &[&str]) -> io::Result<Self> {
        let mut last = None;
        for place in places {
            let dir = Path::new(place).join(format!(".okteto-login-{}", std::process::id()));
            // Never a folder that is there already.
            match DirBuilder::new().mode(0o700).create(&dir) {
                Ok(()) => {
                    let login = Self { dir };
                    symlink(std::env::current_exe()?, login.dir.join(HELPER))?;
                    fs::write(login.dir.join(CONFIG), config(registry, home).to_string())?;
                    return Ok(login);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
    }

    /// What a command's environment has for it, unless the command has a configuration of its own.
    pub(crate) fn variables(&self, path: Option<&str>, has_own: bool) -> Vec<(&'static str, String)> {
        let dir = self.dir.display();
        let path = path.map_or_else(|| dir.to_string(), |path| format!("{path}:{dir}"));
        let own = (!has_own).then(|| (DOCKER_CONFIG, dir.to_string()));
        [("PATH", path)].into_iter().chain(own).collect()
    }

    /// Whether an environment has a configuration of its own.
    pub(crate) fn has_own(mut names: impl Iterator<Item = impl AsRef<str>>) -> bool {
        names.any(|name| name.as_ref() == DOCKER_CONFIG)
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        // It's in a container that goes away; what can't be removed stays.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn config(registry: &str, home: Option<&str>) -> Value {
    let mut config = home.and_then(read).unwrap_or_default();
    let helpers = config.entry("credHelpers").or_insert_with(|| Value::Object(Map::new()));
    let name = HELPER.trim_start_matches("docker-credential-");
    match helpers {
        Value::Object(helpers) => drop(helpers.insert(registry.to_owned(), name.into())),
        // No tool could read it either.
        other => *other = serde_json::json!({ registry: name }),
    }
    Value::Object(config)
}

fn read(home: &str) -> Option<Map<String, Value>> {
    let file = File::open(Path::new(home).join(".docker").join(CONFIG)).ok()?;
    let mut text = Vec::new();
    file.take(MAX_CONFIG).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_own_configuration_stays() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap();
        let docker = dir.path().join(".docker");
        fs::create_dir(&docker).unwrap();
        for (own, expected) in [
            ("", r#"{"credHelpers":{"r.example":"okteto"}}"#),
            ("[]", r#"{"credHelpers":{"r.example":"okteto"}}"#),
            (r#"{"credHelpers":1}"#, r#"{"credHelpers":{"r.example":"okteto"}}"#),
            (
                r#"{"auths":{"a":{"auth":"x"}},"credHelpers":{"b":"c"}}"#,
                r#"{"auths":{"a":{"auth":"x"}},"credHelpers":{"b":"c","r.example":"okteto"}}"#,
            ),
        ] {
            fs::write(docker.join(CONFIG), own).unwrap();
            assert_eq!(config("r.example", Some(home)).to_string(), expected);
        }
        assert_eq!(config("r.example", None).to_string(), r#"{"credHelpers":{"r.example":"okteto"}}"#);
    }

    #[test]
    fn it_is_where_there_is_a_place_and_gone_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().to_str().unwrap();
        let login = Login::create("r.example", None, &[&format!("{place}/not-there"), place]).unwrap();
        let path = login.dir.clone();
        assert!(path.join(HELPER).is_symlink() && path.join(CONFIG).exists());
        let shown = path.display().to_string();
        assert_eq!(
            login.variables(Some("/bin"), false),
            [("PATH", format!("/bin:{shown}")), (DOCKER_CONFIG, shown.clone())]
        );
        assert_eq!(login.variables(None, true), [("PATH", shown)]);
        assert!(Login::has_own(["A", "DOCKER_CONFIG"].iter()) && !Login::has_own(["A"].iter()));
        assert!(Login::create("r.example", None, &[place]).is_err(), "it is taken");
        drop(login);
        assert!(!path.exists());
    }
}
