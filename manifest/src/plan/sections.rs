//! Which commands run, and which images they need.

use std::collections::{BTreeSet, HashMap};

use super::{
    create::{PlanError, Planner, Selection},
    order::in_order,
    test_options::TestOptions,
    types::{Command, CommandsPlan, JobKind, Section},
};
use crate::{
    expand::Template,
    image_env::variable_names,
    manifest::{CommandSection, Manifest, ManifestCommand, Test, Text},
    variables::Variables,
};

/// What tests find as `CI` unless the caller has another value.
const CI: &str = "CI";

/// What a job runs after its builds, in order.
#[derive(Debug)]
pub(super) enum Run<'m> {
    /// Images only, if any.
    Nothing,
    /// `deploy` or `destroy`.
    Section(Section, &'m CommandSection),
    /// Tests, those that others depend on first.
    Tests(Vec<&'m Test>),
}

impl<'m> Run<'m> {
    /// What the selection asks for.
    pub(super) fn of(manifest: &'m Manifest, selection: &Selection) -> Result<Self, PlanError> {
        // A section without a command needs no container, and no tree.
        let section = |section, run: Option<&'m CommandSection>| {
            run.filter(|run| !run.commands.is_empty()).map_or(Self::Nothing, |run| Self::Section(section, run))
        };
        match selection.kind {
            JobKind::Build => Ok(Self::Nothing),
            JobKind::Deploy if !manifest.has_anything_to_deploy() => {
                Err(PlanError::NothingToDeploy { file: manifest.file.clone() })
            }
            // As in Okteto: the images are deployed by being built.
            JobKind::Deploy => Ok(section(Section::Deploy, manifest.deploy.as_ref().map(|deploy| &deploy.run))),
            // The environment ends whether or not anything has to be run for that.
            JobKind::Destroy => Ok(section(Section::Destroy, manifest.destroy.as_ref())),
            JobKind::Test if manifest.tests.is_empty() => {
                Err(PlanError::NoSection { file: manifest.file.clone(), section: Section::Test })
            }
            JobKind::Test => {
                let wanted = wanted(manifest, &selection.tests)?;
                in_order(&manifest.tests, &wanted).map(Self::Tests).ok_or(PlanError::Cycle { section: "test" })
            }
        }
    }

    /// The services whose variables the images of the commands are named by.
    pub(super) fn images(&self, manifest: &'m Manifest, variables: &Variables) -> BTreeSet<&'m str> {
        let services = manifest.build.iter();
        let of = |build: &'m crate::manifest::Build| {
            variable_names(&build.service).into_iter().map(move |name| (name, build.service.as_str()))
        };
        let all: HashMap<String, &str> = services.flat_map(of).collect();
        let used = |image: &Text| {
            let later = |name: &str| all.contains_key(name);
            let template = Template::expand_now(&image.value, &|name| variables.lookup(name), &later);
            // What can't be expanded is an error later, with its place.
            template.map(|(template, _)| template.variables()).unwrap_or_default()
        };
        let images: Vec<&Text> = match self {
            Self::Nothing => Vec::new(),
            Self::Section(_, section) => section.image.iter().collect(),
            Self::Tests(tests) => tests.iter().filter_map(|test| test.image.as_ref()).collect(),
        };
        images.into_iter().flat_map(used).filter_map(|name| all.get(&name).copied()).collect()
    }

    /// The commands, expanded.
    pub(super) fn plan(
        &self,
        planner: &mut Planner<'_>,
        manifest: &Manifest,
        selection: &Selection,
    ) -> Vec<CommandsPlan> {
        match self {
            Self::Nothing => {
                if selection.kind == JobKind::Deploy {
                    planner.external_without_commands(&manifest.external);
                }
                Vec::new()
            }
            Self::Section(section, run) => {
                let mut plan = planner.commands(*section, run.image.as_ref(), run.context.as_ref(), &run.commands);
                (plan.remote, plan.keep_going) = (run.remote, selection.keep_going);
                if *section == Section::Deploy {
                    planner.external(&manifest.external, &mut plan);
                }
                vec![plan]
            }
            Self::Tests(tests) => tests.iter().map(|test| planner.test(test, selection.no_cache)).collect(),
        }
    }
}

/// The tests that are asked for; all when none is named.
fn wanted<'m>(manifest: &'m Manifest, names: &[String]) -> Result<BTreeSet<&'m str>, PlanError> {
    if names.is_empty() {
        return Ok(manifest.tests.iter().map(|test| test.name.as_str()).collect());
    }
    let find = |name: &String| {
        let unknown = |hint| PlanError::UnknownTest { file: manifest.file.clone(), test: name.clone(), hint };
        manifest.test_of(name).map(|test| test.name.as_str()).map_err(unknown)
    };
    names.iter().map(find).collect()
}

impl Planner<'_> {
    fn commands(
        &mut self,
        section: Section,
        image: Option<&Text>,
        context: Option<&Text>,
        commands: &[ManifestCommand],
    ) -> CommandsPlan {
        let command =
            |command: &ManifestCommand| Command { name: command.name.clone(), command: command.command.clone() };
        CommandsPlan {
            section,
            test: None,
            image: image.map(|image| self.later(image, None)),
            context: self.path(context, "context", "."),
            remote: None,
            commands: commands.iter().map(command).collect(),
            env: self.variables.for_commands(),
            keep_going: false,
            required: Vec::new(),
            testing: TestOptions::default(),
        }
    }

    fn test(&mut self, test: &Test, no_cache: bool) -> CommandsPlan {
        let mut plan = self.commands(Section::Test, test.image.as_ref(), test.context.as_ref(), &test.commands);
        plan.test = Some(test.name.clone());
        if plan.env.iter().all(|(name, _)| name != CI) {
            let ci = self.variables.get(CI).filter(|value| !value.is_empty()).unwrap_or("true");
            plan.env.push((CI.to_owned(), ci.to_owned()));
            plan.env.sort();
        }
        plan.testing = self.test_options(test, no_cache);
        plan
    }
}
