//! Which engine of the pool does what of a job.

use std::sync::OnceLock;
use std::time::Duration;

use slipway_manifest::plan::BuildPlan;
use slipway_proto::v1::JobStarted;
use slipway_proto::v1::event::Kind;

use super::Pipeline;
use super::caches;
use super::failure::Failure;
use super::image::{Built, Turn};
use super::input::Before;
use super::locks::Alone;
use super::stages::Made;
use crate::buildkit::pool::{Lease, Needs};
use crate::buildkit::{Address, Engine, Error, Feature, Pool};

/// How often it is looked for room again.
const AGAIN: Duration = Duration::from_millis(100);

/// The pool, and what the job has seen of it.
#[derive(Debug)]
pub struct Engines {
    pool: Pool,
    /// The first engine that did something for the job.
    first: OnceLock<Address>,
}

impl Engines {
    /// Of this pool.
    pub fn new(pool: Pool) -> Self {
        Self { pool, first: OnceLock::new() }
    }
}

impl Pipeline {
    /// Builds on the engine that has the repository's cache, or on another one: when that is full, and when it is lost.
    pub(super) async fn build_somewhere(&self, build: &BuildPlan, before: &Before) -> Result<Made, Failure> {
        let targets = self.targets(build, before)?;
        let repository = targets.first().map(|name| name.repository().to_string()).unwrap_or_default();
        let needs = self.needs_of(build);
        let mut turn = Turn::First;
        loop {
            let lease = || self.engines.pool.lease(&repository, &needs);
            let engine: Lease = self.with_room(&format!("`{}`", build.service), lease).await?;
            self.begun_on(&engine);
            let result = Box::pin(self.build(&engine, &needs, build, before, targets.clone(), turn)).await;
            self.avoid_if_lost(&engine, result.as_ref().err()).await;
            match result? {
                Built::Image(made) => return Ok(made),
                Built::Elsewhere(input) => {
                    // Whoever waits takes no room of those who build.
                    drop(engine);
                    let waits =
                        format!("`{}` is being built from the same inputs already: waiting for that", build.service);
                    self.events.warn(waits);
                    drop(self.unless_cancelled(Alone::take(&self.locks, &input)).await??);
                    turn = Turn::Waited;
                }
            }
        }
    }

    /// What not every engine has. Nothing for most builds, so that no engine is asked for it.
    pub(super) fn needs_of(&self, build: &BuildPlan) -> Needs {
        let options = &build.options;
        let mut features: Vec<_> =
            options.cache_to.iter().filter(|cache| !self.is_left_out(cache)).filter_map(caches::feature).collect();
        features.extend(options.outputs.iter().map(|output| Feature::Exporter(output.kind.as_str())));
        if !options.outputs.is_empty() {
            // The image is one, too.
            features.push(Feature::SeveralExporters);
        }
        if options.provenance.is_some() || options.sbom.is_some() {
            features.push(Feature::Attestations);
        }
        let taken = options.cache_from.iter().filter(|cache| self.takes_caches() && !self.is_left_out(cache));
        Needs { platforms: build.platforms.clone(), features, welcome: taken.filter_map(caches::feature).collect() }
    }

    /// After a failure that may have been the engine's: the next try goes elsewhere if it is gone.
    pub(super) async fn avoid_if_lost(&self, engine: &Engine, failure: Option<&Failure>) {
        if let Some(failure) = failure.filter(|failure| failure.is_transient())
            && !self.engines.pool.still_there(engine).await
        {
            tracing::info!(engine = %engine.address(), error = %failure, "engine {} is lost", engine.address());
        }
    }

    /// The engine for the job's commands.
    pub(super) async fn engine_for_commands(&self) -> Result<Engine, Failure> {
        let name = format!("{}/{}", self.spec.namespace, self.spec.plan.name);
        let engine = self.with_room("the runner", || self.engines.pool.engine(&name)).await?;
        self.begun_on(&engine);
        Ok(engine)
    }

    /// What an engine gives, as soon as one can.
    async fn with_room<T, F>(&self, who: &str, ask: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<Option<T>, Error>>,
    {
        let mut told = false;
        loop {
            if let Some(given) = self.unless_cancelled(ask()).await?? {
                return Ok(given);
            }
            if !std::mem::replace(&mut told, true) {
                self.events.warn(format!(
                    "{who} waits for an engine: those that could take it are full, or take no more builds"
                ));
            }
            self.unless_cancelled(tokio::time::sleep(AGAIN)).await?;
        }
    }

    /// The job says once where it began.
    fn begun_on(&self, engine: &Engine) {
        self.engines.first.get_or_init(|| {
            self.events.emit(Kind::JobStarted(JobStarted { engine: engine.address().to_string() }));
            engine.address().clone()
        });
    }
}
