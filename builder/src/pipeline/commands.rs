//! The commands of a section, in the runner.

use std::collections::BTreeMap;
use std::io;

use slipway_commands::{GRACE, Grace, Left, Service, Sink, Story, environment};
use slipway_context::Digest;
use slipway_manifest::ImageEnv;
use slipway_manifest::plan::{CommandsPlan, Section};
use slipway_mask::Masks;
use slipway_proto::v1::event::Kind;

use super::Pipeline;
use super::events::Events;
use super::failure::Failure;
use super::held_keys::HeldKey;
use super::locks::SharedKey;
use crate::runner::access::Access;
use crate::runner::network::{Proxy, Rules};
use crate::runner::{Place, Runner, RunnerError, abandoned};

/// Commands that are ready to run in a container.
pub(super) struct InRunner<'a> {
    /// The commands.
    pub(super) plan: &'a CommandsPlan,
    /// What they run in: the full reference.
    pub(super) image: String,
    /// The tree that they find in their working directory, if there is one.
    pub(super) root: Option<Digest>,
    /// Their environment, besides what the image sets.
    pub(super) env: BTreeMap<String, String>,
    /// Weaker than what the image sets.
    pub(super) defaults: BTreeMap<String, String>,
    /// What becomes of what they leave.
    pub(super) left: Left<'a>,
}

impl Pipeline {
    /// Runs the commands of a section. `dependencies` are the variables of what was deployed before.
    pub(super) async fn run_commands(
        &self,
        plan: &CommandsPlan,
        root: Digest,
        images: &ImageEnv,
        dependencies: &BTreeMap<String, String>,
    ) -> Result<(), Failure> {
        let digest = self.unless_cancelled(Box::pin(self.test_digest(plan, images, dependencies))).await?;
        if self.skip_test(plan, digest).await {
            return Ok(());
        }
        let image = plan.complete_image(&self.keeping.images(images)).map_err(Failure::internal)?;
        let image = self.full_reference(image.as_deref().unwrap_or(&self.runner_image))?;
        let mut env = self.given_env(dependencies);
        env.extend(self.command_env(plan, images));
        let run = InRunner {
            plan,
            image,
            root: Some(root),
            env,
            defaults: self.keeping.defaults(),
            left: self.keeping.left(),
        };
        // Before the first command: from then on the environment is what they make of it.
        let begin = |image: &str| self.keeping.begin(images, Some((plan, image, root)));
        // What could not be saved is to be made again.
        if self.in_runner(run, begin).await? {
            Box::pin(self.remember_test(plan, digest, images, dependencies)).await;
        }
        Ok(())
    }

    /// What commands find that neither the job's plan says nor its images.
    pub(super) fn given_env(&self, dependencies: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut env = dependencies.clone();
        env.extend(self.keeping.env());
        env.extend(self.service_variables());
        env
    }

