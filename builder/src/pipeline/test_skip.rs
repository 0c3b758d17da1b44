//! Tests that need not run again: by a digest of all that goes into them, remembered when they have succeeded.
//!
//! What goes in: the tree, the image's digest, the commands, artifacts, caches and hosts, the environment that the plan and the
//! service give (as a keyed hash, since it may be secret), and the digests of the tests that come before. Not who asked and where
//! the source comes from (commit, branch): these change without a file.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use slipway_context::Digest;
use slipway_manifest::ImageEnv;
use slipway_manifest::plan::{ArtifactPlan, CommandsPlan};
use slipway_proto::v1::TestSkipped;
use slipway_proto::v1::event::Kind;

use super::Pipeline;
use super::test_records::{TestRecord, TestRecords};
use crate::jobs::exports;
use crate::registry::bases::DEADLINE;
use crate::store::db::now_ms;

/// Changes when the same inputs mean something else.
const VERSION: u32 = 2;

/// All that goes into a test.
#[derive(Serialize)]
struct Inputs<'a> {
    version: u32,
    application: &'a str,
    test: Option<&'a str>,
    tree: Digest,
    image: String,
    commands: Vec<&'a str>,
    artifacts: &'a [ArtifactPlan],
    caches: &'a [String],
    hosts: Vec<String>,
    environment: String,
    /// The tests that it depends on, and theirs.
    before: BTreeMap<&'a str, Digest>,
}

impl Pipeline {
    /// Stands for all that goes into a test which is to be skipped when nothing changed; none where that can't be known.
    pub(super) async fn test_digest(
        &self,
        plan: &CommandsPlan,
        images: &ImageEnv,
        dependencies: &BTreeMap<String, String>,
    ) -> Option<Digest> {
        let test = plan.test.as_deref().filter(|_| plan.testing.skip_unchanged)?;
        let finding = async {
            let mut found = BTreeMap::<&str, Digest>::new();
            let needed = needed(&self.spec.plan.commands, test);
            // Each comes after those that it depends on.
            for (plan, root) in self.spec.plan.commands.iter().zip(&self.spec.commands) {
                let Some(name) = plan.test.as_deref().filter(|name| needed.contains(name)) else { continue };
                let before = plan.testing.depends_on.iter();
                let before = before.filter_map(|name| found.get_key_value(name.as_str()));
                let before = before.map(|(name, digest)| (*name, *digest)).collect();
                found.insert(name, self.inputs_of_test(plan, *root, images, dependencies, before).await?);
            }
            found.get(test).copied().ok_or_else(|| "it is not in the plan".to_owned())
        };
        let late = |_| Err("no answer about its image".to_owned());
        match tokio::time::timeout(DEADLINE, finding).await.unwrap_or_else(late) {
            Ok(digest) => Some(digest),
            Err(reason) => {
                tracing::info!(%reason, "test `{test}` can't be skipped");
                None
            }
        }
    }

    /// Says so and gives `true` where a test of the same inputs has succeeded, and what it left is there.
    pub(super) async fn skip_test(&self, plan: &CommandsPlan, digest: Option<Digest>) -> bool {
        let (Some(test), Some(digest), false) = (&plan.test, digest, plan.testing.no_cache) else { return false };
        let Some(record) = self.test_records().read(&digest) else { return false };
        let kept = if record.artifacts {
            match self.kept_artifacts(test, record.job).await {
                Ok(kept) => Some(kept),
                Err(error) => {
                    tracing::info!(%error, job.id = %record.job, "test `{test}` runs again: its artifacts are not there");
                    return false;
                }
            }
        } else {
            None
        };
        let job = record.job.to_string();
        self.events.emit(Kind::TestSkipped(TestSkipped { test: test.clone(), job }));
        if let Some(kept) = kept {
            self.tell_kept_artifacts(plan, test, kept);
        }
        true
    }

    /// The test has succeeded. Nothing depends on its being remembered.
    pub(super) async fn remember_test(
        &self,
        plan: &CommandsPlan,
        before: Option<Digest>,
        images: &ImageEnv,
        dependencies: &BTreeMap<String, String>,
    ) {
        let Some(before) = before else { return };
        // Its image may have become another one when it began to run.
        if self.test_digest(plan, images, dependencies).await != Some(before) {
            return;
        }
        let artifacts = plan.test.as_deref().is_some_and(|test| exports::artifacts(&self.exports, test).exists());
        let record = TestRecord { job: self.spec.job, time: now_ms(), artifacts };
        if let Err(error) = self.test_records().write(&before, &record) {
            tracing::warn!(%error, "can't remember that {} succeeded", plan.label());
        }
    }

    fn test_records(&self) -> TestRecords {
        TestRecords::new(&self.data_dir, &self.spec.namespace)
    }

