//! Other repositories that are deployed first, each by a job of its own: `slipway deploy-dependency` clones it in the runner and
//! submits that job, with this one's token.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use slipway_commands::Left;
use slipway_commands::dependency::DEPENDENCIES;
use slipway_manifest::ImageEnv;
use slipway_manifest::git_url::GitUrl;
use slipway_manifest::plan::{Command, CommandsPlan, DependencyPlan, Section, TestOptions};

use super::Pipeline;
use super::commands::InRunner;
use super::failure::Failure;

impl Pipeline {
    /// Deploys what the plan depends on, and gives the variables that commands get of it.
    pub(super) async fn deploy_dependencies(&self) -> Result<BTreeMap<String, String>, Failure> {
        let dependencies = &self.spec.plan.dependencies;
        if dependencies.is_empty() {
            return Ok(BTreeMap::new());
        }
        let plan = commands(dependencies);
        let mut env = self.command_env(&plan, &ImageEnv::default());
        env.insert(DEPENDENCIES.to_owned(), serde_json::to_string(dependencies).map_err(Failure::internal)?);
        env.extend(self.git_tokens());
        let left = Mutex::new(BTreeMap::new());
        let keep = |variables: &BTreeMap<String, String>| {
            left.lock().unwrap_or_else(PoisonError::into_inner).clone_from(variables);
            Ok(())
        };
        let run = InRunner {
            plan: &plan,
            image: self.full_reference(&self.runner_image)?,
            root: None,
            env,
            defaults: BTreeMap::new(),
            left: Left::keeping(BTreeMap::new(), Box::new(keep)),
        };
        self.in_runner(run, |_| Ok(())).await?;
        Ok(left.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One command for each.
fn commands(dependencies: &[DependencyPlan]) -> CommandsPlan {
    let command = |(index, dependency): (usize, &DependencyPlan)| {
        let url = GitUrl::parse(&dependency.repository).map(|url| url.without_credentials()).unwrap_or_default();
        let branch = dependency.branch.as_ref().map(|branch| format!("#{branch}")).unwrap_or_default();
        Command {
            name: format!("{} ({url}{branch})", dependency.name),
            command: format!("exec slipway deploy-dependency {index}"),
        }
    };
    CommandsPlan {
        section: Section::Dependencies,
        test: None,
        image: None,
        context: ".".to_owned(),
        remote: None,
        commands: dependencies.iter().enumerate().map(command).collect(),
        env: Vec::new(),
        keep_going: false,
        required: Vec::new(),
        testing: TestOptions::default(),
    }
}