    /// Brings a runner up, as often as that takes, then runs the commands once. Just before the first one, `begin` is told the
    /// image. Gives whether all that a test leaves is saved.
    pub(super) async fn in_runner(
        &self,
        run: InRunner<'_>,
        begin: impl FnOnce(&str) -> io::Result<()>,
    ) -> Result<bool, Failure> {
        let InRunner { plan, image, root, env, defaults, left } = run;
        let (access, _held) = self.access(plan).await?;
        self.events.hide(&access.hidden.iter().map(String::as_str).collect::<Vec<_>>());
        let (label, section) = (plan.label(), plan.section.as_str());
        let section = plan.test.as_ref().map_or_else(|| section.to_owned(), |test| format!("{section}:{test}"));
        let key = SharedKey::take(&self.locks, &self.shared_key("-", &section))?;
        let place = Place {
            image,
            root,
            shared_key: key.name.clone(),
            sources: self.source_rules(&[]),
            forwards: self.forwards.clone(),
            agent: self.agent.clone(),
            registry: self.registry.host().to_string(),
            grace: Grace::from(self.spec.grace()).unless(self.asked_grace.clone()),
            caches: self.test_caches(plan),
            hosts: plan.testing.hosts.clone(),
            limits: self.limits.of_section(plan.section),
            access,
            proxy: self.proxy(plan),
        };
        let start = || async {
            let engine = self.engine_for_commands().await?;
            let start = async {
                self.clear_test_caches(&engine, plan).await?;
                Runner::start(&engine, self.blobs.clone(), self.session_auth(&engine, &[]), &place).await
            };
            let started =
                Box::pin(self.unless_cancelled(start)).await?.map_err(|error| Failure::Runner(Box::new(error)));
            self.avoid_if_lost(&engine, started.as_ref().err()).await;
            started
        };
        let mut runner = self.again(start).await?;
        runner.add_defaults(defaults);
        begin(&place.image).map_err(Failure::internal)?;
        let mut story = Story::new(&self.events, plan).leaving(left);
        let mut result = runner.run(plan, env, &mut story, &self.cancel).await;
        // After a failure just as well, and after a limit.
        let mut all_saved = false;
        if matches!(result, Ok(_) | Err(RunnerError::Exceeded(_))) {
            match Box::pin(self.save_artifacts(plan, &mut runner, &mut story)).await {
                Ok(all) => all_saved = all,
                Err(error @ RunnerError::Cancelled) => result = Err(error),
                // How its commands ended is known all the same.
                Err(error) => story.warn(format!("the artifacts of {label} are not saved: {error}")),
            }
        }
        // A command that was cut off has not been heard to end.
        story.end_output();
        // The environment is free for the next job when this one ends, so nothing of it may run on by then.
        if matches!(
            result,
            Ok(_)
                | Err(RunnerError::Cancelled
                    | RunnerError::NotStarted(_)
                    | RunnerError::Exceeded(_)
                    | RunnerError::Required(_))
        ) {
            match tokio::time::timeout(abandoned(place.grace.own().max(GRACE)), runner.finish()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the runner did not end in good order"),
                Err(_) => tracing::warn!("the runner did not end in time"),
            }
        } else {
            drop(runner);
            tokio::time::sleep(abandoned(place.grace.own())).await;
        }
        match result {
            Ok(None) => Ok(all_saved),
            Ok(Some(failed)) => Err(Failure::Command { label, failed: Box::new(failed) }),
            Err(RunnerError::Cancelled) => Err(Failure::Cancelled),
            Err(RunnerError::Exceeded(exceeded)) => {
                let ((index, name), namespace) = (story.current(), self.spec.namespace.to_string());
                Err(Failure::Limit { label, index, name: name.to_owned(), namespace, exceeded })
            }
            Err(RunnerError::Required(required)) => Err(Failure::Required(required)),
            Err(source @ RunnerError::NotStarted(_)) => Err(Failure::Runner(Box::new(source))),
            Err(source) => {
                let ((index, name), source) = (story.current(), Box::new(source));
                Err(Failure::OutcomeUnknown { label, index, name: name.to_owned(), source })
            }
        }
    }

    /// What the commands may reach; what has to live as long as they do comes with it.
    async fn access(&self, plan: &CommandsPlan) -> Result<(Access, BTreeMap<String, HeldKey>), Failure> {
        // Where these are is for the service's log.
        let unread = |error: io::Error| {
            tracing::error!(%error, "can't read what commands are to reach");
            Failure::internal("the service can't read its CA bundle or the namespace's kubeconfig; its log says why")
        };
        let mut access = Access::new(&self.access).map_err(unread)?;
        if plan.section != Section::Dependencies {
            access = access.with_kubeconfig(&self.access, &self.spec.namespace).map_err(unread)?;
        }
        let Some(ssh) = &self.spec.plan.ssh else { return Ok((access, BTreeMap::new())) };
        let agent = BTreeMap::from([(ssh.agent.id.clone(), ssh.agent.clone())]);
        let (agents, held) = self.agents(&agent, &plan.label()).await?;
        Ok((access.with_agent(ssh.agent.id.clone(), agents, &ssh.known_hosts), held))
    }

    /// The way of commands that may not connect to everything.
    fn proxy(&self, plan: &CommandsPlan) -> Option<Proxy> {
        let Rules::Restricted(allowed) = &self.network else { return None };
        let events = self.events.clone();
        let told = move |why: &str| events.warn_once(format!("the network of commands is restricted: {why}"));
        Some(Proxy::new(allowed.clone(), &plan.testing.hosts, told))
    }

    /// An image's, as the engine takes it.
    pub(super) fn full_reference(&self, image: &str) -> Result<String, Failure> {
        let image = self.registry.image_ref(&self.spec.namespace, image);
        Ok(image.map_err(|error| Failure::Image(error.to_string()))?.to_string())
    }

    /// What the job itself sets of the commands' environment.
    pub(super) fn command_env(&self, plan: &CommandsPlan, images: &ImageEnv) -> BTreeMap<String, String> {
        let service = Service {
            url: self.public_url.clone(),
            registry: self.registry.host().to_string(),
            namespace: self.spec.namespace.to_string(),
            user: self.spec.owner.clone(),
            token: self.token.clone(),
        };
        environment(&self.spec.plan.name, plan, images, Some(&service), true)
    }
}

impl Sink for Events {
    fn emit(&self, kind: Kind) {
        Self::emit(self, kind);
    }

    fn try_emit(&self, kind: Kind) -> io::Result<()> {
        Self::try_emit(self, kind)
    }

    fn masks(&self) -> Masks {
        Self::masks(self)
    }

    fn hide(&self, values: &[&str]) {
        Self::hide(self, values);
    }
}
