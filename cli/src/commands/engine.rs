//! `slipway engine …`

use anyhow::Result;
use serde::Serialize;
use slipway_proto::v1::{DrainEngineRequest, Engine, ListEnginesRequest};

use crate::args::EngineCommand;
use crate::client::{Client, SHORT_CALL, timed};
use crate::error::ExitStatus;
use crate::output::{self, Table};
use crate::settings::{Output, Settings};

#[derive(Serialize)]
struct View<'a> {
    address: &'a str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    building: u32,
    max_builds: u32,
}

impl<'a> From<&'a Engine> for View<'a> {
    fn from(engine: &'a Engine) -> Self {
        let error = Some(engine.error.as_str()).filter(|error| !error.is_empty());
        let state = match (error, engine.draining) {
            (Some(_), _) => "down",
            (None, true) => "draining",
            (None, false) => "up",
        };
        let Engine { address, building, max_builds, .. } = engine;
        Self { address, state, error, building: *building, max_builds: *max_builds }
    }
}

/// Lists, drains or resumes engines.
pub(crate) async fn run(command: EngineCommand, settings: &Settings) -> Result<ExitStatus> {
    match command {
        EngineCommand::List => list(settings).await?,
        EngineCommand::Drain { address } => drain(address, true, settings).await?,
        EngineCommand::Resume { address } => drain(address, false, settings).await?,
    }
    Ok(ExitStatus::Done)
}

async fn list(settings: &Settings) -> Result<()> {
    let client = Client::connect(settings).await?;
    let answer = client.admin().list_engines(timed(ListEnginesRequest {}, SHORT_CALL)).await;
    let engines = answer.map_err(|status| client.error(&status))?.into_inner().engines;
    let mut table = Table::new(["ENGINE", "STATE", "BUILDS", "MAX BUILDS", "ERROR"]);
    for view in engines.iter().map(View::from) {
        if settings.output == Output::Json {
            output::print_json(&view)?;
        }
        let (building, most) = (view.building.to_string(), view.max_builds.to_string());
        let error = view.error.unwrap_or_default().to_owned();
        table.row([view.address.to_owned(), view.state.to_owned(), building, most, error]);
    }
    if settings.output == Output::Plain {
        output::print(table)?;
    }
    Ok(())
}

async fn drain(address: String, draining: bool, settings: &Settings) -> Result<()> {
    let client = Client::connect(settings).await?;
    let answer = client.admin().drain_engine(timed(DrainEngineRequest { address, draining }, SHORT_CALL)).await;
    let engine = answer.map_err(|status| client.error(&status))?.into_inner();
    match (settings.output, draining) {
        (Output::Json, _) => output::print_json(&View::from(&engine))?,
        (Output::Plain, true) => {
            output::note(format_args!(
                "{} takes no more builds; {} of them run on it",
                engine.address, engine.building
            ));
        }
        (Output::Plain, false) => output::note(format_args!("{} takes builds", engine.address)),
    }
    Ok(())
}
