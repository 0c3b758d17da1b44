//! The variables that a manifest is expanded with, and which of two of the same name counts.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::names::is_variable_name;

/// Names that only the service gives values to: `--var` can't.
pub const RESERVED: [&str; 4] = ["OKTETO_CONTEXT", "OKTETO_NAMESPACE", "OKTETO_URL", "OKTETO_TOKEN"];

/// Says who deploys.
pub(crate) const ORIGIN: &str = "OKTETO_ORIGIN";

/// What the process environment says of where a deploy comes from, for commands that may want to know: as in Okteto, and nothing
/// else of it.
pub const FORWARDED: [&str; 9] = [
    "OKTETO_GIT_BRANCH",
    "OKTETO_GIT_COMMIT",
    "GITHUB_REPOSITORY",
    "OKTETO_IS_PREVIEW_ENVIRONMENT",
    ORIGIN,
    "OKTETO_DEPLOY_TYPE",
    "OKTETO_WORKFLOW_ID",
    "OKTETO_PARENT_WORKFLOW_ID",
    "OKTETO_ACTION_NAME",
];

/// Layers of variables. `--var` beats the process environment, that beats `.env`, that beats the service's.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    flags: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    dotenv: BTreeMap<String, String>,
    service: Vec<BTreeMap<String, String>>,
    write_only: BTreeSet<String>,
    defaults: BTreeMap<String, String>,
}

/// A variable that can't be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VariableError {
    /// One of [`RESERVED`].
    #[error("`{0}` is set by the service and can't be overridden")]
    Reserved(String),
    /// Not `NAME=value`.
    #[error("`{0}` is not of the form NAME=value")]
    NotAnAssignment(String),
    /// Not a name that a shell can hold.
    #[error("`{0}` can't be the name of a variable")]
    Name(String),
}

impl Variables {
    /// Adds the values of `--var`; the last one of a name counts.
    pub fn with_flags(mut self, flags: impl IntoIterator<Item = (String, String)>) -> Result<Self, VariableError> {
        for (name, value) in flags {
            if RESERVED.contains(&name.as_str()) {
                return Err(VariableError::Reserved(name));
            }
            if !is_variable_name(&name) {
                return Err(VariableError::Name(name));
            }
            self.flags.insert(name, value);
        }
        Ok(self)
    }

    /// Adds the caller's process environment.
    #[must_use]
    pub fn with_environment(mut self, environment: impl IntoIterator<Item = (String, String)>) -> Self {
        self.environment.extend(environment);
        self
    }

    /// Adds the variables of `.env`.
    #[must_use]
    pub fn with_dotenv(mut self, dotenv: impl IntoIterator<Item = (String, String)>) -> Self {
        self.dotenv.extend(dotenv);
        self
    }

    /// Adds one more scope of the service's variables, below those that are there: user, then namespace, then admin.
    #[must_use]
    pub fn with_service(mut self, scope: impl IntoIterator<Item = (String, String)>) -> Self {
        self.service.push(scope.into_iter().collect());
        self
    }

    /// Adds the names of those of the service's whose values never leave it.
    #[must_use]
    pub fn with_write_only(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.write_only.extend(names);
        self
    }

    /// Adds values of names that have none, or an empty one, anywhere else.
    #[must_use]
    pub fn with_defaults(mut self, defaults: impl IntoIterator<Item = (String, String)>) -> Self {
        self.defaults.extend(defaults);
        self
    }

    /// Whether the variable has a value, and only the service knows it.
    pub fn is_write_only(&self, name: &str) -> bool {
        self.write_only.contains(name) && self.get(name).is_none()
    }

    /// Whether it is true in any layer: one that says something else does not undo it.
    pub fn is_true_anywhere(&self, name: &str) -> bool {
        let truths = ["1", "t", "true"];
        let is_true = |value: &String| truths.iter().any(|truth| truth.eq_ignore_ascii_case(value));
        self.layers().filter_map(|layer| layer.get(name)).any(is_true)
    }

    fn layers(&self) -> impl Iterator<Item = &BTreeMap<String, String>> {
        [&self.flags, &self.environment, &self.dotenv].into_iter().chain(&self.service)
    }

