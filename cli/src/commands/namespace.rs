//! `slipway namespace …`

use anyhow::Result;
use serde::Serialize;
use slipway_proto::v1::{CreateNamespaceRequest, ListNamespacesRequest, Namespace};

use crate::args::{NamespaceArgs, NamespaceCommand};
use crate::client::{Client, SHORT_CALL, timed};
use crate::commands::okteto::called_okteto;
use crate::contexts::Contexts;
use crate::environment;
use crate::error::{ExitStatus, Usage};
use crate::output::{self, Table};
use crate::settings::{Output, Settings};

#[derive(Serialize)]
struct View<'a> {
    name: &'a str,
    created: Option<String>,
}

/// Makes, lists or chooses namespaces.
pub(crate) async fn run(args: NamespaceArgs, settings: &Settings) -> Result<ExitStatus> {
    let command = match (args.command, args.okteto.name) {
        (Some(command), _) => command,
        (None, Some(name)) => NamespaceCommand::Use { name },
        (None, None) => {
            let message = "nobody has a namespace of their own just so";
            return Err(Usage::new(message).hint("`slipway namespace list` shows yours").into());
        }
    };
    match command {
        NamespaceCommand::Create { name, then_use } => {
            create(name.clone(), settings).await?;
            // As Okteto's does, unless it is told not to.
            if then_use.unwrap_or_else(called_okteto) {
                choose(&name, settings).await?;
            }
        }
        NamespaceCommand::List => list(settings).await?,
        NamespaceCommand::Use { name } => choose(&name, settings).await?,
        NamespaceCommand::Delete { name } => {
            let hint = "`slipway destroy` what runs there, then `slipway environment delete`, `slipway image delete` and \
                        `slipway cache prune --all`";
            let message = format!("namespace {}: slipway deletes no namespaces", name.as_deref().unwrap_or("in use"));
            return Err(Usage::new(message).hint(hint).into());
        }
        NamespaceCommand::Sleep { .. } | NamespaceCommand::Wake { .. } => {
            let message = "slipway runs nothing in a namespace that could sleep";
            return Err(Usage::new(message)
                .hint("`kubectl scale --replicas 0 deployment --all` stops what runs")
                .into());
        }
    }
    Ok(ExitStatus::Done)
}

async fn create(name: String, settings: &Settings) -> Result<()> {
    let client = Client::connect(settings).await?;
    let answer = client.admin().create_namespace(timed(CreateNamespaceRequest { name }, SHORT_CALL)).await;
    let namespace = answer.map_err(|status| client.error(&status))?.into_inner();
    match settings.output {
        Output::Json => print_json(&namespace)?,
        Output::Plain => output::note(format_args!("namespace {} is there", namespace.name)),
    }
    Ok(())
}

async fn list(settings: &Settings) -> Result<()> {
    let client = Client::connect(settings).await?;
    let answer = client.admin().list_namespaces(timed(ListNamespacesRequest {}, SHORT_CALL)).await;
    let namespaces = answer.map_err(|status| client.error(&status))?.into_inner().namespaces;
    let mut table = Table::new(["NAME", "CREATED"]);
    for namespace in &namespaces {
        if settings.output == Output::Json {
            print_json(namespace)?;
        }
        let created = output::time(namespace.created.as_ref()).unwrap_or_default();
        table.row([namespace.name.clone(), created]);
    }
    if settings.output == Output::Plain {
        output::print(table)?;
    }
    Ok(())
}

/// Whether the environment names this namespace already, which counts more than what is remembered; that it names another is an
/// error.
pub(super) fn is_named(name: &str, settings: &Settings) -> Result<bool, Usage> {
    let environment = &settings.environment;
    let mut named = [environment::SLIPWAY_NAMESPACE, environment::OKTETO_NAMESPACE].into_iter();
    let Some((variable, set)) = named.find_map(|variable| Some((variable, environment.get(variable)?))) else {
        return Ok(false);
    };
    if set == name {
        return Ok(true);
    }
    if environment.is_true(environment::OKTETO_DEPLOY_REMOTE) {
        let message = format!("a job works in its own namespace, which is {set}: {name} can't be used");
        return Err(
            Usage::new(message).hint(format!("`slipway -n {name} deploy` makes a job there, by somebody who may"))
        );
    }
    let message = format!("{variable}={set} counts more than what would be remembered");
    Err(Usage::new(message).hint(format!("unset it, or name the namespace with each command: `slipway -n {name} …`")))
}

/// Remembers a namespace with the context in use, unless something that counts more names one.
async fn choose(name: &str, settings: &Settings) -> Result<()> {
    if is_named(name, settings)? {
        output::note(format_args!("namespace {name} is in use already"));
        return Ok(());
    }
    let path = settings.environment.contexts_file();
    let mut contexts = Contexts::load(path.as_deref())?;
    let server = settings.server()?.as_str();
    let Some(context) = contexts.contexts.iter_mut().find(|context| context.server == server) else {
        let hint = "`slipway login URL`, or name the namespace with each command: `slipway -n NAMESPACE …`";
        return Err(Usage::new(format!("you are not logged in to {server}")).hint(hint).into());
    };
    let caller = Client::connect(settings).await?.who_am_i().await?;
    // What an admin names is made when it is used first.
    if !caller.admin && !caller.namespaces.iter().any(|known| known == name) {
        let hint = "`slipway namespace list` shows yours";
        return Err(Usage::new(format!("`{name}` is not a namespace that you may use")).hint(hint).into());
    }
    context.namespace = Some(name.to_owned());
    contexts.save(path.as_deref())?;
    output::note(format_args!("using namespace {name} of {server}"));
    Ok(())
}

fn print_json(namespace: &Namespace) -> Result<()> {
    let created = output::time(namespace.created.as_ref());
    Ok(output::print_json(&View { name: &namespace.name, created })?)
}
