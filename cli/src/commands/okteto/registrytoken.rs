//! `registrytoken`: the login for the service's registry, as Docker's credential helpers say it.

use std::io::{self, Read as _};

use anyhow::Result;
use secrecy::ExposeSecret as _;
use slipway_runner_agent::login;

use crate::args::RegistryTokenCommand;
use crate::client::Client;
use crate::environment;
use crate::error::{ExitStatus, Usage};
use crate::output;
use crate::settings::Settings;

/// How Docker's configuration names the helper.
const HELPER: &str = "okteto";

/// Answers one question of the protocol, or says what there is to install.
pub(crate) async fn run(command: RegistryTokenCommand, settings: &Settings) -> Result<ExitStatus> {
    let verb = match command {
        RegistryTokenCommand::Get => "get",
        RegistryTokenCommand::List => "list",
        RegistryTokenCommand::Store => "store",
        RegistryTokenCommand::Erase => "erase",
        RegistryTokenCommand::Version => {
            output::print(format_args!("{} {}\n", login::HELPER, env!("CARGO_PKG_VERSION")))?;
            return Ok(ExitStatus::Done);
        }
        RegistryTokenCommand::Install { .. } => return Ok(install(settings)?),
        RegistryTokenCommand::Uninstall { .. } => return Ok(uninstall(settings)),
    };
    let answer = match verb {
        "get" => get(settings).await,
        verb => login::answer(Some(verb), "", &|_| None),
    };
    // The protocol has its errors on standard output, where tools look for them.
    let (answer, status) = match answer {
        Ok(answer) => (answer, ExitStatus::Done),
        Err(why) => (why, ExitStatus::Failed),
    };
    output::print(format_args!("{answer}\n"))?;
    Ok(status)
}

/// The login for the registry that is asked for on standard input.
async fn get(settings: &Settings) -> Result<String, String> {
    let mut question = String::new();
    // What is no text is nobody's registry.
    let _ = io::stdin().take(login::MAX_QUESTION).read_to_string(&mut question);
    let environment = &settings.environment;
    // Only a job's variable is the service's word: elsewhere anybody may have set it, and would get the token.
    let told = environment.get(environment::OKTETO_REGISTRY_URL);
    let registry = match told.filter(|_| environment.is_true(environment::OKTETO_DEPLOY_REMOTE)) {
        Some(registry) => registry.to_owned(),
        None => Client::connect(settings).await.map_err(|error| format!("{error:#}"))?.registry().to_owned(),
    };
    let variable = |name: &str| match name {
        environment::OKTETO_REGISTRY_URL => Some(registry.clone()),
        environment::OKTETO_TOKEN => settings.token.as_ref().map(|token| token.expose_secret().to_owned()),
        _ => None,
    };
    login::answer(Some("get"), question.trim(), &variable)
}

fn install(settings: &Settings) -> Result<ExitStatus, Usage> {
    if is_installed(settings) {
        output::note("Docker's tools are logged in to the registry already: there is nothing to install");
        return Ok(ExitStatus::Done);
    }
    Err(Usage::new("slipway installs no credential helper")
        .hint("the runner has one; here `docker login -u okteto REGISTRY`, with your token as the password"))
}

fn uninstall(settings: &Settings) -> ExitStatus {
    if is_installed(settings) {
        output::warn("the credential helper is the service's, and stays as long as the job");
    } else {
        output::note("no credential helper is installed");
    }
    ExitStatus::Done
}

/// Whether Docker's configuration has the helper for any registry.
fn is_installed(settings: &Settings) -> bool {
    let config = settings.environment.docker_config().and_then(|path| std::fs::read(path).ok());
    let config: serde_json::Value = config.and_then(|config| serde_json::from_slice(&config).ok()).unwrap_or_default();
    let mut helpers = config["credHelpers"].as_object().into_iter().flat_map(|helpers| helpers.values());
    config["credsStore"] == HELPER || helpers.any(|helper| helper == HELPER)
}
