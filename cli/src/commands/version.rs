//! `slipway version`

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::client::{Client, ServiceError};
use crate::error::ExitStatus;
use crate::output;
use crate::settings::{Output, ServerUrl, Settings};

/// Who asks for the version is not to wait for a service that does not answer.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Serialize)]
struct View<'a> {
    client: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<Service>,
}

#[derive(Serialize)]
struct Service {
    server: String,
    version: String,
    api: String,
    min_client: String,
    features: Vec<String>,
    registry: String,
}

/// Prints this program's version, and the service's if it answers.
pub(crate) async fn run(settings: &Settings) -> Result<ExitStatus> {
    let service = match &settings.server {
        None => None,
        Some(server) => match tokio::time::timeout(PATIENCE, service(server)).await {
            Ok(Ok(service)) => Some(service),
            Ok(Err(error)) => {
                output::note(error);
                None
            }
            Err(_) => {
                output::note(format_args!("the service at {server} does not answer"));
                None
            }
        },
    };
    let client = env!("CARGO_PKG_VERSION");
    if settings.output == Output::Json {
        output::print_json(&View { client, service })?;
        return Ok(ExitStatus::Done);
    }
    output::print(format_args!("slipway {client}\n"))?;
    if let Some(service) = service {
        output::print(format_args!("slipwayd {} (api {}) at {}\n", service.version, service.api, service.server))?;
    }
    Ok(ExitStatus::Done)
}

async fn service(server: &ServerUrl) -> Result<Service, ServiceError> {
    let info = Client::open(server, None).await?.info().await?;
    Ok(Service {
        server: server.to_string(),
        version: info.version,
        api: info.api,
        min_client: info.min_client,
        features: info.features,
        registry: info.registry,
    })
}
