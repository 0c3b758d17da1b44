//! slipwayd: arguments, configuration, logging, run.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use slipway_builder::config::Config;
use slipway_builder::process_log::ProcessLog;
use slipway_builder::{run_job, server, stop, store};
use tracing_subscriber::EnvFilter;

/// The remote build service.
#[derive(Debug, Parser)]
#[command(name = "slipwayd", version)]
struct Args {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// For one machine, without a configuration file: state in the user's data directory, a namespace `dev`.
    #[arg(long)]
    dev: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a configuration file and end.
    CheckConfig {
        /// The file.
        file: PathBuf,
    },
    /// Read all blobs, mark those that are damaged, and forget which trees were complete that no more are.
    ///
    /// The next sync of such a tree sends what is missing. A service may be running. Ends with 1 when damage was found.
    Verify,
    /// Run one job: what the service starts by itself.
    #[command(hide = true)]
    RunJob {
        /// The job's folder.
        dir: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match Box::pin(run(Args::parse())).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "slipwayd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    if let Some(Command::CheckConfig { file }) = &args.command {
        let missing = Config::load(Some(file), args.dev)?.missing_files();
        anyhow::ensure!(missing.is_empty(), "{}", missing.join("\n"));
        return Ok(());
    }
    let config = Config::load(args.config.as_deref(), args.dev)?;
    let filter = EnvFilter::try_new(&config.log)?;
    let log = ProcessLog::default();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(log.clone()).with_ansi(false).init();
    if let Some(Command::RunJob { dir }) = &args.command {
        return Box::pin(run_job::run(&config, run_job::job_dir(dir)?, &log)).await;
    }
    if let Some(Command::Verify) = &args.command {
        // What it writes is as private as what the service writes.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        return store::verify::run(&config.data_dir, &mut std::io::stdout()).await;
    }
    for problem in config.missing_files() {
        tracing::warn!("{problem}: jobs that need it fail");
    }
    let mut process_args = Vec::new();
    if args.dev {
        process_args.push(OsString::from("--dev"));
    }
    if let Some(file) = &args.config {
        process_args.extend([OsString::from("--config"), std::path::absolute(file)?.into_os_string()]);
    }
    let listener = tokio::net::TcpListener::bind(config.listen)
        .await
        .map_err(|error| anyhow::anyhow!("listen on {}: {error} (set `listen` to another address)", config.listen))?;
    Box::pin(server::run(config, args.dev, process_args, listener, stop::signals()?)).await
}
