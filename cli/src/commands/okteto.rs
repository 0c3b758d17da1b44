//! What commands written for Okteto's own command ask for and slipway has not: done where that has a meaning here, else refused in a
//! line that says what to use. `docs/cli.md` has the table.

use std::path::PathBuf;

use anyhow::Result;

use crate::args::{OktetoCommand, OktetoDeployArgs, OktetoDestroyArgs, OktetoTestArgs};
use crate::environment;
use crate::error::{ExitStatus, Usage};
use crate::output;
use crate::settings::Settings;

mod registrytoken;

/// Does what there is to do.
pub(crate) async fn run(command: OktetoCommand, settings: &Settings) -> Result<ExitStatus> {
    let (name, instead) = match command {
        OktetoCommand::Kubeconfig => return Ok(kubeconfig(settings)?),
        OktetoCommand::Registrytoken(command) => return registrytoken::run(command, settings).await,
        OktetoCommand::Analytics(_) => {
            output::note("there are no analytics");
            return Ok(ExitStatus::Done);
        }
        OktetoCommand::Kubetoken(_) => (
            "kubetoken",
            "kubectl gets its credentials from KUBECONFIG, where an admin gives the namespace a kubeconfig (`[runner.access] kubeconfigs`)",
        ),
        OktetoCommand::Pipeline(_) => (
            "pipeline",
            "name the repository in the manifest's `dependencies`, or clone it and run `slipway deploy` or `slipway destroy` in it",
        ),
        OktetoCommand::Preview(_) => (
            "preview",
            "`slipway deploy -n NAMESPACE --name NAME` deploys what is checked out, `slipway destroy` ends it",
        ),
        OktetoCommand::Stack(_) => {
            ("stack", "compose files are not deployed; `kubectl apply` or `helm upgrade` in the deploy section is")
        }
        OktetoCommand::Endpoints(_) => ("endpoints", "ask the cluster: `kubectl get ingress`"),
        OktetoCommand::Logs(_) => {
            ("logs", "`slipway job logs JOB` has what commands wrote, `kubectl logs POD` what pods write")
        }
        OktetoCommand::Exec(_) => ("exec", "use `kubectl exec POD -- COMMAND`"),
        OktetoCommand::Restart(_) => ("restart", "use `kubectl rollout restart deployment/NAME`"),
        OktetoCommand::Up(_) => ("up", DEVELOPMENT),
        OktetoCommand::Down(_) => ("down", DEVELOPMENT),
        OktetoCommand::Status(_) => ("status", DEVELOPMENT),
    };
    Err(Usage::new(format!("slipway has no `{name}`: {instead}")).into())
}

const DEVELOPMENT: &str = "development containers need Okteto's own command, and a cluster of Okteto's";

/// Okteto's command writes a kubeconfig for its own cluster. Here a job has the one that an admin gives its namespace, and what else
/// there is may lead anywhere.
fn kubeconfig(settings: &Settings) -> Result<ExitStatus, Usage> {
    let environment = &settings.environment;
    let there = environment.kubeconfigs().into_iter().find(|path| path.exists());
    if !environment.is_true(environment::OKTETO_DEPLOY_REMOTE) {
        let named = environment.get(environment::KUBECONFIG).and(there);
        let Some(path) = named else {
            let hint = "set KUBECONFIG to a file of your own; commands on the service get the one that an admin gives their \
                        namespace (`[runner.access] kubeconfigs`)";
            return Err(Usage::new("slipway hands out no kubeconfig").hint(hint));
        };
        output::warn(format_args!(
            "slipway hands out no kubeconfig: kubectl and helm go where {} says",
            path.display()
        ));
        return Ok(ExitStatus::Done);
    }
    if let Some(name) = settings.namespaces.last() {
        super::namespace::is_named(name, settings)?;
    }
    if let Some(path) = there {
        output::note(format_args!("kubectl and helm use {} already: there is nothing to get", path.display()));
        return Ok(ExitStatus::Done);
    }
    let namespace = environment.get(environment::OKTETO_NAMESPACE).unwrap_or("NAMESPACE");
    Err(Usage::new(format!("there is no kubeconfig for namespace {namespace}")).hint(format!(
        "an admin gives it one: `{namespace} = \"FILE\"` under `[runner.access.kubeconfigs]` in slipwayd's configuration"
    )))
}

/// Whether this program was called by Okteto's name, and its flags mean what they mean there.
pub(super) fn called_okteto() -> bool {
    let name = std::env::args_os().next().map(PathBuf::from);
    name.is_some_and(|path| path.file_name().is_some_and(|name| name == "okteto"))
}

/// Says which of `deploy`'s flags change nothing. `--wait` is one of ours, too, with another meaning.
pub(crate) fn warn_of_deploy(flags: &OktetoDeployArgs, waits: bool) {
    if flags.timeout.is_some() || (waits && called_okteto()) {
        output::warn(
            "--wait and --timeout: slipway waits for the commands, and not for pods; `kubectl rollout status --timeout 5m` in \
             a command does that",
        );
    }
    warn_of_no_bash(flags.no_bash);
}

/// Refuses those of `destroy`'s flags without which something would be left running, and says which change nothing.
pub(crate) fn check_destroy(flags: &OktetoDestroyArgs) -> Result<(), Usage> {
    if flags.all {
        return Err(Usage::new("--all: slipway destroys one environment at a time").hint(
            "`slipway environment list` names them; `slipway destroy --name NAME`, with its manifest, destroys one",
        ));
    }
    if flags.dependencies {
        return Err(Usage::new("--dependencies: slipway destroys no dependencies with an environment")
            .hint("run `slipway destroy` with the manifest of each"));
    }
    if flags.volumes {
        output::warn(
            "--volumes: only the destroy commands remove anything; `kubectl delete pvc` among them removes volumes",
        );
    }
    warn_of_no_bash(flags.no_bash);
    Ok(())
}

/// Says which of `test`'s flags change nothing.
pub(crate) fn warn_of_test(flags: &OktetoTestArgs) {
    if flags.timeout.is_some() {
        output::warn(
            "--timeout: how long tests may take is for the service to say (`limits.time_s`); `timeout 5m …` in a command ends \
             one",
        );
    }
}

fn warn_of_no_bash(no_bash: bool) {
    if no_bash {
        output::warn(
            "--no-bash: on the service commands run in `sh` anyway, on this machine in bash where there is one",
        );
    }
}
