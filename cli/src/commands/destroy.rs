//! `slipway destroy`

use std::sync::Arc;

use anyhow::Result;
use slipway_manifest::Selection;
use slipway_manifest::plan::JobKind;

use crate::args::DestroyArgs;
use crate::commands::okteto;
use crate::error::ExitStatus;
use crate::interrupt::Interrupt;
use crate::project::Project;
use crate::sections::{self, Request};
use crate::session::Session;
use crate::settings::Settings;

/// Runs the destroy commands.
pub(crate) async fn run(args: &DestroyArgs, settings: &Settings, interrupt: &Interrupt) -> Result<ExitStatus> {
    okteto::check_destroy(&args.okteto)?;
    let project = Project::load(settings, &args.vars.vars, &[JobKind::Destroy])?;
    let mut project = project.named(args.name.name.as_deref()).with_git(true).await;
    let session = Session::for_command(settings, &mut project, args.job.print).await;
    let project = Arc::new(project);
    let selection = Selection { keep_going: args.force, ..Selection::destroy(project.application.clone()) };
    let request = Request::new(selection, &args.place, &args.job).taking(&args.turn);
    sections::run(&project, session, request, settings, interrupt).await
}
