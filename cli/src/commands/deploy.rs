//! `slipway deploy`

use std::collections::BTreeMap;

use anyhow::Result;
use slipway_manifest::expand::Template;
use slipway_manifest::plan::{BuildMode, remote_decision};
use slipway_manifest::{Manifest, Plan, Selection};

use crate::args::DeployArgs;
use crate::error::{ExitStatus, Usage};
use crate::images;
use crate::interrupt::Interrupt;
use crate::project::Project;
use crate::run::{self, Ending};
use crate::session::Session;
use crate::settings::Settings;

/// Builds what is missing, then runs the deploy commands on the service.
pub(crate) async fn run(args: &DeployArgs, settings: &Settings, interrupt: &Interrupt) -> Result<ExitStatus> {
    let project = Project::load(settings, &args.vars.vars)?;
    refuse_local(&project.manifest, args.remote, project.force_remote(&settings.environment))?;
    // With --no-build the images still have to be known, since the commands get their variables.
    let mode = if args.build { BuildMode::Always } else { BuildMode::IfMissing };
    let mut selection = Selection::deploy(project.application.clone(), mode);
    selection.build_args = project.build_args(&args.build_args)?;
    selection.no_cache = args.no_cache;
    let ending = Ending { detach: args.detach, env_file: args.env_file.as_deref(), metadata_file: None, exports: None };
    if args.no_build {
        let session = Session::open(settings).await?;
        let plan = project.plan(&selection, Some(&session.namespace))?;
        let plan = without_builds(&session, plan, ending).await?;
        let prepared = tokio::task::spawn_blocking(move || run::prepare(&project, plan)).await??;
        return run::run(settings, &session, prepared, Ending { env_file: None, ..ending }, interrupt).await;
    }
    let plan = |project: &Project, namespace: &str| project.plan(&selection, Some(namespace));
    let (prepared, session, _) = run::prepare_and_connect(settings, project, plan).await?;
    run::run(settings, &session, prepared, ending, interrupt).await
}

/// The commands run on the service unless something says no: this version runs them nowhere else.
fn refuse_local(manifest: &Manifest, flag: Option<bool>, force: bool) -> Result<(), Usage> {
    let Some(deploy) = &manifest.deploy else { return Ok(()) };
    let decision = remote_decision(&deploy.run, flag, force);
    let asked = flag == Some(false) || deploy.run.remote == Some(false);
    if decision.remote || !asked {
        return Ok(());
    }
    let message = format!("running deploy commands on this machine is not supported yet: {}", decision.reason);
    Err(Usage::new(message).hint("leave `remote` out, or set it to true: then they run on the service"))
}

/// The plan with the images that are there, and nothing to build.
async fn without_builds(session: &Session, mut plan: Plan, ending: Ending<'_>) -> Result<Plan> {
    let found = images::find(session, &plan).await?;
    if let Some((service, image)) = found.missing.first() {
        let message = format!("--no-build: the image of `{service}`, {image}, is not there");
        return Err(Usage::new(message).hint("deploy without --no-build, or `slipway build` first").into());
    }
    plan.builds = Vec::new();
    if let Some(commands) = &mut plan.commands {
        let image = commands.complete_image(&found.env).map_err(|error| Usage::new(error.to_string()))?;
        commands.image = image.as_deref().map(Template::literal);
        let mut env: BTreeMap<String, String> = commands.env.drain(..).collect();
        env.extend(found.env.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        commands.env = env.into_iter().collect();
    }
    if let Some(path) = ending.env_file {
        run::write_env_file(path, &found.env)?;
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_run_on_the_service_unless_something_says_no() {
        let refused = |deploy: &str, flag, force: bool| {
            let manifest = Manifest::parse(&format!("deploy:\n{deploy}"), "okteto.yaml").unwrap().manifest;
            refuse_local(&manifest, flag, force).is_err()
        };
        let (open, no) = ("- echo\n", "  remote: false\n  commands:\n  - echo\n");
        assert!(!refused(open, None, false));
        assert!(!refused(open, Some(true), false));
        assert!(refused(open, Some(false), false));
        assert!(refused(no, None, false));
        assert!(!refused(no, Some(true), false));
        assert!(refused(no, None, true));
        assert!(!refused(open, None, true));
        // As in Okteto, an image makes it remote whatever the manifest says.
        assert!(!refused(&format!("  image: x\n{no}"), None, false));
    }
}
