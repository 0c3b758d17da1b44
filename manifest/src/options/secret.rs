//! Secrets of a build, as `docker buildx build --secret` takes them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{InvalidOption, boolean};
use crate::names::is_variable_name;

/// The largest secret, in bytes: BuildKit takes no larger one.
pub const MAX_SECRET: usize = 500 << 10;
/// Secrets with such ids BuildKit takes by itself, to fetch what ADD and git contexts name. What it has fetched is everybody's
/// who names it on that engine, whatever they may see: so no build gets them.
const OF_SOURCES: [&str; 3] = ["GIT_AUTH_TOKEN", "GIT_AUTH_HEADER", "HTTP_AUTH_"];
/// The longest path of a secret's file, in bytes.
const MAX_PATH: usize = 4096;

/// A secret that RUN steps may mount, and where its value is. The value itself is in no option.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// The id that the Dockerfile's `--mount=type=secret,id=…` names.
    pub id: String,
    /// Where the client finds its value, which also is the value's name between client and service.
    pub source: SecretSource,
    /// Another value changes nothing: steps that had another one are not run again. For credentials that expire.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub rotates: bool,
}

/// Where the value of a secret is. As text: `env:NAME`, `file:PATH` or `variable:NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum SecretSource {
    /// A variable of the client's environment.
    Env(String),
    /// A file of the client's.
    File(String),
    /// A variable that the service keeps: of the user, the namespace or the admins.
    Variable(String),
}

/// A secret as a flag has it: where its value is may be left open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFlag {
    /// As [`Secret::id`].
    pub id: String,
    /// Nothing: the variable of the id's name, else the file of that name.
    pub source: Option<SecretSource>,
    /// As [`Secret::rotates`].
    pub rotates: bool,
}

impl SecretSource {
    /// A variable, if there can be one of that name.
    pub fn env(name: &str) -> Result<Self, InvalidOption> {
        if !is_variable_name(name) {
            return Err(InvalidOption(format!("`{}` can't be the name of a variable", name.escape_debug())));
        }
        Ok(Self::Env(name.to_owned()))
    }

    /// A variable of the service's, if there can be one of that name.
    pub fn variable(name: &str) -> Result<Self, InvalidOption> {
        Self::env(name).map(|_| Self::Variable(name.to_owned()))
    }

    /// A file, if there can be one of that path.
    pub fn file(path: &str) -> Result<Self, InvalidOption> {
        if path.is_empty() || path.len() > MAX_PATH || path.contains('\0') {
            return Err(InvalidOption(format!("`{}` can't be the path of a file", path.escape_debug())));
        }
        Ok(Self::File(path.to_owned()))
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{path}"),
            Self::Variable(name) => write!(f, "variable:{name}"),
        }
    }
}

impl From<SecretSource> for String {
    fn from(source: SecretSource) -> Self {
        source.to_string()
    }
}

impl TryFrom<String> for SecretSource {
    type Error = InvalidOption;

    fn try_from(text: String) -> Result<Self, InvalidOption> {
        text.parse()
    }
}

impl FromStr for SecretSource {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        match text.split_once(':') {
            Some(("env", name)) => Self::env(name),
            Some(("file", path)) => Self::file(path),
            Some(("variable", name)) => Self::variable(name),
            _ => {
                let problem = "is none of `env:NAME`, `file:PATH` and `variable:NAME`";
                Err(InvalidOption(format!("`{}` {problem}", text.escape_debug())))
            }
        }
    }
}

impl FromStr for SecretFlag {
    type Err = InvalidOption;

    /// `id=ID[,src=PATH|,env=NAME|,variable=NAME][,rotates=true]`; with commas in a path, the field in double quotes (RFC 4180).
    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        let (mut id, mut env, mut file, mut variable) = (None, None, None, None);
        let (mut is_env, mut rotates) = (false, false);
        for field in quoted_fields(text)? {
            let (key, value) = field.split_once('=').unwrap_or((&field, ""));
            match key.to_ascii_lowercase().as_str() {
                "id" => id = Some(value.to_owned()),
                "env" => env = Some(value.to_owned()),
                "src" | "source" => file = Some(value.to_owned()),
                "variable" => variable = Some(value.to_owned()),
                "rotates" => rotates = value.is_empty() || boolean(value)?,
                "type" if value == "env" => is_env = true,
                "type" if value == "file" => {}
                "type" => return Err(InvalidOption(format!("`type={value}`: `env` and `file` are known"))),
                _ => {
                    let problem = "is none of `id`, `src`, `env`, `variable`, `type` and `rotates`";
                    return Err(InvalidOption(format!("`{}` {problem}", key.escape_debug())));
                }
            }
        }
        let id = id.ok_or_else(|| InvalidOption::new("it lacks `id=…`"))?;
        check_id(&id)?;
        // As buildx reads it.
        if is_env && env.is_none() {
            env = file.take();
        }
        let source = match (env, file, variable) {
            (Some(name), None, None) => Some(SecretSource::env(&name)?),
            (None, Some(path), None) => Some(SecretSource::file(&path)?),
            (None, None, Some(name)) => Some(SecretSource::variable(&name)?),
            (None, None, None) => None,
            _ => return Err(InvalidOption::new("it has more than one of `src`, `env` and `variable`")),
        };
        Ok(Self { id, source, rotates })
    }
}

