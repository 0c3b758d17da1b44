//! The service's variables in a job: what its commands find in their environment, and what nobody is to see of it. Encrypted in
//! the job's folder until it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::{Deserialize, Serialize};
use slipway_commands::dependency::GIT_AUTH;
use slipway_commands::{room, sparing};
use slipway_manifest::plan::{DependencyPlan, Plan};
use slipway_mask::Masks;
use zeroize::Zeroizing;

use super::Pipeline;
use super::keeping::Keeping;
use super::secrets::Secrets;
use crate::names::{JobId, Namespace};
use crate::registry::{Login, Logins};
use crate::seal::Key;
use crate::variables::VariableKind;

/// Values that a client wants masked, and the bytes of all of them.
const MAX_MASKED: usize = 2000;
const MAX_MASKED_BYTES: usize = 1 << 20;

/// What a job has of variables besides what its plan says.
#[derive(Debug, Clone, Default)]
pub struct JobVariables {
    /// The service's, for commands.
    commands: BTreeMap<String, Given>,
    /// Values that nobody is to see.
    masked: Vec<SecretString>,
}

/// One variable of the service's.
#[derive(Debug, Clone)]
pub struct Given {
    /// Who sees its value.
    pub kind: VariableKind,
    /// Its value.
    pub value: SecretSlice<u8>,
}

/// Why these can't be masked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooMuchMasked {
    /// Too many.
    #[error("more than {MAX_MASKED} values")]
    Values,
    /// Too large.
    #[error("more than {MAX_MASKED_BYTES} bytes in all values")]
    Bytes,
}

/// On its way to the disk, where it is encrypted.
#[derive(Serialize, Deserialize)]
struct Stored {
    /// Whether it is plain, and its value.
    commands: BTreeMap<String, (bool, Zeroizing<String>)>,
    /// Those of the others that clients may know.
    #[serde(default)]
    known: BTreeSet<String>,
    masked: Vec<Zeroizing<String>>,
}

// === impl JobVariables ===

impl JobVariables {
    /// Those that a client wants masked.
    pub fn masking(values: Vec<String>) -> Result<Self, TooMuchMasked> {
        if values.len() > MAX_MASKED {
            return Err(TooMuchMasked::Values);
        }
        if values.iter().map(String::len).sum::<usize>() > MAX_MASKED_BYTES {
            return Err(TooMuchMasked::Bytes);
        }
        Ok(Self { commands: BTreeMap::new(), masked: values.into_iter().map(SecretString::from).collect() })
    }

    /// Adds the service's: commands get all of them; without commands, those that the plan was expanded with are masked.
    pub fn add(&mut self, given: BTreeMap<String, Given>, has_commands: bool) {
        if has_commands {
            self.commands.extend(given);
            return;
        }
        let masked = given.into_values().filter(|given| given.kind == VariableKind::Masked);
        self.masked.extend(masked.filter_map(|given| given.text().map(SecretString::from)));
    }

    /// Adds what another job has, whose command this one is of: what nobody is to see of it, and the service's variables, which
    /// that command has in its environment.
    pub fn inherit(&mut self, other: &Self, has_commands: bool) {
        if has_commands {
            self.commands.extend(other.commands.clone());
        }
        self.masked.extend(other.masked.iter().cloned());
        let hidden = other.commands.values().filter(|given| given.kind != VariableKind::Plain);
        self.masked.extend(hidden.filter_map(|given| given.text().map(SecretString::from)));
    }

    /// Adds values that nobody is to see.
    pub fn mask(&mut self, values: impl IntoIterator<Item = SecretString>) {
        self.masked.extend(values);
    }

    /// The names of those that commands get.
    #[cfg(test)]
    pub(crate) fn names(&self) -> Vec<String> {
        self.commands.keys().cloned().collect()
    }

    /// One of the service's variables that its commands have.
    pub fn given(&self, name: &str) -> Option<&Given> {
        self.commands.get(name).filter(|_| !name.starts_with(GIT_AUTH))
    }

    /// All of them.
    pub fn all_given(&self) -> impl Iterator<Item = (&String, &Given)> {
        self.commands.iter().filter(|(name, _)| !name.starts_with(GIT_AUTH))
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.masked.is_empty()
    }

    /// Encrypted for the job's folder.
    pub fn seal(&self, key: &Key, job: JobId) -> io::Result<Vec<u8>> {
        let encode = |given: &Given| Zeroizing::new(STANDARD.encode(given.value.expose_secret()));
        let command =
            |(name, given): (&String, &Given)| (name.clone(), (given.kind == VariableKind::Plain, encode(given)));
        let masked = self.masked.iter().map(|value| Zeroizing::new(value.expose_secret().to_owned()));
        let known = self.commands.iter().filter(|(_, given)| given.kind == VariableKind::Masked);
        let known = known.map(|(name, _)| name.clone()).collect();
        let stored = Stored { commands: self.commands.iter().map(command).collect(), known, masked: masked.collect() };
        Ok(key.seal(&Zeroizing::new(serde_json::to_vec(&stored)?), &place(job))?)
    }

