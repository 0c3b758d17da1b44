//! Secrets of builds: where their values are, and the values.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::Result;
use slipway_manifest::options::{
    Cache, CacheKind, Credential, MAX_SECRET, NamedContext, OptionKey, Secret, SecretFlag, SecretSource,
};
use slipway_manifest::plan::{BuildPlan, Plan};
use slipway_proto::v1::SecretValue;

use crate::error::Usage;
use crate::output;
use crate::project::Project;

/// `--secret` as options of a build. Without `src`, `env` and `variable` it is the variable of the id's name, else the file, as in buildx;
/// files are relative to where we are.
pub(crate) fn options(flags: &[String], project: &Project) -> Result<Vec<(OptionKey, String)>> {
    let option = |flag: &String| {
        let wrong = |error| Usage::new(format!("--secret {flag}: {error}"));
        let SecretFlag { id, source, rotates } = flag.parse().map_err(wrong)?;
        let source = match source {
            Some(source) => source,
            None if project.variable(&id).is_some() => SecretSource::env(&id).map_err(wrong)?,
            None => SecretSource::file(&id).map_err(wrong)?,
        };
        let source = match source {
            SecretSource::File(path) => SecretSource::file(&absolute(&path)?).map_err(wrong)?,
            named @ (SecretSource::Env(_) | SecretSource::Variable(_)) => named,
        };
        Ok((OptionKey::Secret, Secret { id, source, rotates }.to_string()))
    };
    flags.iter().map(option).collect()
}

/// `--build-context`, `--cache-from` and `--cache-to` among the options: folders are relative to where we are, not to the
/// manifest.
pub(crate) fn with_absolute_folders(options: Vec<(OptionKey, String)>) -> Result<Vec<(OptionKey, String)>> {
    let absolute = |(key, text): (OptionKey, String)| {
        let text = match (key, text.split_once('=')) {
            (OptionKey::Context, Some((name, folder))) if matches!(folder.parse(), Ok(NamedContext::Directory(_))) => {
                format!("{name}={}", absolute(folder)?)
            }
            (OptionKey::CacheFrom | OptionKey::CacheTo, _) => match text.parse::<Cache>() {
                Ok(cache) => match cache.folder() {
                    Some(folder) => {
                        let folder = absolute(folder)?;
                        if folder.contains(',') {
                            return Err(Usage::new(format!(
                                "--{key} {text}: `{folder}` has a comma, which divides fields"
                            ))
                            .into());
                        }
                        cache.clone().with_folder(&folder).to_string()
                    }
                    None => text,
                },
                // It is refused where it counts.
                Err(_) => text,
            },
            _ => text,
        };
        Ok((key, text))
    };
    options.into_iter().map(absolute).collect()
}

fn absolute(folder: &str) -> Result<String> {
    let path = std::path::absolute(folder)?;
    let utf8 = path.to_str().map(str::to_owned);
    utf8.ok_or_else(|| Usage::new(format!("`{}` is not UTF-8", path.display())).into())
}