impl FromStr for Secret {
    type Err = InvalidOption;

    /// As [`SecretFlag`], and it says where the value is.
    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        let SecretFlag { id, source, rotates } = text.parse()?;
        let source = source.ok_or_else(|| InvalidOption::new("it lacks `src=…`, `env=…` or `variable=…`"))?;
        Ok(Self { id, source, rotates })
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match &self.source {
            SecretSource::Env(name) => format!("env={name}"),
            SecretSource::File(path) => format!("src={path}"),
            SecretSource::Variable(name) => format!("variable={name}"),
        };
        write!(f, "id={},{}", self.id, quoted(&source))?;
        if self.rotates { f.write_str(",rotates=true") } else { Ok(()) }
    }
}

/// An id that a Dockerfile's mount option can name.
pub(crate) fn check_id(id: &str) -> Result<(), InvalidOption> {
    let bad = |character: char| ",\"'=".contains(character) || character.is_whitespace() || character.is_control();
    if id.is_empty() || id.len() > 256 || id.contains(bad) {
        return Err(InvalidOption(format!("`{}` can't be the id of a secret", id.escape_debug())));
    }
    let upper = id.to_ascii_uppercase();
    if OF_SOURCES.iter().any(|prefix| upper.starts_with(prefix)) {
        return Err(InvalidOption(format!(
            "`{id}` is not supported: what the engine fetches with it, others on the engine could get. Clone in a RUN step \
             with a secret of another id"
        )));
    }
    Ok(())
}

fn quoted_fields(text: &str) -> Result<Vec<String>, InvalidOption> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut records = reader.records();
    let record = records.next().transpose().map_err(|error| InvalidOption(error.to_string()))?;
    if records.next().is_some() {
        return Err(InvalidOption::new("it has more than one line"));
    }
    Ok(record.iter().flatten().filter(|field| !field.is_empty()).map(ToOwned::to_owned).collect())
}

fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flag(text: &str) -> SecretFlag {
        text.parse().unwrap()
    }

    #[test]
    fn every_form_of_buildx() {
        let file = |path: &str| Some(SecretSource::File(path.to_owned()));
        let env = |name: &str| Some(SecretSource::Env(name.to_owned()));
        for (text, id, source) in [
            ("id=a,src=./x", "a", file("./x")),
            ("id=a,source=x", "a", file("x")),
            ("type=file,id=a,src=x=y", "a", file("x=y")),
            ("id=a,env=TOKEN", "a", env("TOKEN")),
            ("type=env,id=a,src=TOKEN", "a", env("TOKEN")),
            ("id=a,variable=TOKEN", "a", Some(SecretSource::Variable("TOKEN".to_owned()))),
            ("id=a", "a", None),
            ("id=a,\"src=with,comma\"", "a", file("with,comma")),
        ] {
            assert_eq!(flag(text), SecretFlag { id: id.to_owned(), source, rotates: false }, "{text}");
        }
        assert!(flag("id=a,env=X,rotates=true").rotates && flag("id=a,env=X,rotates").rotates);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, problem) in [
            ("src=x", "lacks `id"),
            ("id=", "id of a secret"),
            ("id=a b", "id of a secret"),
            ("id=GIT_AUTH_TOKEN,env=X", "is not supported"),
            ("id=GIT_AUTH_HEADER.github.com,env=X", "is not supported"),
            ("id=http_auth_token_example.com,env=X", "is not supported"),
            ("id=a,env=X,src=y", "more than one of"),
            ("id=a,env=X,variable=Y", "more than one of"),
            ("id=a,variable=1X", "name of a variable"),
            ("id=a,env=1X", "name of a variable"),
            ("id=a,path=y", "`path` is none of"),
            ("id=a,type=ssh", "`type=ssh`"),
            ("id=a,src=", "path of a file"),
            ("id=a,rotates=perhaps", "neither true nor false"),
            ("id=a\nid=b", "more than one line"),
        ] {
            let error = text.parse::<SecretFlag>().unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
        assert!("id=a".parse::<Secret>().is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(path in "[^\0]{1,40}", rotates: bool) {
            let source = SecretSource::file(&path).unwrap();
            let secret = Secret { id: "npm".to_owned(), source, rotates };
            prop_assert_eq!(secret.to_string().parse::<Secret>(), Ok(secret));
        }
    }
}
