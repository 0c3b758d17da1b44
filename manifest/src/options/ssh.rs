//! SSH agents for RUN steps, as `docker buildx build --ssh` takes them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{InvalidOption, SecretSource, plain_name};

/// An agent that steps can mount (`RUN --mount=type=ssh,id=ID`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshAgent {
    /// What steps call it; `default` where they don't say.
    pub id: String,
    /// Files on the client's machine: an agent's socket, or private keys; none: the client's own agent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// The variable of the service's that holds the private key, instead of anything of the client's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variable: Option<String>,
}

/// What a variable's name follows.
const VARIABLE: &str = "variable:";

impl FromStr for SshAgent {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        let (id, files) = text.split_once('=').unwrap_or((text, ""));
        plain_name(id, "an SSH agent")?;
        if id.contains([',', '/']) {
            return Err(InvalidOption(format!("`{}`: write ID, ID=FILE or ID=variable:NAME", text.escape_debug())));
        }
        if let Some(name) = files.strip_prefix(VARIABLE) {
            SecretSource::variable(name)?;
            return Ok(Self { id: id.to_owned(), files: Vec::new(), variable: Some(name.to_owned()) });
        }
        let files = files.split(',').filter(|file| !file.is_empty()).map(str::to_owned).collect();
        Ok(Self { id: id.to_owned(), files, variable: None })
    }
}

impl fmt::Display for SshAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        match &self.variable {
            Some(name) => write!(f, "={VARIABLE}{name}"),
            None if self.files.is_empty() => Ok(()),
            None => write!(f, "={}", self.files.join(",")),
        }
    }
}
