//! What a job's process needs to know: written when the job is submitted, gone when it ends.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use slipway_commands::GRACE;
use slipway_context::Digest;
use slipway_manifest::ServiceName;
use slipway_manifest::plan::{JobKind, Plan};
use zeroize::Zeroizing;

use crate::names::{JobId, Namespace};
use crate::pipeline::skip::Skipped;
use crate::private_file::{create_private_dir, write_private};
use crate::seal::Key;

const SPEC: &str = "spec.json";
const PLAN: &str = "plan.sealed";
const TOKEN: &str = "token.json";
const SECRETS: &str = "secrets.sealed";
const LOGINS: &str = "logins.sealed";
const ENVIRONMENT: &str = "environment.sealed";
const LEFT: &str = "left.sealed";
const VARIABLES: &str = "variables.sealed";

/// The trees of one build.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BuildRoots {
    /// The build context, after its ignore rules.
    pub context: Digest,
    /// The paths that the context was narrowed to; none: it is complete.
    #[serde(default)]
    pub narrowed_to: Vec<String>,
    /// The Dockerfile and its ignore file.
    pub dockerfile: Digest,
    /// Named contexts that are folders of the client's, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub named: BTreeMap<String, Digest>,
    /// Local caches that it reads, in the plan's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caches: Vec<Digest>,
}

impl BuildRoots {
    /// Those of a build without named contexts and local caches.
    pub fn new(context: Digest, narrowed_to: Vec<String>, dockerfile: Digest) -> Self {
        Self { context, narrowed_to, dockerfile, named: BTreeMap::new(), caches: Vec::new() }
    }

    /// All of them.
    fn all(&self) -> impl Iterator<Item = Digest> {
        [self.context, self.dockerfile]
            .into_iter()
            .chain(self.named.values().copied())
            .chain(self.caches.iter().copied())
    }
}

/// A job, complete.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobSpec {
    /// Its id.
    pub job: JobId,
    /// Where it belongs.
    pub namespace: Namespace,
    /// The user who submitted it.
    pub owner: String,
    /// May write to the global namespace of the registry.
    pub admin: bool,
    /// What it does.
    pub plan: Plan,
    /// The trees of every build.
    pub builds: BTreeMap<ServiceName, BuildRoots>,
    /// Builds that were found to be unnecessary when the job was submitted: their trees need not be there.
    #[serde(default)]
    pub skipped: BTreeMap<ServiceName, Skipped>,
    /// The working directories of the plan's commands, in its order.
    #[serde(deserialize_with = "slipway_manifest::plan::stored::list")]
    pub commands: Vec<Digest>,
    /// It ends rather than wait for another job that changes its environment.
    #[serde(default)]
    pub no_wait: bool,
    /// Milliseconds that its commands may take to end after TERM; none: the usual ones.
    #[serde(default)]
    pub grace_ms: Option<u32>,
}

impl JobSpec {
    /// How long its commands may take to end after TERM.
    pub fn grace(&self) -> Duration {
        self.grace_ms.map_or(GRACE, |ms| Duration::from_millis(ms.into()))
    }

    /// Every image is there, and nothing else was asked for.
    pub fn has_nothing_to_do(&self) -> bool {
        let Plan { kind, builds, .. } = &self.plan;
        // An environment is written down by those who follow a job that runs.
        *kind == JobKind::Build
            && !self.plan.runs_something()
            && builds.iter().all(|build| self.skipped.contains_key(&build.service))
    }

    /// The same without what the plan builds and runs.
    fn outline(&self) -> Self {
        let Plan { kind, name, .. } = &self.plan;
        let plan = Plan::empty(*kind, name.clone());
        Self { plan, ..self.clone() }
    }

    /// Every tree that the job reads, once.
    pub fn roots(&self) -> Vec<Digest> {
        let needed = self.builds.iter().filter(|(service, _)| !self.skipped.contains_key(*service));
        let mut roots: Vec<_> =
            needed.flat_map(|(_, roots)| roots.all()).chain(self.commands.iter().copied()).collect();
        roots.sort_unstable();
        roots.dedup();
        roots
    }
}

/// What the sealed plan belongs to.
fn place(job: JobId) -> String {
    format!("{job} plan")
}

/// The folder of one job under the data directory.
#[derive(Debug, Clone)]
pub struct JobDir(PathBuf);

