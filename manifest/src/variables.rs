//! The variables that a manifest is expanded with, and which of two of the same name counts.

use std::collections::BTreeMap;

use crate::names::is_variable_name;

/// Names that only the service gives values to: `--var` can't.
pub const RESERVED: [&str; 4] = ["OKTETO_CONTEXT", "OKTETO_NAMESPACE", "OKTETO_URL", "OKTETO_TOKEN"];

/// Layers of variables. `--var` beats the process environment, that beats `.env`, that beats the service's.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    flags: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    dotenv: BTreeMap<String, String>,
    service: Vec<BTreeMap<String, String>>,
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

    /// The value that counts.
    pub fn get(&self, name: &str) -> Option<&str> {
        let own = [&self.flags, &self.environment, &self.dotenv];
        own.into_iter().chain(&self.service).find_map(|layer| layer.get(name)).map(String::as_str)
    }

    /// As [`get`](Self::get), for functions that take a lookup.
    pub fn lookup(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    /// What goes to the commands: `--var` and `.env`, sorted. The process environment stays where it is, and the service
    /// knows its own.
    pub fn for_commands(&self) -> Vec<(String, String)> {
        let mut merged = self.dotenv.clone();
        merged.retain(|name, _| is_variable_name(name) && !RESERVED.contains(&name.as_str()));
        merged.extend(self.flags.clone());
        merged.into_iter().collect()
    }
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
