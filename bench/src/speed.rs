//! The same builds by Slipway and by the engine's own client, in turn, on the same engine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::args::Args;
use crate::peer::Peer;
use crate::print::{problem, say, table};
use crate::scene::Scene;
use crate::service::{Service, event_field, write_project};
use crate::stats::Spread;
use crate::tree;

/// What has happened to the tree since the build before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Cold,
    Unchanged,
    OneFile,
    FreshCheckout,
}

const CASES: [Case; 4] = [Case::Cold, Case::Unchanged, Case::OneFile, Case::FreshCheckout];

impl Case {
    fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Unchanged => "nothing changed",
            Self::OneFile => "one file changed",
            Self::FreshCheckout => "fresh checkout",
        }
    }

    /// Makes it happen.
    fn prepare(self, tree: &Path, seed: u64) -> Result<()> {
        match self {
            Self::Cold => make_again(tree, seed),
            Self::Unchanged => Ok(()),
            Self::OneFile => tree::edit(tree, seed),
            // New files at the same place, with the bytes of the last build and new times.
            Self::FreshCheckout => make_again(tree, seed).and_then(|()| tree::edit(tree, seed)),
        }
    }
}

fn make_again(tree: &Path, seed: u64) -> Result<()> {
    if tree.exists() {
        fs::remove_dir_all(tree).context("remove a tree")?;
    }
    tree::source(tree, seed)
}

/// One case of one round.
#[derive(Debug)]
struct Measured {
    case: Case,
    slipway_s: f64,
    peer_s: f64,
    /// How much of slipway's time the sync took, until the service had every byte.
    sync_s: f64,
    /// What slipway sent to slipwayd, and what the engine asked for, in bytes.
    sent: Option<u64>,
    asked: Option<u64>,
}

/// Measures and prints, on each engine that is there.
pub(crate) async fn run(scene: &Scene, args: &Args) -> Result<()> {
    for (number, engine) in args.engines().iter().enumerate() {
        // Not there, or not usable: that is no reason to lose the other's figures.
        if let Err(error) = on_engine(scene, args.rounds, number as u64, engine).await {
            problem(&format!("speed on {engine}: {error:#}"));
        }
    }
    Ok(())
}

/// The two contenders on one engine, each with a tree of its own.
#[derive(Debug)]
struct Pair {
    service: Service,
    peer: Peer,
    project: PathBuf,
    peer_tree: PathBuf,
}

async fn on_engine(scene: &Scene, rounds: u32, number: u64, engine: &str) -> Result<()> {
    let pair = Pair {
        peer: Peer::start(scene, &format!("peer-{number}"), engine).await?,
        service: Service::start(scene, &format!("speed-{number}"), engine).await?,
        project: scene.folder(&format!("speed-{number}-slipway"))?,
        peer_tree: scene.folder(&format!("speed-{number}-peer"))?.join("tree"),
    };
    let mut measured = Vec::new();
    for round in 0..rounds {
        // Bytes of their own for each contender and round: BuildKit would know the other's layer.
        let seed = scene.seed.wrapping_add(1 + number * 1_000_000 + u64::from(round) * 2);
        for case in CASES {
            let name = format!("{}, round {}", case.name(), round + 1);
            measured.push(pair.measure(scene, case, round, seed).await.context(name)?);
        }
    }
    say(&format!(
        "\nSpeed on {engine}: {} files, FROM scratch, COPY . /src, pushed; seconds, median (min–max) of {rounds}",
        tree::SOURCE_FILES
    ));
    let heading = ["case", "slipway", pair.peer.name(), "slipway ÷ peer", "slipway's sync", "sent MB", "asked MB"];
    let rows: Vec<Vec<String>> = CASES.iter().map(|&case| row(case, &measured)).collect();
    say(&table(&heading, &rows));
    Ok(())
}

impl Pair {
    async fn measure(&self, scene: &Scene, case: Case, round: u32, seed: u64) -> Result<Measured> {
        let tag = format!("round{round}");
        write_project(&self.project, &tag)?;
        let own_tree = self.project.join("tree");
        case.prepare(&own_tree, seed)?;
        case.prepare(&self.peer_tree, seed + 1)?;
        let slipway = async || self.service.build(&self.project, scene.path())?.done().await;
        let peer = async || self.peer.build(&self.peer_tree, &tag, scene.path())?.done().await;
        // In turn, and who is first changes: neither always meets what the other left behind.
        let (slipway, peer) = if round.is_multiple_of(2) {
            let first = slipway().await?;
            (first, peer().await?)
        } else {
            let first = peer().await?;
            (slipway().await?, first)
        };
        Ok(Measured {
            case,
            slipway_s: slipway.time.as_secs_f64(),
            peer_s: peer.time.as_secs_f64(),
            sync_s: event_field(&slipway.output, "sync.done", "duration_ms").unwrap_or(0) as f64 / 1e3,
            sent: event_field(&slipway.output, "sync.done", "sent_bytes"),
            asked: event_field(&slipway.output, "build.done", "engine_bytes"),
        })
    }
}

fn row(case: Case, measured: &[Measured]) -> Vec<String> {
    let of = |number: fn(&Measured) -> f64| {
        let numbers = measured.iter().filter(|one| one.case == case).map(number);
        Spread::of(numbers).map_or_else(|| "-".to_owned(), |spread| spread.to_string())
    };
    let most = |bytes: fn(&Measured) -> Option<u64>| {
        let most = measured.iter().filter(|one| one.case == case).filter_map(bytes).max();
        most.map_or_else(|| "-".to_owned(), |bytes| format!("{:.3}", bytes as f64 / 1e6))
    };
    vec![
        case.name().to_owned(),
        of(|one| one.slipway_s),
        of(|one| one.peer_s),
        of(|one| one.slipway_s / one.peer_s),
        of(|one| one.sync_s),
        most(|one| one.sent),
        most(|one| one.asked),
    ]
}
