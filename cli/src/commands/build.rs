//! `slipway build`

use std::sync::Arc;

use anyhow::Result;
use slipway_manifest::Selection;
use slipway_manifest::plan::JobKind;
use slipway_manifest::print::PrintedPlan;

use crate::args::BuildArgs;
use crate::error::ExitStatus;
use crate::explain;
use crate::exports::Exports;
use crate::interrupt::Interrupt;
use crate::output;
use crate::project::Project;
use crate::run::{self, Ending};
use crate::secrets;
use crate::session::Session;
use crate::settings::{Output, Settings};
use crate::ssh;

mod one_image;

/// Builds images.
pub(crate) async fn run(args: &BuildArgs, settings: &Settings, interrupt: &Interrupt) -> Result<ExitStatus> {
    let (mut project, services) = if args.tags.is_empty() {
        one_image::check_manifest(settings)?;
        (Project::load(settings, &args.vars.vars, &[JobKind::Build])?.with_git(false).await, args.services.clone())
    } else {
        (one_image::project(args, settings)?, Vec::new())
    };
    // Who only asks needs none.
    project.agents = !args.explain;
    let session = Session::for_command(settings, &mut project, args.print).await;
    let mut selection = Selection::build(project.application.clone(), services);
    selection.build_args = project.build_args(&args.build_args)?;
    selection.target.clone_from(&args.target);
    selection.platforms.clone_from(&args.platforms);
    selection.no_cache = args.no_cache;
    selection.options = secrets::with_absolute_folders(args.options.to_pairs())?;
    selection.options.extend(secrets::options(&args.secrets, &project)?);
    selection.options.extend(ssh::options(&args.ssh)?);
    let exports = Exports::new(args, settings.output)?;
    selection.options.extend(exports.options());
    let Some(session) = session else {
        let plan = project.plan(&selection, settings.namespace.as_deref())?;
        let scan = move || run::prepare_whole(&project, plan).map(|prepared| (project, prepared));
        let (project, prepared) = tokio::task::spawn_blocking(scan).await??;
        let printed = PrintedPlan::new(&prepared.plan, run::context_digests(&prepared));
        output::print_json(&one_image::as_asked(args, settings, project.masked(printed)))?;
        return Ok(ExitStatus::Done);
    };
    let plan = |project: &Project, namespace: &str| {
        let plan = project.plan(&selection, Some(namespace))?;
        exports.add_to(plan, &selection.services)
    };
    // It holds files that are read until they have been sent.
    let project = Arc::new(project);
    let (prepared, session) = run::prepare_for(settings, &project, session, plan).await?;
    if args.explain {
        let json = settings.output == Output::Json;
        explain::explain(&session, prepared, &selection.services, json).await?;
        return Ok(ExitStatus::Done);
    }
    let ending = Ending {
        detach: args.detach,
        env_file: args.env_file.as_deref(),
        metadata_file: args.metadata_file.as_deref(),
        exports: Some(&exports),
        goes_on: false,
    };
    run::run(settings, &session, prepared, ending, interrupt).await
}