    /// The value that counts.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.layers().find_map(|layer| layer.get(name));
        found.filter(|value| !value.is_empty()).or_else(|| self.defaults.get(name)).or(found).map(String::as_str)
    }

    /// As [`get`](Self::get), for functions that take a lookup.
    pub fn lookup(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    /// The same; write-only ones are noted.
    pub(crate) fn lookup_noting(&self, name: &str, write_only: &RefCell<Vec<String>>) -> Option<String> {
        if self.is_write_only(name) {
            write_only.borrow_mut().push(name.to_owned());
        }
        self.lookup(name)
    }

    /// Values that are not to be seen in what people read: of `--var`, and of `.env` where the name looks secret.
    pub fn to_mask(&self) -> Vec<String> {
        // What every dependency is told is no secret.
        let flags = self.flags.iter().filter(|(name, _)| *name != ORIGIN);
        flags.map(|(_, value)| value.clone()).chain(self.secret_by_name().map(str::to_owned)).collect()
    }

    /// The values of `--var` and `.env` whose names look secret.
    pub fn secret_by_name(&self) -> impl Iterator<Item = &str> {
        let all = self.flags.iter().chain(&self.dotenv);
        all.filter(|(name, _)| looks_secret(name)).map(|(_, value)| value.as_str())
    }

    /// The values of the process environment whose names look secret and are in this text.
    pub fn secrets_of_environment(&self, text: &str) -> impl Iterator<Item = &str> {
        let all = self.environment.iter().filter(move |(name, _)| looks_secret(name) && text.contains(name.as_str()));
        all.map(|(_, value)| value.as_str())
    }

    /// Whether the value that counts is that of the process environment.
    pub fn is_from_environment(&self, name: &str) -> bool {
        !self.flags.contains_key(name) && self.environment.contains_key(name)
    }

    /// What goes to the commands: `--var` and `.env`, sorted. The process environment stays where it is, but for what is said
    /// in [`FORWARDED`], and the service knows its own.
    pub fn for_commands(&self) -> Vec<(String, String)> {
        let mut merged = self.dotenv.clone();
        merged.retain(|name, _| is_variable_name(name) && !RESERVED.contains(&name.as_str()));
        let forwarded = FORWARDED.iter().filter_map(|name| Some(((*name).to_owned(), self.lookup(name)?)));
        merged.extend(forwarded);
        merged.extend(self.flags.clone());
        merged.into_iter().collect()
    }
}

/// Whether the value of a variable of this name is likely to be secret.
pub fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let words = ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "PRIVATE"];
    let keys = ["API_KEY", "APIKEY", "ACCESS_KEY", "ACCESSKEY", "AUTH_KEY", "ENCRYPTION_KEY", "SIGNING_KEY"];
    let ends = ["_PASS", "_PWD"];
    words.iter().chain(&keys).any(|word| name.contains(word)) || ends.iter().any(|end| name.ends_with(end))
}

/// What to do with a variable whose value never leaves the service, where a manifest would be expanded with it.
pub fn write_only_problem(name: &str) -> (String, String) {
    let message = format!("`{name}` is write-only: its value never leaves the service, so nothing is expanded with it");
    let hint = format!(
        "give it to a build as a secret (`secrets: {{ID: {{variable: {name}}}}}`), or use `${name}` in a command, whose \
         environment has it"
    );
    (message, hint)
}

