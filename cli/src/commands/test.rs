//! `slipway test`

use std::sync::Arc;

use anyhow::Result;
use slipway_manifest::Selection;
use slipway_manifest::plan::{BuildMode, JobKind};

use crate::args::{PlaceArgs, TestArgs};
use crate::commands::okteto;
use crate::error::{ExitStatus, Usage};
use crate::interrupt::Interrupt;
use crate::project::Project;
use crate::sections::{self, Request};
use crate::session::Session;
use crate::settings::Settings;

/// Runs tests, after a deploy if that is asked for.
pub(crate) async fn run(args: &TestArgs, settings: &Settings, interrupt: &Interrupt) -> Result<ExitStatus> {
    okteto::warn_of_test(&args.okteto);
    let kinds = [JobKind::Test, JobKind::Deploy];
    let kinds = if args.deploy { &kinds[..] } else { &kinds[..1] };
    let project = Project::load(settings, &args.vars.vars, kinds)?;
    let mut project = project.named(args.name.name.as_deref()).with_git(true).await;
    let place = PlaceArgs::default();
    // Before anything is deployed for them.
    if project.manifest.tests.is_empty() && args.tests.is_empty() {
        return Err(Usage::new(format!("{}: there is no `test` section", project.manifest.file)).into());
    }
    args.tests.iter().try_for_each(|name| sections::test_of(&project, name).map(drop))?;
    let mut session = Session::for_command(settings, &mut project, args.job.print).await;
    let project = Arc::new(project);
    let mut selection = Selection::test(project.application.clone(), args.tests.clone());
    selection.no_cache = args.no_cache;
    if args.deploy {
        let known = session.as_ref().and_then(|session| session.as_ref().ok());
        sections::check(&project, &selection, known, settings)?;
        let deploy = Selection::deploy(project.application.clone(), BuildMode::IfMissing);
        let again = match &session {
            Some(Ok(session)) => Some(Ok(session.clone())),
            // It says why there is none, where the deploy needed none.
            Some(Err(_)) => Some(Session::open(settings).await),
            None => None,
        };
        let request = Request::new(deploy, &place, &args.job);
        let deployed =
            sections::run(&project, std::mem::replace(&mut session, again), request, settings, interrupt).await?;
        if deployed != ExitStatus::Done {
            return Ok(deployed);
        }
    }
    sections::run(&project, session, Request::new(selection, &place, &args.job), settings, interrupt).await
}
