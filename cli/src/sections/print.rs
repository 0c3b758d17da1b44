//! `--print`: the plan, with where its commands would run and why.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use slipway_manifest::plan::{Decision, remote_decision};
use slipway_manifest::print::PrintedPlan;

use super::{Request, asked};
use crate::error::ExitStatus;
use crate::output;
use crate::project::Project;
use crate::run;
use crate::settings::Settings;

/// Prints it as JSON. Nothing is built, and no job is made.
pub(super) async fn print(project: &Arc<Project>, request: &Request<'_>, settings: &Settings) -> Result<ExitStatus> {
    let plan = project.plan(&request.selection, settings.namespace.as_deref())?;
    let asked = asked(project, request, settings);
    let decisions: Vec<Decision> = plan.commands.iter().map(|commands| remote_decision(commands, asked)).collect();
    let printed = {
        let project = Arc::clone(project);
        let scan = move || {
            // The trees of the commands are not printed.
            let builds = slipway_manifest::Plan { commands: Vec::new(), ..plan.clone() };
            run::prepare_whole(&project, builds).map(|prepared| (plan, prepared))
        };
        let (plan, prepared) = tokio::task::spawn_blocking(scan).await.context("scan")??;
        PrintedPlan::new(&plan, run::context_digests(&prepared)).with_commands(&plan, &decisions)
    };
    output::print_json(&project.masked(printed))?;
    Ok(ExitStatus::Done)
}
