//! `slipway test`

use std::sync::Arc;

use anyhow::Result;
use slipway_manifest::Selection;
use slipway_manifest::plan::BuildMode;

use crate::args::{PlaceArgs, TestArgs};
use crate::error::ExitStatus;
use crate::interrupt::Interrupt;
use crate::project::Project;
use crate::sections::{self, Request};
use crate::settings::Settings;

/// Runs tests, after a deploy if that is asked for.
pub(crate) async fn run(args: &TestArgs, settings: &Settings, interrupt: &Interrupt) -> Result<ExitStatus> {
    let project = Arc::new(Project::load(settings, &args.vars.vars)?);
    let place = PlaceArgs::default();
    // Before anything is deployed for them.
    args.tests.iter().try_for_each(|name| sections::test_of(&project, name).map(drop))?;
    if args.deploy {
        let deploy = Selection::deploy(project.application.clone(), BuildMode::IfMissing);
        let deployed = sections::run(&project, Request::new(deploy, &place, &args.job), settings, interrupt).await?;
        if deployed != ExitStatus::Done {
            return Ok(deployed);
        }
    }
    let selection = Selection::test(project.application.clone(), args.tests.clone());
    sections::run(&project, Request::new(selection, &place, &args.job), settings, interrupt).await
}
