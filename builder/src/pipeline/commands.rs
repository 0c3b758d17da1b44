//! The commands of a section, in the runner.

use std::collections::BTreeMap;

use secrecy::ExposeSecret as _;
use slipway_manifest::ImageEnv;
use slipway_manifest::plan::{Command, CommandsPlan};
use slipway_proto::v1::event::Kind;
use slipway_proto::v1::{CommandDone, CommandLog, CommandStarted, OutputStream};

use super::Pipeline;
use super::events::Events;
use super::failure::Failure;
use super::keeping::LeftByCommands;
use super::locks::SharedKey;
use super::text::{Pieces, Tail};
use crate::runner::{ABANDONED, Place, Runner, RunnerError, Watcher};

impl Pipeline {
    /// Brings the runner up, as often as that takes, then runs the commands once.
    pub(super) async fn run_commands(&self, plan: &CommandsPlan, images: &ImageEnv) -> Result<(), Failure> {
        let root = self.spec.commands.ok_or_else(|| Failure::internal("commands without a tree"))?;
        let section = plan.section.as_str();
        let key = SharedKey::take(&self.locks, &self.shared_key("-", section))?;
        let image = plan.complete_image(&self.keeping.images(images)).map_err(Failure::internal)?;
        let image = image.unwrap_or_else(|| self.runner_image.clone());
        let image = self.registry.image_ref(&self.spec.namespace, &image);
        let image = image.map_err(|error| Failure::Image(error.to_string()))?;
        let place = Place {
            image: image.to_string(),
            root,
            shared_key: key.name.clone(),
            sources: self.source_rules(&[]),
            forwards: self.forwards.clone(),
            agent: self.agent.clone(),
        };
        let start = || async {
            let engine = self.engine_for_commands().await?;
            let start = Runner::start(&engine, self.blobs.clone(), self.session_auth(&engine, &[]), &place);
            let started =
                Box::pin(self.unless_cancelled(start)).await?.map_err(|error| Failure::Runner(Box::new(error)));
            self.avoid_if_lost(&engine, started.as_ref().err()).await;
            started
        };
        let mut runner = self.again(start).await?;
        runner.add_defaults(self.keeping.defaults());
        // Before the first command: from then on the environment is what they make of it.
        self.keeping.begin(images, Some((plan, &place.image, root))).map_err(Failure::internal)?;
        let mut watcher = Told::new(&self.events, section, self.keeping.commands());
        let env = self.command_env(plan, images);
        let result = runner.run(&plan.commands, &env, &mut watcher, &self.cancel).await;
        let (index, name) = watcher.current.clone();
        // The environment is free for the next job when this one ends, so nothing of it may run on by then.
        if matches!(result, Ok(_) | Err(RunnerError::Cancelled | RunnerError::NotStarted(_))) {
            match tokio::time::timeout(ABANDONED, runner.finish()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the runner did not end in good order"),
                Err(_) => tracing::warn!("the runner did not end in time"),
            }
        } else {
            drop(runner);
            tokio::time::sleep(ABANDONED).await;
        }
        match result {
            Ok(0) => Ok(()),
            Ok(exit_code) => Err(Failure::Command { section, index, name, exit_code, tail: watcher.tail.text() }),
            Err(RunnerError::Cancelled) => Err(Failure::Cancelled),
            Err(source @ RunnerError::NotStarted(_)) => Err(Failure::Runner(Box::new(source))),
            Err(source) => {
                let source = Box::new(source);
                Err(Failure::OutcomeUnknown { section, index, name, source })
            }
        }
    }

    /// What commands find in their environment, besides what their image sets. Later entries win.
    fn command_env(&self, plan: &CommandsPlan, images: &ImageEnv) -> BTreeMap<String, String> {
        let host = self.registry.host().to_string();
        let domain = host.strip_prefix("registry.").unwrap_or(&host).to_owned();
        let yes = || "true".to_owned();
        let mut env = self.keeping.env();
        let mut set = |name: &str, value: String| drop(env.insert(name.to_owned(), value));
        set("OKTETO_DOMAIN", domain);
        set("OKTETO_USERNAME", self.spec.owner.clone());
        set("OKTETO_NAME", self.spec.plan.name.clone());
        set("OKTETO_REGISTRY_URL", host);
        set("OKTETO_SMART_BUILDS_ENABLED", yes());
        set("OKTETO_DEPLOY_REMOTE", yes());
        set("OKTETO_WITHIN_DEPLOY_COMMAND_CONTEXT", yes());
        set("OKTETO_SKIP_CONFIG_CREDENTIALS_UPDATE", yes());
        set("OKTETO_DISABLE_SPINNER", yes());
        for (name, value) in &plan.env {
            set(name, value.clone());
        }
        for (name, value) in images.iter() {
            set(name, value.to_owned());
        }
        // Not to be overridden.
        set("OKTETO_CONTEXT", self.public_url.clone());
        set("OKTETO_URL", self.public_url.clone());
        set("OKTETO_NAMESPACE", self.spec.namespace.to_string());
        set("OKTETO_TOKEN", self.token.expose_secret().to_owned());
        env
    }
}

/// Turns what commands do into events.
struct Told<'a> {
    events: &'a Events,
    section: &'static str,
    pieces: Pieces<(u32, bool)>,
    current: (u32, String),
    tail: Tail,
    left: LeftByCommands<'a>,
}

impl<'a> Told<'a> {
    fn new(events: &'a Events, section: &'static str, left: LeftByCommands<'a>) -> Self {
        Self { events, section, pieces: Pieces::new(), current: (0, String::new()), tail: Tail::default(), left }
    }

    fn log(&mut self, index: u32, stderr: bool, text: Vec<u8>) {
        if text.is_empty() {
            return;
        }
        self.tail.add(&text);
        let stream = if stderr { OutputStream::Stderr } else { OutputStream::Stdout };
        let section = self.section.to_owned();
        self.events.emit(Kind::CommandLog(CommandLog { section, test: None, index, stream: stream.into(), text }));
    }
}

impl Watcher for Told<'_> {
    fn started(&mut self, index: u32, command: &Command) -> std::io::Result<()> {
        self.current = (index, command.name.clone());
        self.tail = Tail::default();
        let (section, name) = (self.section.to_owned(), command.name.clone());
        self.events.try_emit(Kind::CommandStarted(CommandStarted { section, test: None, index, name }))
    }

    fn output(&mut self, index: u32, stderr: bool, bytes: &[u8]) {
        let text = self.pieces.add((index, stderr), bytes);
        self.log(index, stderr, text);
    }

    fn done(&mut self, index: u32, exit_code: i32, duration_ms: u64) {
        for stderr in [false, true] {
            let text = self.pieces.end(&(index, stderr));
            self.log(index, stderr, text);
        }
        let section = self.section.to_owned();
        self.events.emit(Kind::CommandDone(CommandDone { section, test: None, index, exit_code, duration_ms }));
    }

    fn warning(&mut self, message: String) {
        self.events.warn(message);
    }

    fn variables(&mut self, content: &[u8]) -> Vec<(String, String)> {
        self.left.take(content, &mut |message| self.events.warn(message))
    }
}
