//! `slipway deploy-dependency`: what the service runs in the runner for each of a manifest's `dependencies`.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use slipway_manifest::dotenv::write_dotenv;
use slipway_manifest::git_url::GitUrl;
use slipway_manifest::plan::{BuildMode, DependencyPlan};
use slipway_manifest::{ImageEnv, Selection};
use slipway_proto::v1::{EnvironmentState, ShowEnvironmentResponse};
use tokio::process::Command;

use super::environment;
use crate::args::{DependencyArgs, JobArgs, PlaceArgs};
use crate::environment::Environment;
use crate::error::{ExitStatus, Interrupted, Usage};
use crate::interrupt::Interrupt;
use crate::output;
use crate::project::Project;
use crate::sections::{self, Request};
use crate::session::Session;
use crate::settings::Settings;

/// What begins the names of the variables that hold dependencies, as JSON.
const DEPENDENCY: &str = "SLIPWAY_DEPENDENCY_";
/// What begins the names of the variables that hold tokens for repositories.
const GIT_AUTH: &str = "GIT_AUTH_TOKEN";
/// The user that goes with such a token, as with BuildKit.
const TOKEN_USER: &str = "x-access-token";
/// Where variables for the commands that follow are left.
const OKTETO_ENV: &str = "OKTETO_ENV";

/// Clones it and deploys it with a job of its own, unless it is deployed; its variables go to `$OKTETO_ENV`.
pub(crate) async fn run(args: &DependencyArgs, settings: &Settings, interrupt: &Interrupt) -> Result<ExitStatus> {
    let name = format!("{DEPENDENCY}{}", args.index);
    let json = settings.environment.get(&name).ok_or_else(|| Usage::new(format!("{name} is not set")))?;
    // The parse error could quote a secret.
    let dependency: DependencyPlan =
        serde_json::from_str(json).map_err(|_| Usage::new(format!("{name} holds no dependency")))?;
    let limit = Duration::from_secs(dependency.timeout_s);
    let began = Instant::now();
    interrupt.claim();
    let interrupt = interrupt.or_after(limit);
    let deployed = deploy(&dependency, settings, &interrupt).await;
    if interrupt.is_received() && began.elapsed() >= limit {
        let limit = humantime::format_duration(limit);
        return Err(Usage::new(format!("{} was not deployed within {limit}", dependency.name))
            .hint(format!("`timeout` in `dependencies.{}` gives it longer", dependency.name))
            .into());
    }
    deployed
}

async fn deploy(dependency: &DependencyPlan, settings: &Settings, interrupt: &Interrupt) -> Result<ExitStatus> {
    let name = &dependency.name;
    let session = Session::open(settings).await?;
    if !dependency.again
        && let Some(kept) = environment::find(&session, name).await?
        && is_deployed(&kept)
    {
        output::note(format_args!("{name} is deployed already; `slipway deploy --dependencies` deploys it again"));
        leave(settings, &variables(name, &kept))?;
        return Ok(ExitStatus::Done);
    }
    let folder = tempfile::tempdir().context("make a folder for the clone")?;
    let clone = folder.path().join(name.replace('/', "-"));
    let cloning = clone_into(dependency, &settings.environment, &clone);
    tokio::select! {
        cloned = cloning => cloned?,
        () = interrupt.received() => return Err(Interrupted.into()),
    }
    // Paths of its manifest are relative to it, and so is where that is looked for.
    std::env::set_current_dir(&clone).context("enter the clone")?;
    let environment = settings.environment.without(&[DEPENDENCY, GIT_AUTH]);
    let file = dependency.manifest.as_ref().map(PathBuf::from);
    let inner = Settings { file_flag: file.is_some(), file, environment, ..settings.clone() };
    let vars: Vec<String> = dependency.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut project = Project::load(&inner, &vars)?.named(Some(name)).with_git(true).await?;
    let session = Session::for_project(&inner, &mut project).await?;
    let selection = Selection::deploy(project.application.clone(), BuildMode::IfMissing);
    let (place, job) = (PlaceArgs { remote: Some(true) }, JobArgs { detach: !dependency.wait, ..JobArgs::default() });
    let request = Request::new(selection, &place, &job);
    let project = Arc::new(project);
    let status = sections::run(&project, Some(Ok(session.clone())), request, &inner, interrupt).await?;
    if status == ExitStatus::Done
        && dependency.wait
        && let Some(kept) = environment::find(&session, name).await?
    {
        leave(settings, &variables(name, &kept))?;
    }
    Ok(status)
}

