//! The peak of anonymous memory of slipwayd, of the job's process and of the CLI, for contexts that are large in two ways.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::args::Args;
use crate::print::{say, table};
use crate::sampler::{Peaks, Sampler};
use crate::scene::Scene;
use crate::service::{Build, Service, write_project};
use crate::tree;

/// No process may have more, in MB (10^6 bytes).
pub(crate) const LIMIT_MB: u64 = 150;
const SMALL_FILES: u64 = 200_000;
const LARGE_BYTES: u64 = 3 << 30;
const LARGE_FILE: &str = "large.bin";

type Generate = fn(&Path, u64) -> Result<()>;
const CONTEXTS: [(&str, Generate); 2] = [
    ("200,000 small files", |tree, seed| tree::many(tree, SMALL_FILES, seed)),
    ("one file of 3 GiB", |tree, seed| tree::large(&tree.join(LARGE_FILE), LARGE_BYTES, seed)),
];

/// Measures and prints; false if somebody had more than the limit.
pub(crate) async fn run(scene: &Scene, args: &Args) -> Result<bool> {
    let engine = args.engines().first().cloned().context("no engine")?;
    say(&format!("\nMemory: FROM scratch, COPY . /src on {engine}"));
    let mut rows = Vec::new();
    let mut kept = true;
    for (number, (name, generate)) in CONTEXTS.into_iter().enumerate() {
        let (peaks, seconds) = measure(scene, &engine, number, generate).await.with_context(|| name.to_owned())?;
        kept &= [peaks.service, peaks.job, peaks.cli].iter().all(|&kib| kib * 1024 < LIMIT_MB * 1_000_000);
        rows.push(row(name, &peaks, seconds));
    }
    let verdict = if kept { "kept" } else { "EXCEEDED" };
    let heading = ["context", "slipwayd MB", "job MB", "slipway MB", "time s", "looks", "longest gap ms"];
    say(&table(&heading, &rows));
    say(&format!("Peaks of RssAnon, each to be below {LIMIT_MB} MB: {verdict}"));
    Ok(kept)
}

async fn measure(scene: &Scene, engine: &str, number: usize, generate: Generate) -> Result<(Peaks, f64)> {
    let project = scene.stock().join(format!("memory-{number}"));
    let tree = project.join("tree");
    fs::create_dir_all(&tree).context("make a tree")?;
    fs::write(tree.join("Dockerfile"), "FROM scratch\nCOPY . /src\n").context("write a Dockerfile")?;
    generate(&tree, scene.seed)?;
    write_project(&project, "latest")?;
    // One service for each: what an allocator keeps of the first would count in the second.
    let service = Service::start(scene, &format!("memory-{number}"), engine).await?;
    let build = service.build(&Build { project: &project, server: None, skip: true }, scene.path())?;
    let sampler = Sampler::start(service.pid(), build.pid(), service.dir());
    let done = build.done().await?;
    let peaks = sampler.finish()?;
    if peaks.job == 0 || peaks.service == 0 || peaks.cli == 0 {
        bail!("a process was never seen: {peaks:?}");
    }
    // The many small files stay: removing them can take longer than all the rest.
    let _ = fs::remove_file(tree.join(LARGE_FILE));
    Ok((peaks, done.time.as_secs_f64()))
}

fn row(name: &str, peaks: &Peaks, seconds: f64) -> Vec<String> {
    let mb = |kib: u64| format!("{:.1}", kib as f64 * 1024.0 / 1e6);
    vec![
        name.to_owned(),
        mb(peaks.service),
        mb(peaks.job),
        mb(peaks.cli),
        format!("{seconds:.1}"),
        peaks.looks.to_string(),
        peaks.longest_gap.as_millis().to_string(),
    ]
}