/// Splits `NAME=value`, as `--var` and `--build-arg` take it; the value may hold more `=`.
pub fn parse_assignment(text: &str) -> Result<(String, String), VariableError> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(VariableError::NotAnAssignment(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> [(String, String); 1] {
        [(name.to_owned(), value.to_owned())]
    }

    #[test]
    fn upper_layers_win() {
        let mut variables = Variables::default().with_service(one("V", "user")).with_service(one("V", "admin"));
        assert_eq!(variables.get("V"), Some("user"));
        variables = variables.with_dotenv(one("V", "dotenv"));
        assert_eq!(variables.get("V"), Some("dotenv"));
        variables = variables.with_environment(one("V", "environment"));
        assert_eq!(variables.get("V"), Some("environment"));
        assert_eq!(variables.for_commands(), one("V", "dotenv"));
        variables = variables.with_flags(one("V", "flag")).unwrap();
        assert_eq!(variables.get("V"), Some("flag"));
        assert_eq!(variables.for_commands(), one("V", "flag"));
        assert_eq!(variables.get("W"), None);
    }

    #[test]
    fn where_a_deploy_comes_from_is_forwarded_and_nothing_else() {
        let one = |name: &str, value: &str| [(name.to_owned(), value.to_owned())];
        let environment = ["OKTETO_ORIGIN", "OKTETO_OTHER", "OKTETO_GIT_BRANCH", "GITHUB_REPOSITORY"];
        let environment = environment.map(|name| (name.to_owned(), "environment".to_owned()));
        let variables =
            Variables::default().with_environment(environment).with_environment(one("GITHUB_REPOSITORY", ""));
        let defaults = ["OKTETO_GIT_COMMIT", "OKTETO_GIT_BRANCH", "GITHUB_REPOSITORY"];
        let variables = variables.with_defaults(defaults.map(|name| (name.to_owned(), "git".to_owned())));
        let variables = variables.with_flags(one("OKTETO_ORIGIN", "flag")).unwrap();
        let found = variables.for_commands();
        let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let expected = [
            ("GITHUB_REPOSITORY", "git"),
            ("OKTETO_GIT_BRANCH", "environment"),
            ("OKTETO_GIT_COMMIT", "git"),
            ("OKTETO_ORIGIN", "flag"),
        ];
        assert_eq!(found, expected);
        assert_eq!(variables.get("OKTETO_GIT_COMMIT"), Some("git"));
    }

    /// All layers, strongest first; which of them have the variable, and which one counts for manifests and for commands. Of
    /// the service's, commands get theirs from the service itself, under these.
    #[test]
    fn precedence() {
        const LAYERS: [&str; 6] = ["flag", "environment", "dotenv", "user", "namespace", "admin"];
        for present in 0..1_u32 << LAYERS.len() {
            let has =
                |layer: &str| LAYERS.iter().position(|known| *known == layer).is_some_and(|at| present >> at & 1 == 1);
            let layer = |name: &str| has(name).then(|| ("V".to_owned(), name.to_owned()));
            let mut variables =
                Variables::default().with_environment(layer("environment")).with_dotenv(layer("dotenv"));
            for scope in ["user", "namespace", "admin"] {
                variables = variables.with_service(layer(scope));
            }
            let variables = variables.with_flags(layer("flag")).unwrap();
            let counts = LAYERS.into_iter().find(|layer| has(layer));
            assert_eq!(variables.get("V"), counts, "{present:b}");
            let sent = ["flag", "dotenv"].into_iter().find(|layer| has(layer));
            let sent = sent.map(|value| ("V".to_owned(), value.to_owned()));
            assert_eq!(variables.for_commands(), sent.into_iter().collect::<Vec<_>>(), "{present:b}");
        }
    }

    #[test]
    fn what_only_the_service_knows_has_no_value_here() {
        let variables = Variables::default().with_write_only(["S".to_owned()]);
        assert!(variables.is_write_only("S") && !variables.is_write_only("T"));
        assert_eq!(variables.get("S"), None);
        assert!(!variables.with_dotenv(one("S", "mine")).is_write_only("S"));
    }

    #[test]
    fn a_truth_is_not_undone() {
        let truth =
            |value: &str| Variables::default().with_environment(one("V", "false")).with_service(one("V", value));
        assert!(["true", "1", "T", "True"].iter().all(|value| truth(value).is_true_anywhere("V")));
        assert!(["", "yes", "0"].iter().all(|value| !truth(value).is_true_anywhere("V")));
    }

    #[test]
    fn flags_and_what_looks_secret_are_masked() {
        let dotenv =
            [("NPM_TOKEN", "t"), ("db_password", "p"), ("PORT", "80"), ("KEY", "k"), ("AWS_ACCESS_KEY_ID", "a")];
        let dotenv = dotenv.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let variables = Variables::default().with_dotenv(dotenv).with_flags(one("PLAIN", "flag")).unwrap();
        assert_eq!(variables.to_mask(), ["flag", "a", "t", "p"]);
    }

    #[test]
    fn an_empty_value_is_a_value() {
        let variables = Variables::default().with_environment(one("V", "")).with_dotenv(one("V", "x"));
        assert_eq!(variables.get("V"), Some(""));
    }

    #[test]
    fn reserved_names_are_refused() {
        for name in RESERVED {
            let error = Variables::default().with_flags(one(name, "x")).unwrap_err();
            assert_eq!(error, VariableError::Reserved(name.to_owned()));
            assert_eq!(Variables::default().with_dotenv(one(name, "x")).for_commands(), []);
        }
        assert!(Variables::default().with_flags(one("A-B", "x")).is_err());
    }

    #[test]
    fn assignments() {
        assert_eq!(parse_assignment("A=b=c").unwrap(), ("A".to_owned(), "b=c".to_owned()));
        assert_eq!(parse_assignment("A=").unwrap(), ("A".to_owned(), String::new()));
        assert!(parse_assignment("A").is_err());
        assert!(parse_assignment("=b").is_err());
    }
}