impl JobDir {
    /// The folder's path; nothing is made.
    pub fn new(data_dir: &Path, job: JobId) -> Self {
        Self(data_dir.join("jobs").join(job.to_string()))
    }

    /// The folder at this path, if it is one.
    pub fn existing(path: &Path) -> Option<Self> {
        path.is_dir().then(|| Self(path.to_owned()))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The event log's folder.
    pub fn events(&self) -> PathBuf {
        self.0.join("events")
    }

    /// Makes the folder and writes the specification; what the plan builds and runs is encrypted, since variables may be in
    /// it. A job's row may outlive a power cut, so all is on the disk before there is one.
    /// `secrets` are the builds', sealed.
    pub fn create(&self, spec: &JobSpec, key: &Key, secrets: Option<&[u8]>) -> io::Result<()> {
        create_private_dir(&self.0)?;
        if let Some(sealed) = secrets {
            write_private(&self.0.join(SECRETS), sealed)?;
        }
        let plan = Zeroizing::new(serde_json::to_vec(&spec.plan)?);
        write_private(&self.0.join(PLAN), &key.seal(&plan, &place(spec.job))?)?;
        self.write_part(SPEC, &spec.outline())?.sync_all()?;
        self.name_part(SPEC)?;
        for dir in [Some(self.0.as_path()), self.0.parent()].into_iter().flatten() {
            fs::File::open(dir)?.sync_all()?;
        }
        Ok(())
    }

    /// Keeps the caller's logins, sealed, in a folder that has been made.
    pub fn keep_logins(&self, sealed: &[u8]) -> io::Result<()> {
        self.keep(LOGINS, sealed)
    }

    /// Keeps what the job has of variables, sealed, in a folder that has been made.
    pub fn keep_variables(&self, sealed: &[u8]) -> io::Result<()> {
        self.keep(VARIABLES, sealed)
    }

    fn keep(&self, name: &str, sealed: &[u8]) -> io::Result<()> {
        write_private(&self.0.join(name), sealed)?;
        fs::File::open(&self.0)?.sync_all()
    }

    /// Reads the specification, without what the plan builds and runs.
    pub fn outline(&self) -> io::Result<JobSpec> {
        self.read(SPEC)
    }

    /// Reads the specification, complete.
    pub fn spec(&self, key: &Key) -> io::Result<JobSpec> {
        let spec = self.outline()?;
        // An older service has written it into the outline.
        let Some(sealed) = self.sealed(PLAN)? else { return Ok(spec) };
        let plan = key.unseal(&sealed, &place(spec.job))?;
        // The parse error could quote it.
        let damaged = |_| io::Error::new(io::ErrorKind::InvalidData, "the job's plan is damaged");
        Ok(JobSpec { plan: serde_json::from_slice(plan.expose_secret()).map_err(damaged)?, ..spec })
    }

    /// Writes the secret of the job's own token.
    pub fn write_token(&self, secret: &str) -> io::Result<()> {
        self.write(TOKEN, &secret)
    }

    /// Reads the secret of the job's own token.
    pub fn token(&self) -> io::Result<SecretString> {
        self.read::<String>(TOKEN).map(SecretString::from)
    }

    /// Reads the builds' secrets, as they were sealed.
    pub fn secrets(&self) -> io::Result<Option<Vec<u8>>> {
        self.sealed(SECRETS)
    }

    /// Reads what the job has of variables, as it was sealed.
    pub fn variables(&self) -> io::Result<Option<Vec<u8>>> {
        self.sealed(VARIABLES)
    }

    /// Reads the caller's logins, as they were sealed.
    pub fn logins(&self) -> io::Result<Option<Vec<u8>>> {
        self.sealed(LOGINS)
    }

    /// Gives the job what its environment keeps, as it was sealed.
    pub fn give_environment(&self, sealed: Option<&[u8]>) -> io::Result<()> {
        let path = self.0.join(ENVIRONMENT);
        match sealed {
            Some(sealed) => write_private(&path, sealed),
            // Of an attempt before.
            None => match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        }
    }

    /// Reads what the job's environment keeps, as it was sealed.
    pub fn environment(&self) -> io::Result<Option<Vec<u8>>> {
        self.sealed(ENVIRONMENT)
    }

    /// Writes what the job leaves to its environment, sealed.
    pub fn leave(&self, sealed: &[u8]) -> io::Result<()> {
        write_private(&self.0.join(LEFT), sealed)
    }

    /// Reads what the job leaves to its environment, as it was sealed.
    pub fn left(&self) -> io::Result<Option<Vec<u8>>> {
        self.sealed(LEFT)
    }

    fn sealed(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.0.join(name)) {
            Ok(sealed) => Ok(Some(sealed)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Forgets what only a job that runs may know.
    pub fn forget_spec(&self) {
        for name in [SPEC, PLAN, TOKEN, SECRETS, LOGINS, VARIABLES, ENVIRONMENT, LEFT] {
            if let Err(error) = fs::remove_file(self.0.join(name))
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %self.0.join(name).display(), %error, "can't remove a file of an ended job");
            }
        }
    }

    /// Writes a JSON file under a temporary name and renames it.
    pub fn write<T: Serialize>(&self, name: &str, value: &T) -> io::Result<()> {
        self.write_part(name, value)?;
        self.name_part(name)
    }

    fn write_part<T: Serialize>(&self, name: &str, value: &T) -> io::Result<fs::File> {
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(self.part(name))?;
        file.write_all(&serde_json::to_vec(value)?)?;
        Ok(file)
    }

    fn name_part(&self, name: &str) -> io::Result<()> {
        fs::rename(self.part(name), self.0.join(name))
    }

    fn part(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.part"))
    }

    /// Reads a JSON file.
    pub fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> io::Result<T> {
        Ok(serde_json::from_slice(&fs::read(self.0.join(name))?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As it was written before plans were encrypted, and had one section of commands at most.
    const OLD: &str = r#"{
        "job": "01900000-0000-7000-8000-000000000001", "namespace": "dev", "owner": "ann", "admin": false,
        "plan": {
            "kind": "deploy", "name": "shop",
            "builds": [{
                "service": "web", "context": ".", "dockerfile": "Dockerfile", "target": null, "args": [], "image": null,
                "depends_on": [], "platforms": [], "no_cache": false
            }],
            "commands": {
                "section": "deploy", "image": null, "context": ".", "remote": true,
                "commands": [{"name": "Go", "command": "go"}], "env": [["A", "b"]]
            }
        },
        "builds": {"web": {"context": "CONTEXT", "dockerfile": "DOCKERFILE"}},
        "commands": "TREE"
    }"#;

    #[test]
    fn a_job_of_an_older_service_is_read_whole() {
        let data = tempfile::tempdir().unwrap();
        let key = Key::open(data.path()).unwrap();
        let job: JobId = "01900000-0000-7000-8000-000000000001".parse().unwrap();
        let dir = JobDir::new(data.path(), job);
        create_private_dir(dir.path()).unwrap();
        let [context, dockerfile, tree] = [b"context".as_slice(), b"dockerfile", b"tree"].map(Digest::of);
        let old = OLD.replace("CONTEXT", &context.to_string()).replace("DOCKERFILE", &dockerfile.to_string());
        let old = old.replace("TREE", &tree.to_string());
        for (commands, texts) in [(old.as_str(), vec!["go"]), (without_commands(&old).as_str(), Vec::new())] {
            fs::write(dir.path().join(SPEC), commands).unwrap();
            let spec = dir.spec(&key).unwrap();
            assert_eq!((spec.job, spec.plan.kind, spec.plan.name.as_str()), (job, JobKind::Deploy, "shop"));
            assert_eq!(spec.plan.builds[0].service.as_str(), "web");
            assert_eq!(spec.builds.values().next().map(|roots| roots.context), Some(context));
            let found = spec.plan.commands.iter().flat_map(|section| &section.commands);
            assert_eq!(found.map(|command| command.command.as_str()).collect::<Vec<_>>(), texts);
            assert_eq!(spec.commands.len(), texts.len());
        }
        // What is written now tells nobody what the plan builds and runs.
        fs::write(dir.path().join(SPEC), &old).unwrap();
        let spec = dir.spec(&key).unwrap();
        dir.create(&spec, &key, None).unwrap();
        let outline = dir.outline().unwrap().plan;
        assert!(outline.builds.is_empty() && outline.commands.is_empty());
        assert_eq!(dir.spec(&key).unwrap().plan, spec.plan);
    }

    fn without_commands(old: &str) -> String {
        let mut old: serde_json::Value = serde_json::from_str(old).unwrap();
        old["commands"] = serde_json::Value::Null;
        old["plan"]["commands"] = serde_json::Value::Null;
        old.to_string()
    }
}
