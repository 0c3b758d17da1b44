//! `slipway namespace …`

use anyhow::Result;
use serde::Serialize;
use slipway_proto::v1::{CreateNamespaceRequest, ListNamespacesRequest, Namespace};

use crate::args::NamespaceCommand;
use crate::client::{Client, SHORT_CALL, timed};
use crate::error::ExitStatus;
use crate::output::{self, Table};
use crate::settings::{Output, Settings};

#[derive(Serialize)]
struct View<'a> {
    name: &'a str,
    created: Option<String>,
}

/// Makes or lists namespaces.
pub(crate) async fn run(command: NamespaceCommand, settings: &Settings) -> Result<ExitStatus> {
    let client = Client::connect(settings).await?;
    match command {
        NamespaceCommand::Create { name } => {
            let request = timed(CreateNamespaceRequest { name }, SHORT_CALL);
            let answer = client.admin().create_namespace(request).await;
            let namespace = answer.map_err(|status| client.error(&status))?.into_inner();
            match settings.output {
                Output::Json => print_json(&namespace)?,
                Output::Plain => output::note(format_args!("namespace {} is there", namespace.name)),
            }
        }
        NamespaceCommand::List => {
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
        }
    }
    Ok(ExitStatus::Done)
}

fn print_json(namespace: &Namespace) -> Result<()> {
    let created = output::time(namespace.created.as_ref());
    Ok(output::print_json(&View { name: &namespace.name, created })?)
}
