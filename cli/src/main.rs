//! slipway, the command: reads a project's okteto.yaml, sends a Slipway service the source bytes that it has never seen, and
//! shows what becomes of the job.
//!
//! Arguments ([`args`]) and the environment ([`environment`]) become [`settings`] once; each command has a file under
//! [`commands`] and returns an exit status. `build`, `deploy`, `destroy` and `test` go through [`project`] (the manifest,
//! expanded), [`roots`] (the trees that the job reads), [`submit`], [`sync`] and [`follow`]; commands that run here, [`local`].

use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command};
use crate::environment::Environment;
use crate::error::{ExitStatus, Usage};
use crate::interrupt::Interrupt;
use crate::settings::Settings;

mod args;
mod artifacts;
mod client;
mod commands;
mod contexts;
mod environment;
mod error;
mod explain;
mod exports;
mod follow;
mod git;
mod git_logins;
mod images;
mod interrupt;
mod layout;
mod local;
mod logins;
mod metadata;
mod output;
mod project;
mod roots;
mod run;
mod secrets;
mod sections;
mod service_variables;
mod session;
mod settings;
mod ssh;
mod submit;
mod sync;
mod watch;
mod whole_file;

fn main() -> ExitCode {
    let mut cli = Cli::parse();
    if matches!(cli.command, Command::RunAgent) {
        return slipway_runner_agent::agent::main();
    }
    cli.take_oktetos_flags();
    if let Command::Login(login) = &cli.command {
        // The token and namespace that count are those for the server to log in to.
        cli.global.server = Some(login.url.clone());
    }
    run(cli)
        .unwrap_or_else(|error| {
            if let Some(text) = error::report(&error) {
                output::diagnose(format!("{text}\n").as_bytes());
            }
            error::status(&error)
        })
        .into()
}

fn run(cli: Cli) -> anyhow::Result<ExitStatus> {
    let settings = Settings::resolve(cli.global, Environment::current())?;
    let filter = EnvFilter::try_new(&settings.log_level)
        .map_err(|_| Usage::new(format!("`{}` is not a log level", settings.log_level)))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| output::Diagnostics).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let status = runtime.block_on(async {
        let interrupt = Interrupt::install()?;
        commands::run(cli.command, &settings, &interrupt).await
    });
    // Whatever still reads files in the background is not worth waiting for.
    runtime.shutdown_background();
    status
}