/// The values of all secrets of the plan, each source once. A variable that isn't set is left out, as in buildx: only a step
/// that requires it fails. Blocks.
pub(crate) fn values(plan: &Plan, project: &Project) -> Result<Vec<SecretValue>> {
    let mut values: BTreeMap<SecretSource, Option<Vec<u8>>> = BTreeMap::new();
    for build in &plan.builds {
        for secret in build.options.secrets.values() {
            if values.contains_key(&secret.source) {
                continue;
            }
            let value = match (value(&secret.source, project), build.only_if_missing) {
                (Ok(value), _) => value,
                // Nothing may have to be built.
                (Err(problem), true) | (Err(problem @ Problem::NotSet(_)), false) => {
                    output::warn(problem.warning(project, build, secret));
                    None
                }
                (Err(problem), false) => return Err(Usage::new(problem.message(project, build, secret)).into()),
            };
            values.insert(secret.source.clone(), value);
        }
        for (kind, credential, source) in of_caches(build) {
            let value = value(&source, project).map_err(|problem| {
                let place = format!("a cache of service `{}`", build.service);
                (problem.what(), place)
            });
            let value = match value {
                Ok(value) => value,
                Err(_) if !credential.required => None,
                Err((what, place)) if kind.is_left_out_without_credentials() => {
                    output::warn(format_args!("{place} is left out: {what}"));
                    None
                }
                Err((what, place)) if build.only_if_missing => {
                    output::warn(format_args!("{place}: {what}; where it has to be built, that fails"));
                    None
                }
                Err((what, place)) => return Err(Usage::new(format!("{place}: {what}")).into()),
            };
            values.insert(source, value);
        }
    }
    let value =
        |(source, value): (SecretSource, Option<_>)| Some(SecretValue { source: source.to_string(), value: value? });
    Ok(values.into_iter().filter_map(value).collect())
}

/// What opens the build's caches, and where it is.
fn of_caches(build: &BuildPlan) -> impl Iterator<Item = (CacheKind, Credential, SecretSource)> {
    let kinds = build.options.caches().map(|cache| cache.kind);
    let credentials = kinds.flat_map(|kind| kind.credentials().iter().map(move |credential| (kind, *credential)));
    credentials.map(|(kind, credential)| (kind, credential, SecretSource::Env(credential.variable.to_owned())))
}

/// Why a secret has no value.
#[derive(Debug)]
enum Problem {
    NotSet(String),
    WriteOnly(String),
    Unreadable(String, io::Error),
    TooLarge(String),
}

impl Problem {
    fn what(&self) -> String {
        match self {
            Self::NotSet(name) => format!("variable `{name}` is not set"),
            Self::WriteOnly(name) => {
                format!(
                    "variable `{name}` is write-only: the service itself gives it to the build with `variable: {name}`"
                )
            }
            Self::Unreadable(path, error) => format!("read {path}: {error}"),
            Self::TooLarge(path) => format!("{path} is larger than the {MAX_SECRET} bytes that BuildKit takes"),
        }
    }

    fn message(&self, project: &Project, build: &BuildPlan, secret: &Secret) -> String {
        let known = project.manifest.build_of(build.service.as_str()).map(|build| build.secrets.as_slice());
        let place = known.unwrap_or_default().iter().find(|known| known.id == secret.id).map(|known| known.place);
        let place = place.map(|place| format!("{}:{}:{}: ", project.manifest.file, place.line, place.column));
        let what = self.what();
        format!("{}secret `{}` of service `{}`: {what}", place.unwrap_or_default(), secret.id, build.service)
    }

    fn warning(&self, project: &Project, build: &BuildPlan, secret: &Secret) -> String {
        format!("{}; where it has to be built, a step that requires it fails", self.message(project, build, secret))
    }
}

/// Nothing: the service adds it.
fn value(source: &SecretSource, project: &Project) -> Result<Option<Vec<u8>>, Problem> {
    let (value, name) = match source {
        SecretSource::Env(name) => {
            let why_not = if project.is_write_only(name) { Problem::WriteOnly } else { Problem::NotSet };
            let value = project.variable(name).ok_or_else(|| why_not(name.clone()))?;
            (value.as_bytes().to_vec(), format!("variable `{name}`"))
        }
        SecretSource::File(path) => {
            let path = project.root.join(Path::new(path));
            let named = || path.display().to_string();
            (read(&path).map_err(|error| Problem::Unreadable(named(), error))?, named())
        }
        SecretSource::Variable(_) => return Ok(None),
    };
    if value.len() > MAX_SECRET { Err(Problem::TooLarge(name)) } else { Ok(Some(value)) }
}

/// One byte more than a secret may have says that it is too large.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut value = Vec::new();
    File::open(path)?.take(MAX_SECRET as u64 + 1).read_to_end(&mut value)?;
    Ok(value)
}