    /// What was sealed for the job.
    pub fn unseal(sealed: &[u8], key: &Key, job: JobId) -> io::Result<Self> {
        let damaged =
            || io::Error::new(io::ErrorKind::InvalidData, "the job's variables are damaged, or not this job's");
        let plain = key.unseal(sealed, &place(job)).map_err(|_| damaged())?;
        // The parse error could quote them.
        let stored: Stored = serde_json::from_slice(plain.expose_secret()).map_err(|_| damaged())?;
        let command = |(name, (plain, text)): (String, (bool, Zeroizing<String>))| {
            let kind = match plain {
                true => VariableKind::Plain,
                false if stored.known.contains(&name) => VariableKind::Masked,
                false => VariableKind::Secret,
            };
            let value = STANDARD.decode(text.as_bytes()).map(SecretSlice::from).map_err(|_| damaged())?;
            Ok((name, Given { kind, value }))
        };
        let commands = stored.commands.into_iter().map(command).collect::<io::Result<_>>()?;
        let masked = stored.masked.iter().map(|text| SecretString::from(text.as_str())).collect();
        Ok(Self { commands, masked })
    }

    /// What commands find in their environment, and what is wrong with those that they can't.
    fn for_commands(&self) -> (BTreeMap<String, String>, Vec<String>) {
        // What is no text is told as what holds a NUL.
        let text = |given| Given::text(given).unwrap_or("\0");
        room::fitting(self.commands.iter().map(|(name, given)| (name.as_str(), text(given))))
    }
}

impl Given {
    fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.value.expose_secret()).ok()
    }
}

/// They can't be taken for anything else of the job's.
fn place(job: JobId) -> String {
    format!("{job} variables")
}

impl Pipeline {
    /// The service's variables for commands. Those that can't be theirs are warned about; what opens repositories is not for them.
    pub(super) fn service_variables(&self) -> BTreeMap<String, String> {
        let (mut env, left_out) = self.variables.for_commands();
        for message in left_out {
            self.events.warn_once(message);
        }
        env.retain(|name, _| !name.starts_with(GIT_AUTH));
        env
    }

    /// Those of the service's variables that open repositories.
    pub(super) fn git_tokens(&self) -> BTreeMap<String, String> {
        let tokens = self.variables.commands.iter().filter(|(name, _)| name.starts_with(GIT_AUTH));
        tokens.filter_map(|(name, given)| Some((name.clone(), given.text()?.to_owned()))).collect()
    }
}

/// What is not to be seen in what people read of a job.
#[derive(Debug, Clone, Copy)]
pub struct Hidden<'a> {
    /// The values of its builds' secrets.
    pub secrets: &'a Secrets,
    /// Its caller's.
    pub logins: &'a Logins,
    /// The variables of the service's, and of the caller's.
    pub variables: &'a JobVariables,
    /// Its own.
    pub token: Option<&'a SecretString>,
    /// What its environment keeps.
    pub keeping: Option<&'a Keeping>,
}

impl Hidden<'_> {
    /// The masks for a job of this plan. What the job itself is called is everywhere, and no secret.
    pub fn masks(&self, plan: &Plan, namespace: &Namespace, owner: &str) -> Masks {
        let others = [namespace.as_str(), owner].into_iter();
        let others = others.chain(plan.builds.iter().map(|build| build.service.as_str()));
        let others = others.chain(plan.dependencies.iter().map(|dependency| dependency.name.as_str()));
        let masks = sparing(&plan.name, others);
        let Self { secrets, logins, variables, token, keeping } = *self;
        let given = variables.commands.values().filter(|given| given.kind != VariableKind::Plain);
        let logins = logins.iter().map(|(_, login)| match login {
            Login::Password { password: secret, .. } | Login::Identity(secret) | Login::Token(secret) => secret,
        });
        let texts = variables.masked.iter().chain(logins).chain(token);
        let values = secrets.values().chain(given.map(|given| &given.value)).map(ExposeSecret::expose_secret);
        let values = values.chain(texts.map(|text| text.expose_secret().as_bytes()));
        let kept = keeping.into_iter().flat_map(Keeping::secret_by_name);
        let values = values.chain(kept.map(str::as_bytes));
        let of_dependencies: Vec<String> = plan.dependencies.iter().flat_map(DependencyPlan::secrets).collect();
        masks.and(values.chain(of_dependencies.iter().map(String::as_bytes)))
    }
}

#[cfg(test)]
mod tests {
    use slipway_manifest::plan::JobKind;

    use super::*;
    use crate::pipeline::input::tests::plain_build;

    fn given(kind: VariableKind, value: &[u8]) -> Given {
        Given { kind, value: SecretSlice::from(value.to_vec()) }
    }

    fn some() -> BTreeMap<String, Given> {
        let some = [
            ("P", given(VariableKind::Plain, b"plain value")),
            ("M", given(VariableKind::Masked, b"masked value")),
            ("S", given(VariableKind::Secret, b"secret value")),
        ];
        some.map(|(name, given)| (name.to_owned(), given)).into()
    }

