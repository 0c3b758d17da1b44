//! What is kept with an environment, and its form on the disk.

use std::collections::BTreeMap;
use std::{fmt, io};

use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use slipway_context::Digest;
use slipway_manifest::ImageEnv;
use slipway_manifest::git_url::GitUrl;
use slipway_manifest::plan::{Command, CommandsPlan};
use slipway_manifest::variables::looks_secret;
use zeroize::Zeroizing;

use crate::names::Namespace;
use crate::seal::Key;

/// All that is kept with one environment.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its images, as its deploy commands got them.
    #[serde(default)]
    pub images: ImageEnv,
    /// What its commands left in `$OKTETO_ENV`. May be secret.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// What its commands got of other applications that were deployed before it. May be secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dependencies: BTreeMap<String, String>,
    /// What was deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployed: Option<Deployed>,
}

/// The version of what was deployed last, whether or not that went well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// Of all that the commands are: their texts, their image, the tree they ran in.
    pub digest: Digest,
    /// The tree alone.
    pub tree: Digest,
    /// The image that they ran in.
    pub image: String,
    /// The commands, in order.
    pub commands: Vec<DeployedCommand>,
    /// Where the source comes from, where the client said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Its branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Its commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// One command that was deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployedCommand {
    /// As logs call it.
    pub name: String,
    /// Of its text.
    pub digest: Digest,
}

// === impl Kept ===

impl Kept {
    /// Encrypted; it opens for the same environment only.
    pub fn seal(&self, key: &Key, namespace: &Namespace, name: &str) -> io::Result<Vec<u8>> {
        let plain = Zeroizing::new(serde_json::to_vec(self)?);
        Ok(key.seal(&plain, &belongs(namespace, name))?)
    }

    /// Values that were left under names that look secret, here or by what this depends on.
    pub fn secret_by_name(&self) -> impl Iterator<Item = &str> {
        let secret = self.variables.iter().chain(&self.dependencies).filter(|(name, _)| looks_secret(name));
        secret.map(|(_, value)| value.as_str())
    }

    /// What was sealed for the same environment.
    pub fn unseal(sealed: &[u8], key: &Key, namespace: &Namespace, name: &str) -> io::Result<Self> {
        let plain = key.unseal(sealed, &belongs(namespace, name))?;
        // The error of the parser could hold a piece of a value.
        let damaged = |_| io::Error::new(io::ErrorKind::InvalidData, "it is damaged, or of another version");
        serde_json::from_slice(plain.expose_secret()).map_err(damaged)
    }
}

impl fmt::Debug for Kept {
    /// Values are nobody's to see.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.variables.keys().collect();
        f.debug_struct("Kept")
            .field("images", &self.images)
            .field("variables", &names)
            .field("dependencies", &self.dependencies.keys())
            .field("deployed", &self.deployed)
            .finish()
    }
}

fn belongs(namespace: &Namespace, name: &str) -> String {
    format!("environment\0{namespace}\0{name}")
}

// === impl Deployed ===

impl Deployed {
    /// The version of these commands, in this image and tree.
    pub fn new(plan: &CommandsPlan, image: &str, tree: Digest) -> Self {
        let of = |command: &Command| DeployedCommand {
            name: command.name.clone(),
            digest: Digest::of(command.command.as_bytes()),
        };
        let commands: Vec<_> = plan.commands.iter().map(of).collect();
        let mut all = format!("{image}\0{}\0", tree.hex());
        all.extend(commands.iter().map(|command| command.digest.hex()));
        let given = |name: &str| {
            let value = plan.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
            value.filter(|value| !value.is_empty())
        };
        Self {
            digest: Digest::of(all.as_bytes()),
            tree,
            image: image.to_owned(),
            commands,
            repository: given("GITHUB_REPOSITORY").map(without_credentials),
            branch: given("OKTETO_GIT_BRANCH").map(str::to_owned),
            commit: given("OKTETO_GIT_COMMIT").map(str::to_owned),
        }
    }
}

/// A repository without the user and password that its URL may hold.
fn without_credentials(repository: &str) -> String {
    // What is no URL may hold them as well.
    let rest = || repository.rsplit('@').next().unwrap_or_default().to_owned();
    GitUrl::parse(repository).map_or_else(|_| rest(), |url| url.without_credentials())
}

#[cfg(test)]
mod tests {
    use slipway_manifest::plan::Section;

    use super::*;

    fn plan(commands: &[&str]) -> CommandsPlan {
        let command = |text: &&str| Command { name: "Deploy".to_owned(), command: (*text).to_owned() };
        let repository = ("GITHUB_REPOSITORY".to_owned(), "https://me:pw@git.example/a/b".to_owned());
        CommandsPlan {
            section: Section::Deploy,
            test: None,
            keep_going: false,
            required: Vec::new(),
            testing: slipway_manifest::plan::TestOptions::default(),
            image: None,
            context: ".".to_owned(),
            remote: None,
            commands: commands.iter().map(command).collect(),
            env: vec![("OKTETO_GIT_COMMIT".to_owned(), "abc".to_owned()), repository],
        }
    }

    #[test]
    fn what_is_kept_opens_for_its_environment_only_and_shows_no_value() {
        let dir = tempfile::tempdir().unwrap();
        let key = Key::open(dir.path()).unwrap();
        let variables = BTreeMap::from([("PASSWORD".to_owned(), "open sesame".to_owned())]);
        let deployed = Some(Deployed::new(&plan(&["a"]), "image", Digest::of(b"tree")));
        let kept = Kept { variables, deployed, ..Kept::default() };
        let [dev, ops] = ["dev", "ops"].map(|name| name.parse::<Namespace>().unwrap());
        let sealed = kept.seal(&key, &dev, "shop").unwrap();
        assert!(!sealed.windows(6).any(|bytes| bytes == b"sesame") && !format!("{kept:?}").contains("sesame"));
        assert_eq!(Kept::unseal(&sealed, &key, &dev, "shop").unwrap(), kept);
        for (namespace, name) in [(&dev, "other"), (&ops, "shop")] {
            assert!(Kept::unseal(&sealed, &key, namespace, name).is_err());
        }
    }

    #[test]
    fn the_version_is_that_of_texts_image_and_tree() {
        let version = |texts: &[&str], image: &str, tree: &[u8]| Deployed::new(&plan(texts), image, Digest::of(tree));
        let all = [
            version(&["a"], "image", b"tree"),
            version(&["b"], "image", b"tree"),
            version(&["a", "a"], "image", b"tree"),
            version(&["a"], "other", b"tree"),
            version(&["a"], "image", b"other"),
        ];
        let digests: std::collections::BTreeSet<_> = all.iter().map(|version| version.digest).collect();
        assert_eq!(digests.len(), all.len());
        assert_eq!(version(&["a"], "image", b"tree"), all[0]);
        assert_eq!(all[0].commit.as_deref(), Some("abc"));
        assert_eq!(all[0].repository.as_deref(), Some("https://git.example/a/b"));
    }
    #[test]
    fn a_repository_is_kept_without_what_opens_it() {
        for (url, kept) in [
            ("https://token@git.example/a.git", "https://git.example/a.git"),
            ("https://git.example/a@b", "https://git.example/a@b"),
            ("git@git.example:a/b", "git@git.example:a/b"),
            ("acme/app", "acme/app"),
            // No URL of a repository.
            ("https://a:b@c@git.example", "git.example"),
        ] {
            assert_eq!(without_credentials(url), kept);
        }
    }
}
