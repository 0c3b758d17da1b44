//! The cases: the same work by Slipway and by its peers, in turn, on the same engine.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};

use crate::args::Args;
use crate::bytes::XorShift;
use crate::cases::{CASES, Case, Change, Path, Tree};
use crate::contender::{Contender, Measured, Program};
use crate::ground::Ground;
use crate::link::{Link, Shape, Target};
use crate::peer::Peer;
use crate::print::{problem, say};
use crate::registry::on_path;
use crate::report::Report;
use crate::scene::Scene;
use crate::service::Service;
use crate::stock::Stock;

/// Measures on each engine that is there. False if a build failed; and the goals that were missed.
pub(crate) async fn run(scene: &Scene, args: &Args) -> Result<(bool, Vec<String>)> {
    let stock = Stock::new(scene.stock().to_owned());
    let mut report = Report::new(scene.report());
    let (mut succeeded, mut engines) = (true, 0);
    for (number, engine) in args.engines().iter().enumerate() {
        let cases: Vec<_> = CASES.iter().filter(|case| args.runs(case.id) && case.runs_on(engine)).collect();
        if cases.is_empty() {
            continue;
        }
        let hall = match Hall::open(scene, &stock, engine, number as u64).await {
            Ok(hall) => hall,
            // Not there, or not usable: that is no reason to lose the other's figures.
            Err(error) => {
                problem(&format!("{engine} is left out: {error:#}"));
                succeeded &= !args.engines_are_named();
                continue;
            }
        };
        engines += 1;
        if cases.iter().any(|case| case.tree == Tree::Source) {
            let (files, bytes) = stock.source().await?.size();
            say(&format!("the source tree has {files} files, {:.1} MB", bytes as f64 / 1e6));
        }
        for case in cases {
            match hall.run(case, args.rounds).await {
                Ok((peers, rounds)) => {
                    report.add(case, engine, &peers, &rounds);
                    report.save()?;
                }
                Err(error) => {
                    problem(&format!("{} on {engine}: {error:#}", case.id));
                    succeeded = false;
                }
            }
        }
        say(&format!("\n{} round(s) on {engine}: medians in seconds (min–max), bytes up in MB", args.rounds));
        say(&report.table(engine));
    }
    if engines == 0 && CASES.iter().any(|case| args.runs(case.id)) {
        bail!("no engine to measure on: run `make setup`");
    }
    Ok((succeeded, report.missed()))
}

/// Slipway's service and its peer on one engine.
#[derive(Debug)]
struct Hall<'a> {
    scene: &'a Scene,
    stock: &'a Stock,
    engine: &'a str,
    number: u64,
    service: Arc<Service>,
    peer: Arc<Peer>,
}

impl<'a> Hall<'a> {
    async fn open(scene: &'a Scene, stock: &'a Stock, engine: &'a str, number: u64) -> Result<Self> {
        let peer = Arc::new(Peer::start(scene, &format!("peer-{number}"), engine).await?);
        let service = Arc::new(Service::start(scene, &format!("speed-{number}"), engine).await?);
        Ok(Self { scene, stock, engine, number, service, peer })
    }

    /// What each took in each round, Slipway first, and what its peers are called.
    async fn run(&self, case: &Case, rounds: u32) -> Result<(Vec<&'static str>, Vec<Vec<Measured>>)> {
        let (mut peers, mut all) = (Vec::new(), Vec::new());
        let mut contenders = Vec::new();
        for round in 0..rounds {
            say(&format!("{}: round {} of {rounds}", case.id, round + 1));
            if contenders.is_empty() || !case.has_warm_up() {
                // The old ones first: they have files and processes.
                contenders.clear();
                contenders = self.contenders(case, round).await?;
                peers = contenders.iter().skip(1).map(|contender| contender.name).collect();
            }
            for contender in &contenders {
                if !matches!(contender.program, Program::Rsync(_)) {
                    contender.ground.change(case.change, self.stock, round).await?;
                }
            }
            let measured = if case.path == Path::Cut {
                self.cut(case, &contenders).await
            } else {
                self.in_turn(case, &contenders, round).await
            };
            all.push(measured.with_context(|| format!("round {}", round + 1))?);
        }
        Ok((peers, all))
    }

