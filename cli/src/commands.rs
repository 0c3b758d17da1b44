//! One file for each command. Each returns the exit status, or an error that `error.rs` turns into one.

use anyhow::{Result, bail};

use crate::args::Command;
use crate::error::ExitStatus;
use crate::interrupt::Interrupt;
use crate::settings::Settings;

mod build;
mod cache;
mod context;
pub(crate) mod dependency;
mod deploy;
mod destroy;
mod engine;
mod env;
pub(crate) mod environment;
mod files;
mod image;
mod job;
mod login;
mod namespace;
mod okteto;
mod test;
mod token;
mod validate;
mod variable;
mod version;

/// Runs a command.
pub(crate) async fn run(command: Command, settings: &Settings, interrupt: &Interrupt) -> Result<ExitStatus> {
    match command {
        Command::Login(args) => login::run(&args, settings).await,
        Command::Context(args) => context::run(args, settings).await,
        Command::Build(args) => build::run(&args, settings, interrupt).await,
        Command::Deploy(args) => deploy::run(&args, settings, interrupt).await,
        Command::DeployDependency(args) => Box::pin(dependency::run(&args, settings, interrupt)).await,
        Command::Destroy(args) => destroy::run(&args, settings, interrupt).await,
        Command::Test(args) => test::run(&args, settings, interrupt).await,
        Command::Files(args) => files::run(&args, settings).await,
        Command::Env(args) => env::run(&args, settings).await,
        Command::Environment(command) => environment::run(command, settings).await,
        Command::Validate => validate::run(settings),
        Command::Image(command) => image::run(command, settings).await,
        Command::Namespace(args) => namespace::run(args, settings).await,
        Command::Cache(command) => cache::run(command, settings).await,
        Command::Variable(command) => variable::run(command, settings).await,
        Command::Token(command) => token::run(command, settings).await,
        Command::Engine(command) => engine::run(command, settings).await,
        Command::Job(command) => job::run(command, settings, interrupt).await,
        Command::Okteto(command) => okteto::run(command, settings).await,
        Command::Version => version::run(settings).await,
        // It needs no settings, and must have no threads beside it.
        Command::RunAgent => bail!("the agent runs alone"),
    }
}