/// Whether its last deploy went well.
pub(crate) fn is_deployed(kept: &ShowEnvironmentResponse) -> bool {
    kept.environment.as_ref().is_some_and(|environment| environment.state() == EnvironmentState::Deployed)
}

/// What an application that depends on it gets of it: `OKTETO_DEPENDENCY_<NAME>_VARIABLE_*` and `_BUILD_*`.
pub(crate) fn variables(name: &str, kept: &ShowEnvironmentResponse) -> BTreeMap<String, String> {
    let name = slipway_manifest::names::sanitise_application(name).replace('-', "_").to_ascii_uppercase();
    let mut images = ImageEnv::default();
    for image in &kept.images {
        // What can't be named here is left out.
        let _ = image.service.parse().map(|service| images.extend(&service, &image.image));
    }
    let images = images.iter().filter_map(|(variable, value)| {
        Some((format!("OKTETO_DEPENDENCY_{name}_{}", variable.strip_prefix("OKTETO_")?), value.to_owned()))
    });
    let own = kept.variables.iter().filter_map(|variable| {
        Some((format!("OKTETO_DEPENDENCY_{name}_VARIABLE_{}", variable.name), variable.value.clone()?))
    });
    images.chain(own).collect()
}

fn leave(settings: &Settings, variables: &BTreeMap<String, String>) -> Result<()> {
    let Some(path) = settings.environment.get(OKTETO_ENV) else { return Ok(()) };
    let text = write_dotenv(variables.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
    let mut file = OpenOptions::new().append(true).create(true).open(path).context("open $OKTETO_ENV")?;
    file.write_all(text.as_bytes()).context("write $OKTETO_ENV")
}

/// `git clone`. What opens the repository is in git's environment: on no command line, and in no file.
async fn clone_into(dependency: &DependencyPlan, environment: &Environment, folder: &Path) -> Result<()> {
    let url = GitUrl::parse(&dependency.repository).map_err(|error| Usage::new(error.to_string()))?;
    let mut command = Command::new("git");
    if let Some((user, password)) = url.credentials().or_else(|| token(&url, environment)) {
        // Only for that host, and instead of all other helpers.
        let host = format!("credential.{}://{}.helper", url.protocol(), url.host());
        let helper = "!f() { test \"$1\" = get && printf 'username=%s\\npassword=%s\\n' \"$SLIPWAY_GIT_USER\" \"$SLIPWAY_GIT_PASSWORD\"; }; f";
        command.args(["-c", "credential.helper=", "-c", &format!("{host}={helper}")]);
        // A token may stand where a user does.
        let (user, password) = if password.is_empty() { (TOKEN_USER.to_owned(), user) } else { (user, password) };
        command.env("SLIPWAY_GIT_USER", user).env("SLIPWAY_GIT_PASSWORD", password);
    }
    command.args(["clone", "--quiet", "--depth=1", "--recurse-submodules", "--shallow-submodules"]);
    if let Some(branch) = &dependency.branch {
        command.arg(format!("--branch={branch}"));
    }
    command.arg("--").arg(url.without_credentials()).arg(folder);
    // Submodules and redirects get nowhere else either.
    command.env("GIT_ALLOW_PROTOCOL", "https:http:ssh:git").env("GIT_TERMINAL_PROMPT", "0");
    for (name, _) in environment.vars().iter().filter(|(name, _)| name.starts_with(DEPENDENCY)) {
        command.env_remove(name);
    }
    let cloned = command.kill_on_drop(true).status().await.context("run git")?;
    if cloned.success() {
        return Ok(());
    }
    let error = Usage::new(format!("{} can't be cloned from {}", dependency.name, url.without_credentials()));
    Err(error
        .hint(format!(
            "for a private repository, log in with git where you call slipway, or set a token for the namespace: \
             `slipway variable set --scope namespace --secret {}=-`",
            token_name(url.host())
        ))
        .into())
}

/// The namespace's token for the host, or for any. Only where nobody can listen.
fn token(url: &GitUrl, environment: &Environment) -> Option<(String, String)> {
    let host = url.host().split(':').next().unwrap_or_default();
    if url.protocol() != "https" && !["localhost", "127.0.0.1"].contains(&host) {
        return None;
    }
    let token = environment.get(&token_name(url.host())).or_else(|| environment.get(GIT_AUTH))?;
    Some((TOKEN_USER.to_owned(), token.to_owned()))
}

/// The variable for one host, such as `GIT_AUTH_TOKEN_GITHUB_COM`.
fn token_name(host: &str) -> String {
    let part = |character: char| if character.is_ascii_alphanumeric() { character.to_ascii_uppercase() } else { '_' };
    format!("{GIT_AUTH}_{}", host.chars().map(part).collect::<String>())
}

#[cfg(test)]
mod tests {
    use slipway_proto::v1::{EnvironmentImage, EnvironmentVariable};

    use super::*;

    #[test]
    fn variables_are_named_after_the_dependency() {
        let kept = ShowEnvironmentResponse {
            images: vec![EnvironmentImage { service: "my-api".to_owned(), image: "r/dev/x@sha256:1".to_owned() }],
            variables: vec![
                EnvironmentVariable { name: "Url".to_owned(), value: Some("a\nb".to_owned()) },
                EnvironmentVariable { name: "UNSEEN".to_owned(), value: None },
            ],
            ..ShowEnvironmentResponse::default()
        };
        let found = variables("My movies_2", &kept);
        let found: Vec<String> = found.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        assert_eq!(
            found,
            [
                "OKTETO_DEPENDENCY_MY_MOVIES_2_BUILD_MY_API_IMAGE=\"r/dev/x@sha256:1\"",
                "OKTETO_DEPENDENCY_MY_MOVIES_2_BUILD_MY_API_REGISTRY=\"r\"",
                "OKTETO_DEPENDENCY_MY_MOVIES_2_BUILD_MY_API_REPOSITORY=\"dev/x\"",
                "OKTETO_DEPENDENCY_MY_MOVIES_2_BUILD_MY_API_SHA=\"okteto@sha256:1\"",
                "OKTETO_DEPENDENCY_MY_MOVIES_2_BUILD_MY_API_TAG=\"sha256:1\"",
                "OKTETO_DEPENDENCY_MY_MOVIES_2_VARIABLE_Url=\"a\\nb\"",
            ]
        );
    }

    #[test]
    fn a_token_of_the_host_counts_more_and_goes_nowhere_in_the_clear() {
        let environment =
            Environment::from([("GIT_AUTH_TOKEN", "any"), ("GIT_AUTH_TOKEN_GIT_EXAMPLE_8443", "its own")]);
        let token = |url: &str| token(&GitUrl::parse(url).unwrap(), &environment).map(|(_, token)| token);
        assert_eq!(token("https://git.example:8443/a").as_deref(), Some("its own"));
        assert_eq!(token("https://git.example/a").as_deref(), Some("any"));
        assert_eq!(token("http://127.0.0.1:80/a").as_deref(), Some("any"));
        assert_eq!(token("http://git.example/a"), None);
    }
}
