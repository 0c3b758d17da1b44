//! Who takes part in a case, and one timed run of it.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

use crate::cases::Tree;
use crate::command::Running;
use crate::exec;
use crate::ground::Ground;
use crate::link::Link;
use crate::listen::listen;
use crate::peer::Peer;
use crate::quiet;
use crate::registry::on_path;
use crate::scene::Scene;
use crate::service::{Build, Service, event_field, write_project};
use crate::services::{self, BASE};

/// One that does the work of a case.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) program: Program,
    /// Where its tree is.
    pub(crate) ground: Arc<Ground>,
    /// What its bytes go over, unless it is loopback.
    pub(crate) link: Option<Link>,
}

/// What it runs.
#[derive(Debug)]
pub(crate) enum Program {
    Slipway {
        service: Arc<Service>,
        skip: bool,
    },
    Client(Arc<Peer>),
    /// Copies the ground's tree to this folder.
    Rsync(PathBuf),
}

/// What a run took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// From the client's start to its end, when the image has been pushed, in seconds; of commands, what is timed of their output.
    pub(crate) seconds: f64,
    /// Bytes that the client sent, where a link counts them.
    pub(crate) up: Option<u64>,
    /// How much of slipway's time the sync took, until the service had every byte, in seconds.
    pub(crate) sync: Option<f64>,
}

impl Contender {
    /// Runs it after a quiet moment; its link is cut once it has sent this many bytes.
    pub(crate) async fn timed(&self, scene: &Scene, tag: &str, cut_after: Option<u64>) -> Result<Measured> {
        quiet::wait().await;
        self.run(scene, tag, cut_after).await
    }

    /// Runs it at once.
    pub(crate) async fn run(&self, scene: &Scene, tag: &str, cut_after: Option<u64>) -> Result<Measured> {
        if let Some(link) = &self.link {
            link.count(cut_after);
        }
        if let Some(seconds) = self.heard().await.with_context(|| self.name.to_owned())? {
            return Ok(Measured { seconds, up: None, sync: None });
        }
        let running = self.start(scene, tag)?;
        let done = running.done().await.with_context(|| self.name.to_owned())?;
        let sync = event_field(&done.output, "sync.done", "duration_ms").map(|ms| ms as f64 / 1e3);
        Ok(Measured { seconds: done.time.as_secs_f64(), up: self.link.as_ref().map(Link::up), sync })
    }

    /// Of a command whose output is what counts: the time to its first byte, or from its first line to its last.
    async fn heard(&self) -> Result<Option<f64>> {
        let kind = self.ground.kind();
        if !matches!(kind, Tree::Exec | Tree::Lines) {
            return Ok(None);
        }
        let ((seed, awaited), tree) = (exec::awaited(kind), self.ground.tree());
        let command = match &self.program {
            Program::Slipway { service, .. } => service.deploy(&tree, exec::SEED, seed),
            Program::Client(peer) if kind == Tree::Lines => peer.container(BASE, &exec::lines()),
            Program::Client(peer) => peer.exec(&tree, exec::SEED, seed),
            Program::Rsync(_) => bail!("rsync runs no commands"),
        };
        let heard = listen(command.into(), awaited).await?;
        let time = if kind == Tree::Lines { heard.last.saturating_sub(heard.first) } else { heard.first };
        Ok(Some(time.as_secs_f64()))
    }

    fn start(&self, scene: &Scene, tag: &str) -> Result<Running> {
        let address = self.link.as_ref().map(Link::address);
        match &self.program {
            Program::Slipway { service, skip } => {
                match self.ground.kind() {
                    Tree::Services => services::write_manifest(self.ground.folder())?,
                    _ => write_project(self.ground.folder(), tag)?,
                }
                service.build(&Build { project: self.ground.folder(), server: address, skip: *skip }, scene.path())
            }
            Program::Client(peer) if self.ground.kind() == Tree::Services => {
                let file = services::write_bake(self.ground.folder(), |service| peer.image(service, tag))?;
                peer.bake(&file, scene.path())
            }
            Program::Client(peer) => peer.build(&self.ground.tree(), tag, address, scene.path()),
            Program::Rsync(copy) => {
                let program = on_path("rsync").context("no rsync: install it (`make bench` does, with apt)")?;
                let mut command = Command::new(program);
                command.args(["-a", "--delete"]).arg(self.ground.tree().join("")).arg(copy);
                Running::start(command, scene.path())
            }
        }
    }
}
