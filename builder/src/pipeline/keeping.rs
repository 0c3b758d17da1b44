//! What the job's environment keeps: as the job finds it, and as the job leaves it.
//!
//! What is left goes into the job's folder, sealed, before a command is said to be done: whatever becomes of this process or of
//! the service then, it is there for who follows the job. It is in no event, since it may be secret.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use slipway_commands::Left;
use slipway_context::Digest;
use slipway_manifest::plan::{CommandsPlan, JobKind};
use slipway_manifest::{ImageEnv, ServiceName};

use crate::environments::kept::{Deployed, Kept};
use crate::jobs::spec::{JobDir, JobSpec};
use crate::names::Namespace;
use crate::seal::Key;

/// What an environment keeps, in the process of a job that is about it.
#[derive(Debug)]
pub struct Keeping {
    kind: JobKind,
    /// As the job found it.
    given: Kept,
    /// As the job leaves it.
    left: Mutex<Kept>,
    dir: JobDir,
    key: Key,
    namespace: Namespace,
    name: String,
}

impl Keeping {
    /// What the service gave to the job.
    pub fn open(dir: &JobDir, spec: &JobSpec, data_dir: &Path) -> io::Result<Self> {
        let (key, namespace, name) = (Key::open(data_dir)?, spec.namespace.clone(), spec.plan.name.clone());
        let given = dir.environment()?.map(|sealed| Kept::unseal(&sealed, &key, &namespace, &name)).transpose();
        let given =
            given.map_err(|error| io::Error::new(error.kind(), format!("the environment `{name}`: {error}")))?;
        let given = given.unwrap_or_default();
        Ok(Self {
            kind: spec.plan.kind,
            left: Mutex::new(given.clone()),
            given,
            dir: dir.clone(),
            key,
            namespace,
            name,
        })
    }

    /// The images that the job's own texts may name: those that it made, and where it makes none of a service, the one that was
    /// deployed. A deploy brings all of its own.
    pub(super) fn images(&self, made: &ImageEnv) -> ImageEnv {
        match self.kind {
            JobKind::Destroy | JobKind::Test => {
                let mut images = self.given.images.clone();
                images.extend_all(made);
                images
            }
            JobKind::Deploy | JobKind::Build => made.clone(),
        }
    }

    /// What is the same for commands as if their image had set it, and weaker than what does.
    pub(super) fn defaults(&self) -> BTreeMap<String, String> {
        match self.kind {
            // A value of before must not hide what this version of the image says.
            JobKind::Deploy => self.given.variables.clone(),
            JobKind::Build | JobKind::Destroy | JobKind::Test => BTreeMap::new(),
        }
    }

    /// What commands get beside it, below all that the job itself sets.
    pub(super) fn env(&self) -> BTreeMap<String, String> {
        let images = self.given.images.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let deployed = self.given.dependencies.clone().into_iter().chain(images);
        match self.kind {
            JobKind::Destroy => deployed.chain(self.given.variables.clone()).collect(),
            JobKind::Test => deployed.collect(),
            JobKind::Build | JobKind::Deploy => BTreeMap::new(),
        }
    }

    /// Values that it was given whose names look secret.
    pub(super) fn secret_by_name(&self) -> impl Iterator<Item = &str> {
        self.given.secret_by_name()
    }

    /// What other applications, deployed before this one, have left for its commands; kept when these begin.
    pub(super) fn depend(&self, dependencies: &BTreeMap<String, String>) {
        if self.kind == JobKind::Deploy {
            self.lock().dependencies.clone_from(dependencies);
        }
    }

    /// A deploy has these images, and is about to run these commands, if there are any.
    pub(super) fn begin(&self, made: &ImageEnv, commands: Option<(&CommandsPlan, &str, Digest)>) -> io::Result<()> {
        if self.kind != JobKind::Deploy {
            return Ok(());
        }
        let mut left = self.lock();
        // One that neither builds nor runs anything (`--no-build`, of images alone) leaves them as they are.
        if commands.is_some() || made.iter().next().is_some() {
            left.images = made.clone();
        }
        left.deployed = commands.map(|(plan, image, tree)| Deployed::new(plan, image, tree));
        if let Some((plan, ..)) = commands {
            left.images.extend_all(&named_images(plan));
        }
        self.write(&left)
    }

