//! The tests of a job: each as soon as those that it depends on have succeeded, some at a time.
//!
//! The first failure starts no more of them. Those that run go on to their end: what they say counts.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use slipway_context::Digest;
use slipway_manifest::ImageEnv;
use slipway_manifest::plan::{CommandsPlan, JobKind};

use super::Pipeline;
use super::failure::Failure;

/// What is to be run, and in which tree.
type Run<'p> = (&'p CommandsPlan, Digest);

impl Pipeline {
    /// Runs all commands of the plan. `dependencies` are the variables of what was deployed before.
    pub(super) async fn run_sections(
        &self,
        runs: &[Run<'_>],
        images: &ImageEnv,
        dependencies: &BTreeMap<String, String>,
    ) -> Result<(), Failure> {
        let plans: Vec<&CommandsPlan> = runs.iter().map(|(plan, _)| *plan).collect();
        let run = async |index: usize| match runs.get(index) {
            Some((plan, root)) => Box::pin(self.run_commands(plan, *root, images, dependencies)).await,
            None => Ok(()),
        };
        let at_a_time = if self.spec.plan.kind == JobKind::Test { self.max_tests } else { 1 };
        let told = |failure: &Failure| {
            if !self.cancel.is_cancelled() {
                self.events.warn_once(failure.to_string());
            }
        };
        in_turn(&plans, at_a_time, run, told).await
    }
}

/// Runs each when its turn has come; gives the first failure when all that ran have ended. `told` gets the others: the job's end
/// tells one.
async fn in_turn(
    plans: &[&CommandsPlan],
    at_a_time: usize,
    run: impl AsyncFn(usize) -> Result<(), Failure>,
    told: impl Fn(&Failure),
) -> Result<(), Failure> {
    let (mut waiting, mut done) = ((0..plans.len()).collect::<Vec<_>>(), Vec::<usize>::new());
    let (mut running, mut failed) = (FuturesUnordered::new(), None::<Failure>);
    loop {
        let is_next = |index: &usize| {
            let needs = plans.get(*index).map(|plan| plan.testing.depends_on.as_slice()).unwrap_or_default();
            let is_done = |test: &String| {
                done.iter().any(|done| plans.get(*done).and_then(|plan| plan.test.as_ref()) == Some(test))
            };
            needs.iter().all(is_done)
        };
        while failed.is_none()
            && running.len() < at_a_time
            && let Some(place) = waiting.iter().position(is_next)
        {
            let (index, run) = (waiting.remove(place), &run);
            running.push(async move { (index, run(index).await) });
        }
        match running.next().await {
            Some((index, Ok(()))) => done.push(index),
            Some((_, Err(failure))) => {
                // The first one that did fail says why; what was only ended with it does not.
                match &failed {
                    None => failed = Some(failure),
                    Some(_) => told(&failure),
                }
            }
            None => break,
        }
    }
    match failed {
        Some(failure) => Err(failure),
        None if waiting.is_empty() => Ok(()),
        // The plan was checked: each comes after those that it depends on.
        None => Err(Failure::Internal("tests wait for each other".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use slipway_manifest::{Manifest, Plan, Selection, Variables};

    use super::*;

    /// What begins and ends when, with a test's time in its first command.
    async fn story(text: &str, at_a_time: usize) -> (String, Result<(), String>) {
        let manifest = Manifest::parse(text, "okteto.yaml").unwrap().manifest;
        let (plan, _) = Plan::new(&manifest, &Selection::test("d", Vec::new()), &Variables::default()).unwrap();
        let plans: Vec<_> = plan.commands.iter().collect();
        let story = Mutex::new(Vec::new());
        let run = async |index: usize| {
            let name = plans[index].test.clone().unwrap();
            let ms: i64 = plans[index].commands[0].command.parse().unwrap();
            story.lock().unwrap().push(format!("+{name}"));
            tokio::time::sleep(Duration::from_millis(ms.unsigned_abs())).await;
            story.lock().unwrap().push(format!("-{name}"));
            if ms < 0 { Err(Failure::Internal(name)) } else { Ok(()) }
        };
        let told = |failure: &Failure| story.lock().unwrap().push(format!("({failure})"));
        let ended = in_turn(&plans, at_a_time, run, told).await.map_err(|failure| failure.to_string());
        (story.into_inner().unwrap().join(" "), ended)
    }

    #[tokio::test(start_paused = true)]
    async fn who_depends_on_nothing_runs_beside_the_others() {
        let text = "test:\n  a: {commands: ['30']}\n  b: {commands: ['10']}\n  c: {commands: ['5'], depends_on: b}\n  \
                    d: {commands: ['1'], depends_on: [a, c]}\n";
        assert_eq!(story(text, 4).await, ("+a +b -b +c -c -a +d -d".to_owned(), Ok(())));
        assert_eq!(story(text, 1).await.0, "+a -a +b -b +c -c +d -d");
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_nothing_begins_and_what_runs_ends() {
        let text = "test:\n  a: {commands: ['-10']}\n  b: {commands: ['30']}\n  c: {commands: ['-20']}\n  \
                    d: {commands: ['1']}\n  e: {commands: ['1'], depends_on: b}\n";
        let (told, ended) = story(text, 3).await;
        assert_eq!(told, "+a +b +c -a -c (internal error: c) -b");
        assert_eq!(ended, Err("internal error: a".to_owned()));
    }
}
