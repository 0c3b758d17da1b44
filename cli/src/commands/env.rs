//! `slipway env`

use anyhow::Result;
use slipway_manifest::Selection;

use crate::args::{EnvArgs, EnvFormat};
use crate::error::ExitStatus;
use crate::images;
use crate::output;
use crate::project::Project;
use crate::session::Session;
use crate::settings::{Output, Settings};

/// Prints `OKTETO_BUILD_*` of the manifest's images as the registry has them; those that are not there are warned about.
pub(crate) async fn run(args: &EnvArgs, settings: &Settings) -> Result<ExitStatus> {
    let mut project = Project::load(settings, &args.vars.vars)?;
    let session = Session::for_project(settings, &mut project).await?;
    let selection = Selection::build(project.application.clone(), Vec::new());
    let plan = project.plan(&selection, Some(&session.namespace))?;
    let found = images::find(&session, &plan).await?;
    for (service, image) in &found.missing {
        output::warn(format_args!("`{service}` is not built yet: {image} is not there"));
    }
    let default = if settings.output == Output::Json { EnvFormat::Json } else { EnvFormat::Dotenv };
    match args.format.unwrap_or(default) {
        EnvFormat::Dotenv => output::print(found.env.to_dotenv()?)?,
        EnvFormat::Shell => output::print(found.env.to_shell()?)?,
        EnvFormat::Json => output::print(format_args!("{}\n", found.env.to_json()))?,
    }
    Ok(ExitStatus::Done)
}