    #[test]
    fn what_is_sealed_is_read_by_its_job_only() {
        let dir = tempfile::tempdir().unwrap();
        let (key, job) = (Key::open(dir.path()).unwrap(), JobId::new());
        let mut variables = JobVariables::masking(vec!["of --var".to_owned()]).unwrap();
        variables.add(some(), true);
        let sealed = variables.seal(&key, job).unwrap();
        assert!(!sealed.windows(5).any(|bytes| bytes == b"value" || bytes == b"--var"));
        assert!(!format!("{variables:?}").contains("ed value"));
        let read = JobVariables::unseal(&sealed, &key, job).unwrap();
        assert_eq!(read.for_commands(), variables.for_commands());
        assert_eq!(read.masked[0].expose_secret(), "of --var");
        assert!(JobVariables::unseal(&sealed, &key, JobId::new()).is_err());
        assert!(Secrets::unseal(&sealed, &key, job).is_err());
    }

    #[test]
    fn commands_get_what_fits_into_an_environment() {
        let mut variables = JobVariables::default();
        let more = [("A", vec![0xff]), ("LARGE", vec![b'x'; 128 << 10])];
        let more = more.map(|(name, value)| (name.to_owned(), given(VariableKind::Secret, &value)));
        variables.add(some().into_iter().chain(more).collect(), true);
        let (env, left_out) = variables.for_commands();
        assert_eq!(env.keys().collect::<Vec<_>>(), ["M", "P", "S"]);
        assert_eq!(left_out.len(), 2, "{left_out:?}");
        assert!(left_out[0].contains("`A`: it is no text"), "{left_out:?}");
    }

    #[test]
    fn what_opens_repositories_is_not_for_commands() {
        let mut variables = JobVariables::default();
        let token = ("GIT_AUTH_TOKEN_GIT_EXAMPLE".to_owned(), given(VariableKind::Masked, b"opens it"));
        variables.add(some().into_iter().chain([token]).collect(), true);
        assert!(variables.given("M").is_some() && variables.given("GIT_AUTH_TOKEN_GIT_EXAMPLE").is_none());
        assert_eq!(variables.all_given().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["M", "P", "S"]);
        let mut inner = JobVariables::default();
        inner.inherit(&variables, true);
        assert_eq!(inner.for_commands(), variables.for_commands(), "its own dependencies need it");
    }

    #[test]
    fn a_job_without_commands_masks_what_its_plan_may_hold_and_one_of_a_command_what_that_has() {
        let (mut build, mut inner) = (JobVariables::default(), JobVariables::default());
        build.add(some(), false);
        let masked =
            |of: &JobVariables| of.masked.iter().map(|value| value.expose_secret().to_owned()).collect::<Vec<_>>();
        assert!(build.commands.is_empty());
        assert_eq!(masked(&build), ["masked value"]);
        let mut deploy = JobVariables::masking(vec!["of --var".to_owned()]).unwrap();
        deploy.add(some(), true);
        inner.inherit(&deploy, false);
        assert_eq!(masked(&inner), ["of --var", "masked value", "secret value"]);
        assert!(inner.commands.is_empty());
        let mut inner = JobVariables::default();
        inner.inherit(&deploy, true);
        assert_eq!(inner.for_commands(), deploy.for_commands());
        assert_eq!(JobVariables::masking(vec![String::new(); MAX_MASKED + 1]).unwrap_err(), TooMuchMasked::Values);
        assert_eq!(JobVariables::masking(vec!["x".repeat(MAX_MASKED_BYTES + 1)]).unwrap_err(), TooMuchMasked::Bytes);
    }

    #[test]
    fn what_a_job_is_called_is_no_secret() {
        let mut variables = JobVariables::masking(vec!["my-application".to_owned(), "of --var".to_owned()]).unwrap();
        let names =
            ["my-namespace", "somebody", "web-service"].map(|name| given(VariableKind::Masked, name.as_bytes()));
        let names = names.into_iter().enumerate().map(|(n, given)| (format!("N{n}"), given));
        variables.add(some().into_iter().chain(names).collect(), true);
        let plan = Plan { builds: vec![plain_build("web-service")], ..Plan::empty(JobKind::Build, "my-application") };
        let password = Login::Password { username: "me".to_owned(), password: "login password".to_owned().into() };
        let logins = Logins::new([("a.example".parse().unwrap(), password)]).unwrap();
        let token = SecretString::from("slw_token");
        let hidden = Hidden {
            secrets: &Secrets::default(),
            logins: &logins,
            variables: &variables,
            token: Some(&token),
            keeping: None,
        };
        let masks = hidden.masks(&plan, &"my-namespace".parse().unwrap(), "somebody");
        let names = "my-application my-namespace somebody web-service plain value";
        assert_eq!(masks.text(names), names);
        assert_eq!(
            masks.text("masked value, secret value, login password, slw_token, of --var"),
            "***, ***, ***, ***, ***"
        );
    }
}