    /// Who is first changes with every round: nobody always meets what another left behind.
    async fn in_turn(&self, case: &Case, contenders: &[Contender], round: u32) -> Result<Vec<Measured>> {
        let mut order: Vec<_> = contenders.iter().enumerate().collect();
        order.rotate_left(round as usize % contenders.len().max(1));
        let mut measured = Vec::new();
        for (place, contender) in order {
            measured.push((place, contender.timed(self.scene, case.id, None).await?));
        }
        measured.sort_by_key(|(place, _)| *place);
        Ok(measured.into_iter().map(|(_, measured)| measured).collect())
    }

    /// The second tells at how many bytes the first is to be cut.
    async fn cut(&self, case: &Case, contenders: &[Contender]) -> Result<Vec<Measured>> {
        let [ours, uncut] = contenders else { bail!("two take part in {}", case.id) };
        let whole = uncut.timed(self.scene, case.id, None).await?;
        let half = whole.up.map(|bytes| bytes / 2);
        let measured = ours.timed(self.scene, case.id, half).await?;
        if !ours.link.as_ref().is_some_and(Link::was_cut) {
            bail!("the link was not cut: {:?} bytes, of which half are {half:?}", measured.up);
        }
        Ok(vec![measured, whole])
    }

    async fn contenders(&self, case: &Case, round: u32) -> Result<Vec<Contender>> {
        let service = match case.change {
            Change::First => {
                let name = format!("{}-{}-{round}", case.id, self.number);
                Arc::new(Service::start(self.scene, &name, self.engine).await?)
            }
            _ => Arc::clone(&self.service),
        };
        let slipway = async |name, place| {
            let program = Program::Slipway { service: Arc::clone(&service), skip: case.skip };
            self.contender(case, name, program, (round, place), || Ok(Target::Tcp(service.listen()))).await
        };
        let mut contenders = vec![slipway("slipway", 0).await?];
        if case.path == Path::Cut {
            contenders.push(slipway("slipway, uncut", 1).await?);
        } else if case.tree == Tree::Lines && on_path("docker").is_none() {
            problem(&format!("{}: no docker on PATH, so it is left out: install it and run this again", case.id));
        } else {
            let program = Program::Client(Arc::clone(&self.peer));
            let target = || Target::engine(self.engine);
            let name = if case.tree == Tree::Lines { "docker run" } else { self.peer.name() };
            contenders.push(self.contender(case, name, program, (round, 1), target).await?);
        }
        if case.rsync.is_some() {
            self.add_rsync(case, &mut contenders)?;
        }
        if case.has_warm_up() {
            for contender in &contenders {
                contender.run(self.scene, case.id, None).await.context("the build before")?;
            }
        }
        for link in contenders.iter().filter_map(|contender| contender.link.as_ref()) {
            link.shape(shape(case.path));
        }
        Ok(contenders)
    }

    async fn contender(
        &self,
        case: &Case,
        name: &'static str,
        program: Program,
        (round, place): (u32, u64),
        target: impl FnOnce() -> Result<Target>,
    ) -> Result<Contender> {
        let id = CASES.iter().position(|other| other.id == case.id).unwrap_or(0) as u64;
        // Bytes of their own for each engine, case, round and contender.
        let part = self.number << 32 | id << 24 | u64::from(round) << 8 | place;
        let seed = XorShift::new(self.scene.seed, part).below(u64::MAX);
        let ground = Arc::new(Ground::new(self.stock, case.tree, place, seed).await?);
        // What comes before is not timed: it may be quick.
        let link = match case.path {
            Path::Loopback => None,
            _ => Some(Link::start(target()?, Shape::OPEN)?),
        };
        Ok(Contender { name, program, ground, link })
    }

    /// On slipway's own tree, if there is an rsync.
    fn add_rsync(&self, case: &Case, contenders: &mut Vec<Contender>) -> Result<()> {
        let Some(ours) = contenders.first() else { return Ok(()) };
        if on_path("rsync").is_none() {
            problem(&format!("{}: no rsync on PATH, so it is left out: install it and run this again", case.id));
            return Ok(());
        }
        let ground = Arc::clone(&ours.ground);
        let program = Program::Rsync(self.stock.folder("rsync")?);
        contenders.push(Contender { name: "rsync", program, ground, link: None });
        Ok(())
    }
}

fn shape(path: Path) -> Shape {
    match path {
        Path::Loopback | Path::Counted => Shape::OPEN,
        Path::Slow | Path::Cut => Shape::SLOW,
    }
}
