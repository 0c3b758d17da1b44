//! `make bench`: what Slipway's processes take of memory, and how long it takes beside its peers, on the same engines.
//!
//! ```text
//! memory ─┬─ service (slipwayd --dev, its own data and ports) ─┐
//! speed  ─┴─ peer (buildctl, docker buildx; their registry)   ─┴─ command, processes, tree, table
//! ```
//!
//! Everything it makes is in one folder, which every process it starts has in its command line: however it ends, those
//! processes are ended and the folder is removed.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Args, Part};
use crate::print::{problem, say};
use crate::scene::Scene;

mod args;
mod command;
mod memory;
mod peer;
mod print;
mod processes;
mod registry;
mod sampler;
mod scene;
mod service;
mod speed;
mod stats;
mod tree;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    // Whoever loses is dropped, and takes its processes and files with it.
    let result = tokio::select! {
        result = run(&args) => result,
        result = stopped() => result,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            problem(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<()> {
    let scene = Scene::new(args.seed())?;
    say(&format!("seed {} (--seed repeats the same bytes, which the engines may then know)", scene.seed));
    let kept_limit = if args.runs(Part::Memory) { memory::run(&scene, args).await? } else { true };
    if args.runs(Part::Speed) {
        speed::run(&scene, args).await?;
    }
    if !kept_limit {
        bail!("more memory than the limit of {} MB", memory::LIMIT_MB);
    }
    Ok(())
}

/// Ends with an error when somebody asks us to stop.
async fn stopped() -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => bail!("terminated"),
        _ = interrupt.recv() => bail!("interrupted"),
    }
}
