//! `slipway build`

use std::time::Duration;

use anyhow::Result;
use slipway_manifest::Selection;
use slipway_manifest::print::{Digests, PrintedPlan};

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

/// How long a service that is not needed is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Builds images.
pub(crate) async fn run(args: &BuildArgs, settings: &Settings, interrupt: &Interrupt) -> Result<ExitStatus> {
    let (mut project, services) = if args.tags.is_empty() {
        (Project::load(settings, &args.vars.vars)?, args.services.clone())
    } else {
        (one_image::project(args, settings)?, Vec::new())
    };
    // Who only asks needs none.
    project.agents = !args.explain;
    let session = if args.print {
        ask_to_print(settings, &mut project).await;
        None
    } else {
        Some(Session::for_project(settings, &mut project).await)
    };
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
        let masks = project.plan_masks();
        let prepared = tokio::task::spawn_blocking(move || run::prepare_whole(&project, plan)).await??;
        let mut roots = prepared.builds.iter();
        let printed = PrintedPlan::new(&prepared.plan, |_| Digests {
            context: roots
                .next()
                .and_then(|roots| prepared.roots.tree(&roots.context))
                .map(|tree| tree.scan.digest().to_string()),
            // Nobody but the service can complete it, and its API doesn't give it yet.
            input: None,
        });
        output::print_json(&one_image::as_asked(args, printed.masked(|text| masks.text(text).into_owned())))?;
        return Ok(ExitStatus::Done);
    };
    let plan = |project: &Project, namespace: &str| {
        let plan = project.plan(&selection, Some(namespace))?;
        exports.add_to(plan, &selection.services)
    };
    // It holds files that are read until they have been sent.
    let (prepared, session, _project) = run::prepare_for(settings, project, session, plan).await?;
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
    };
    run::run(settings, &session, prepared, ending, interrupt).await
}

/// Gets the service's variables for a plan that is printed, where there is a service: it works without one.
async fn ask_to_print(settings: &Settings, project: &mut Project) {
    if settings.server.is_none() {
        return;
    }
    let asked = tokio::time::timeout(PATIENCE, Session::for_project(settings, project)).await;
    let error = match asked {
        Ok(Ok(_)) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("the service does not answer within {} s", PATIENCE.as_secs()),
    };
    output::note(format_args!("printed without the service's variables: {error}"));
}
