//! `slipway deploy`

use std::sync::Arc;

use anyhow::Result;
use slipway_manifest::Selection;
use slipway_manifest::plan::{BuildMode, JobKind};

use crate::args::DeployArgs;
use crate::commands::okteto;
use crate::error::ExitStatus;
use crate::interrupt::Interrupt;
use crate::project::Project;
use crate::sections::{self, Request};
use crate::session::Session;
use crate::settings::Settings;

/// Builds what is missing, then runs the deploy commands.
pub(crate) async fn run(args: &DeployArgs, settings: &Settings, interrupt: &Interrupt) -> Result<ExitStatus> {
    okteto::warn_of_deploy(&args.okteto, args.turn.waits());
    let project = Project::load(settings, &args.vars.vars, &[JobKind::Deploy])?;
    let mut project = project.named(args.name.name.as_deref()).with_git(true).await;
    let session = Session::for_command(settings, &mut project, args.job.print).await;
    let project = Arc::new(project);
    // With --no-build the images still have to be known, since the commands get their variables.
    let mode = if args.build { BuildMode::Always } else { BuildMode::IfMissing };
    let mut selection = Selection::deploy(project.application.clone(), mode);
    selection.build_args = project.build_args(&args.build_args)?;
    selection.no_cache = args.no_cache;
    selection.dependencies = args.dependencies;
    let request = Request {
        no_build: args.no_build,
        env_file: args.env_file.as_deref(),
        ..Request::new(selection, &args.place, &args.job).taking(&args.turn)
    };
    sections::run(&project, session, request, settings, interrupt).await
}