    /// For the commands of one container: what they leave is kept, but for tests.
    pub(super) fn left(&self) -> Left<'_> {
        match self.kind {
            JobKind::Deploy | JobKind::Destroy => {
                Left::keeping(self.given.variables.clone(), Box::new(|variables| self.keep(variables)))
            }
            JobKind::Build | JobKind::Test => Left::default(),
        }
    }

    fn keep(&self, variables: &BTreeMap<String, String>) -> io::Result<()> {
        let mut left = self.lock();
        left.variables.clone_from(variables);
        let kept = self.write(&left);
        if let Err(error) = &kept {
            tracing::error!(%error, "can't keep what commands left");
        }
        kept
    }

    fn write(&self, left: &Kept) -> io::Result<()> {
        self.dir.leave(&left.seal(&self.key, &self.namespace, &self.name)?)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Images that the client has looked up itself (`--no-build`), as the commands get them.
fn named_images(plan: &CommandsPlan) -> ImageEnv {
    let mut images = ImageEnv::default();
    for (name, image) in &plan.env {
        let part = name.strip_prefix("OKTETO_BUILD_").and_then(|rest| rest.strip_suffix("_IMAGE"));
        if let Some(service) = part.and_then(|part| ServiceName::sanitised(part).ok()) {
            // What is no reference is no image.
            let _ = images.extend(&service, image);
        }
    }
    images
}

#[cfg(test)]
mod tests {
    use slipway_manifest::plan::Plan;

    use super::*;
    use crate::names::JobId;

    struct Job {
        data: tempfile::TempDir,
        spec: JobSpec,
        dir: JobDir,
    }

    impl Job {
        fn of(kind: JobKind, given: Option<&Kept>) -> Self {
            let data = tempfile::tempdir().unwrap();
            let job = JobId::new();
            let spec = JobSpec {
                job,
                namespace: "dev".parse().unwrap(),
                owner: "me".to_owned(),
                admin: false,
                plan: Plan::empty(kind, "shop"),
                builds: BTreeMap::new(),
                skipped: BTreeMap::new(),
                commands: Vec::new(),
                no_wait: false,
                grace_ms: None,
            };
            let dir = JobDir::new(data.path(), job);
            let key = Key::open(data.path()).unwrap();
            dir.create(&spec, &key, None).unwrap();
            let sealed = given.map(|kept| kept.seal(&key, &spec.namespace, "shop").unwrap());
            dir.give_environment(sealed.as_deref()).unwrap();
            Self { data, spec, dir }
        }

        fn keeping(&self) -> Keeping {
            Keeping::open(&self.dir, &self.spec, self.data.path()).unwrap()
        }

        fn left(&self) -> Option<Kept> {
            let key = Key::open(self.data.path()).unwrap();
            let sealed = self.dir.left().unwrap()?;
            Some(Kept::unseal(&sealed, &key, &self.spec.namespace, "shop").unwrap())
        }
    }

    fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn images(pairs: &[(&str, &str)]) -> ImageEnv {
        let mut images = ImageEnv::default();
        for (service, image) in pairs {
            images.extend(&ServiceName::new(*service).unwrap(), image).unwrap();
        }
        images
    }

    fn kept(variables: &[(&str, &str)]) -> Kept {
        let images = images(&[("web", "r/dev/web@sha256:1")]);
        Kept { variables: texts(variables), images, ..Kept::default() }
    }

    #[test]
    fn each_kind_of_job_gets_its_part() {
        let given = kept(&[("A", "1")]);
        let of = |kind| Job::of(kind, Some(&given)).keeping();
        let made = images(&[("api", "r/dev/api@sha256:2")]);
        let deploy = of(JobKind::Deploy);
        assert_eq!((deploy.defaults(), deploy.env()), (texts(&[("A", "1")]), BTreeMap::new()));
        assert_eq!(deploy.images(&made), made, "a deploy has its own images only");
        let destroy = of(JobKind::Destroy);
        assert_eq!(destroy.defaults(), BTreeMap::new());
        assert_eq!(destroy.env().get("A").map(String::as_str), Some("1"));
        assert_eq!(destroy.env().get("OKTETO_BUILD_WEB_TAG").map(String::as_str), Some("sha256:1"));
        let test = of(JobKind::Test);
        assert!(!test.env().contains_key("A") && test.env().contains_key("OKTETO_BUILD_WEB_IMAGE"));
        assert_eq!(test.images(&made).lookup("OKTETO_BUILD_WEB_SHA"), Some("okteto@sha256:1"));
        assert_eq!(test.images(&images(&[("web", "r/dev/web:2")])).lookup("OKTETO_BUILD_WEB_TAG"), Some("2"));
    }

    #[test]
    fn what_commands_leave_is_kept_at_once_over_what_was_there() {
        let job = Job::of(JobKind::Deploy, Some(&kept(&[("OLD", "1"), ("BOTH", "1")])));
        let keeping = job.keeping();
        keeping.begin(&images(&[("web", "r/dev/web@sha256:9")]), None).unwrap();
        let mut commands = keeping.left();
        let mut warnings = Vec::new();
        let mut take = |content: &[u8]| commands.take(content, &mut |message| warnings.push(message));
        assert_eq!(
            take(b"BOTH=2\nNEW='a b'"),
            [("BOTH".to_owned(), "2".to_owned()), ("NEW".to_owned(), "a b".to_owned())]
        );
        assert_eq!(job.left().unwrap().variables, texts(&[("OLD", "1"), ("BOTH", "2"), ("NEW", "a b")]));
        assert_eq!(take(b"MORE=${NEW}c"), [("MORE".to_owned(), "a bc".to_owned())], "of a command before");
        assert_eq!(take(b"bad line"), []);
        assert_eq!(take(b"\xff"), []);
        let left = job.left().unwrap();
        assert_eq!(left.variables.len(), 4);
        assert_eq!(left.images.lookup("OKTETO_BUILD_WEB_TAG"), Some("sha256:9"));
        assert_eq!(warnings.len(), 2, "{warnings:?}");
    }

    #[test]
    fn a_deploy_without_commands_keeps_its_images() {
        let job = Job::of(JobKind::Deploy, Some(&kept(&[("A", "1")])));
        job.keeping().begin(&ImageEnv::default(), None).unwrap();
        assert_eq!(job.left().unwrap(), kept(&[("A", "1")]), "nothing was built");
        let made = images(&[("api", "r/dev/api@sha256:2")]);
        job.keeping().begin(&made, None).unwrap();
        assert_eq!(job.left().unwrap(), Kept { images: made, ..kept(&[("A", "1")]) });
    }

    #[test]
    fn what_a_deploy_got_of_others_is_there_for_tests_and_destroy() {
        let job = Job::of(JobKind::Deploy, Some(&kept(&[("A", "1")])));
        let keeping = job.keeping();
        keeping.depend(&texts(&[("OKTETO_DEPENDENCY_DB_VARIABLE_URL", "u")]));
        keeping.begin(&ImageEnv::default(), None).unwrap();
        let left = job.left().unwrap();
        assert_eq!(left.variables, texts(&[("A", "1")]), "not what it leaves itself");
        let env = |kind| Job::of(kind, Some(&left)).keeping().env();
        for kind in [JobKind::Test, JobKind::Destroy] {
            assert_eq!(env(kind).get("OKTETO_DEPENDENCY_DB_VARIABLE_URL").map(String::as_str), Some("u"));
        }
        assert!(env(JobKind::Deploy).is_empty(), "it gets those of now");
        // One that depends on nothing any more.
        let job = Job::of(JobKind::Deploy, Some(&left));
        let keeping = job.keeping();
        keeping.depend(&BTreeMap::new());
        keeping.begin(&ImageEnv::default(), None).unwrap();
        assert!(job.left().unwrap().dependencies.is_empty());
    }

    #[test]
    fn a_test_and_a_build_keep_nothing() {
        for kind in [JobKind::Test, JobKind::Build] {
            let job = Job::of(kind, Some(&kept(&[("A", "1")])));
            let keeping = job.keeping();
            keeping.begin(&ImageEnv::default(), None).unwrap();
            assert_eq!(keeping.left().take(b"B=2", &mut |message| panic!("{message}")).len(), 1);
            assert_eq!(job.left(), None);
        }
    }

    #[test]
    fn images_that_the_client_looked_up_are_the_deploys() {
        let env = [("OKTETO_BUILD_MY_API_IMAGE", "r/dev/api@sha256:1"), ("OKTETO_BUILD__IMAGE", "x"), ("A", "1")];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let plan = serde_json::json!({
            "section": "deploy", "image": null, "context": ".", "remote": null, "commands": [], "env": env
        });
        let images = named_images(&serde_json::from_value(plan).unwrap());
        assert_eq!(images.iter().count(), 5);
        assert_eq!(images.lookup("OKTETO_BUILD_MY_API_SHA"), Some("okteto@sha256:1"));
    }
}
