//! `make bench`: what Slipway's processes take of memory, and how long it takes beside its peers, on the same engines.
//!
//! ```text
//! cases ─► speed ─┬─ contender ─┬─ service (slipwayd --dev, its own data and ports)  ─┬─ link (loopback, or slow) ─► report
//!                 │             ├─ peer (buildctl, docker buildx; their registry)    ─┘      listen (output, as it comes)
//!                 │             └─ rsync
//!                 └─ ground (a tree each) ─┬─ stock, source (real packages; fetched once)
//! memory ── service, sampler               └─ tree, bytes (generated)
//! ```
//!
//! What services and registries keep is in one folder, which each of them has in its command line: however it ends,
//! those processes are ended and the folder is removed. Trees stay for the next run.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Args;
use crate::print::{problem, say};
use crate::scene::Scene;

mod args;
mod bytes;
mod cases;
mod command;
mod contender;
mod exec;
mod ground;
mod link;
mod listen;
mod memory;
mod peer;
mod print;
mod processes;
mod quiet;
mod registry;
mod report;
mod sampler;
mod scene;
mod service;
mod services;
mod source;
mod speed;
mod stats;
mod stock;
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
    scene.check_disk(args)?;
    let (built, missed) = speed::run(&scene, args).await?;
    let kept_limit = if args.runs_memory() { memory::run(&scene, args).await? } else { true };
    if !kept_limit {
        bail!("more memory than the limit of {} MB", memory::LIMIT_MB);
    }
    if !built {
        bail!("a build failed");
    }
    if args.strict && !missed.is_empty() {
        bail!("missed by the median (--strict): {}", missed.join("; "));
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