    async fn inputs_of_test(
        &self,
        plan: &CommandsPlan,
        tree: Digest,
        images: &ImageEnv,
        dependencies: &BTreeMap<String, String>,
        before: BTreeMap<&str, Digest>,
    ) -> Result<Digest, String> {
        let environment = environment(plan, self.given_env(dependencies), images);
        let environment = serde_json::to_string(&environment).map_err(|error| error.to_string())?;
        let testing = &plan.testing;
        let inputs = Inputs {
            version: VERSION,
            application: &self.spec.plan.name,
            test: plan.test.as_deref(),
            tree,
            image: self.digest_of_image(plan, images).await?,
            commands: plan.commands.iter().map(|command| command.command.as_str()).collect(),
            artifacts: &testing.artifacts,
            caches: &testing.caches,
            hosts: testing.hosts.iter().map(ToString::to_string).collect(),
            environment: self.cache_scope.input(&self.spec.namespace, &environment),
            before,
        };
        let json = serde_json::to_vec(&inputs).map_err(|error| error.to_string())?;
        Ok(Digest::of(&json))
    }

    async fn digest_of_image(&self, plan: &CommandsPlan, images: &ImageEnv) -> Result<String, String> {
        let name = plan.complete_image(&self.keeping.images(images)).map_err(|error| error.to_string())?;
        let name = name.as_deref().unwrap_or(&self.runner_image);
        let namespace = &self.spec.namespace;
        let bases = self.looking.bases().await.map_err(|error| error.to_string())?.for_caller(&self.logins);
        let image = bases.reference(namespace, name).map_err(|error| error.to_string())?;
        if let Some(digest) = image.digest() {
            return Ok(digest.to_string());
        }
        let found = bases.find(namespace, &image).await.map_err(|error| error.to_string())?;
        Ok(found.digest.to_string())
    }
}

/// The test and all that it depends on.
fn needed<'p>(plans: &'p [CommandsPlan], test: &'p str) -> BTreeSet<&'p str> {
    let (mut needed, mut open) = (BTreeSet::from([test]), vec![test]);
    while let Some(name) = open.pop() {
        let plan = plans.iter().find(|plan| plan.test.as_deref() == Some(name));
        for before in plan.into_iter().flat_map(|plan| &plan.testing.depends_on) {
            if needed.insert(before) {
                open.push(before);
            }
        }
    }
    needed
}

/// What changes from job to job without a change of what is tested.
const SAYS_WHO_ASKS: [&str; 7] = [
    "OKTETO_GIT_BRANCH",
    "OKTETO_GIT_COMMIT",
    "GITHUB_REPOSITORY",
    "OKTETO_ORIGIN",
    "OKTETO_WORKFLOW_ID",
    "OKTETO_PARENT_WORKFLOW_ID",
    "OKTETO_ACTION_NAME",
];

/// What commands get that says something about what they do; `given` is the service's.
fn environment(plan: &CommandsPlan, given: BTreeMap<String, String>, images: &ImageEnv) -> BTreeMap<String, String> {
    let mut environment = given;
    environment.extend(plan.env.iter().cloned());
    environment.extend(images.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
    environment.retain(|name, _| !SAYS_WHO_ASKS.contains(&name.as_str()));
    environment
}

#[cfg(test)]
mod tests {
    use slipway_manifest::{Manifest, Plan, Selection, Variables};

    use super::*;

    fn plans(text: &str) -> Vec<CommandsPlan> {
        let manifest = Manifest::parse(text, "okteto.yaml").unwrap().manifest;
        Plan::new(&manifest, &Selection::test("d", Vec::new()), &Variables::default()).unwrap().0.commands
    }

    #[test]
    fn all_that_comes_before_counts() {
        let plans = plans(
            "test:\n  a: {commands: [x]}\n  b: {commands: [x], depends_on: a}\n  c: {commands: [x], depends_on: b}\n  \
             d: {commands: [x], depends_on: a}\n",
        );
        assert_eq!(needed(&plans, "c").into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(needed(&plans, "a").len(), 1);
    }

    #[test]
    fn who_asked_and_what_git_says_is_no_input() {
        let mut plan = plans("test: {a: {commands: [x]}}\n").remove(0);
        plan.env.push(("MINE".to_owned(), "1".to_owned()));
        plan.env.push(("OKTETO_GIT_COMMIT".to_owned(), "abc".to_owned()));
        let given = BTreeMap::from([("DB_PASSWORD".to_owned(), "p".to_owned())]);
        let names: Vec<_> = environment(&plan, given, &ImageEnv::default()).into_keys().collect();
        assert_eq!(names, ["CI", "DB_PASSWORD", "MINE"]);
    }
}
