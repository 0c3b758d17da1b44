//! `slipway env`

use anyhow::Result;
use slipway_manifest::dotenv::{is_githubs_own, write_dotenv, write_github, write_json, write_shell};
use slipway_manifest::{Selection, is_variable_name};

use super::environment;
use crate::args::{EnvArgs, EnvFormat};
use crate::error::{ExitStatus, Usage};
use crate::images::{self, Found};
use crate::output;
use crate::project::Project;
use crate::session::Session;
use crate::settings::{Output, Settings};

/// Prints the variables of the environment: `OKTETO_BUILD_*` of the manifest's images as the registry has them now, and what
/// the commands of its deploys left in `$OKTETO_ENV`. Images that are not there are warned about.
pub(crate) async fn run(args: &EnvArgs, settings: &Settings) -> Result<ExitStatus> {
    let project = Project::load(settings, &args.vars.vars, &[])?;
    let mut project = project.named(args.name.name.as_deref()).with_git(false).await;
    let session = Session::for_project(settings, &mut project).await?;
    let (name, found) = if project.manifest.build.is_empty() {
        (project.name(&session.namespace), Found::default())
    } else {
        let selection = Selection::build(project.application.clone(), Vec::new());
        let plan = project.plan(&selection, Some(&session.namespace))?;
        let found = images::find(&session, &plan).await?;
        (plan.name, found)
    };
    for (service, image) in &found.missing {
        output::warn(format_args!("`{service}` is not built yet: {image} is not there"));
    }
    let environment = environment::find(&session, &name).await?;
    if environment.is_none() && project.manifest.build.is_empty() {
        let message =
            format!("there is no `build` section, and no environment `{name}` in namespace {}", session.namespace);
        return Err(Usage::new(message).hint("`slipway deploy` first: what its commands leave is printed here").into());
    }
    let kept = environment.map(|environment| environment.variables).unwrap_or_default();
    let kept = kept.iter().map(|variable| (variable.name.as_str(), variable.value.as_deref().unwrap_or_default()));
    let mut variables: Vec<(&str, &str)> = found.env.iter().collect();
    // Images are as they are now, whatever a command said of them.
    variables.extend(kept.filter(|(name, _)| found.env.lookup(name).is_none()));

    let default = if settings.output == Output::Json { EnvFormat::Json } else { EnvFormat::Dotenv };
    let format = args.format.unwrap_or(default);
    if format != EnvFormat::Json {
        variables.retain(|(name, _)| can_be_written(name, format));
    }
    match format {
        EnvFormat::Dotenv => output::print(write_dotenv(variables)?)?,
        EnvFormat::Shell => output::print(write_shell(variables)?)?,
        EnvFormat::Json => output::print(format_args!("{}\n", write_json(variables)))?,
        EnvFormat::Github => output::print(write_github(variables)?)?,
    }
    Ok(ExitStatus::Done)
}

/// Whether the reader of a format takes a variable of this name; one that is left out is warned about.
fn can_be_written(name: &str, format: EnvFormat) -> bool {
    if !is_variable_name(name) {
        output::warn(format_args!("`{}` is left out: a shell can't hold a variable of this name", name.escape_debug()));
        return false;
    }
    if format == EnvFormat::Github && is_githubs_own(name) {
        output::warn(format_args!("`{name}` is left out: GitHub lets nobody else set it"));
        return false;
    }
    true
}
