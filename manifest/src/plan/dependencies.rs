//! `dependencies` and `external` of a deploy, expanded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{
    create::{Planner, Selection},
    types::{CommandsPlan, DependencyPlan, JobKind},
};
use crate::{
    git_url::GitUrl,
    manifest::{BuildArg, External, Manifest, ManifestDependency, Text},
    names::{is_variable_name, sanitise_application},
    shape,
    variables::{ORIGIN, RESERVED},
};

/// How long a dependency may take where nothing says it, as in Okteto.
const TIMEOUT: Duration = Duration::from_mins(5);
/// Okteto's knob for that.
const OKTETO_TIMEOUT: &str = "OKTETO_TIMEOUT";
/// What says to a dependency who deploys it.
const ORIGIN_VALUE: &str = "okteto-deploy";

impl Planner<'_> {
    /// What is deployed before `application`, in the manifest's order.
    pub(super) fn dependencies(
        &mut self,
        manifest: &Manifest,
        selection: &Selection,
        application: &str,
    ) -> Vec<DependencyPlan> {
        if selection.kind != JobKind::Deploy {
            return Vec::new();
        }
        let timeout = self.variables.get(OKTETO_TIMEOUT).and_then(shape::duration).filter(|timeout| !timeout.is_zero());
        let timeout = timeout.unwrap_or(TIMEOUT);
        let mut names = BTreeMap::from([(sanitise_application(application), "the application itself".to_owned())]);
        for dependency in &manifest.dependencies {
            let (name, same) = (sanitise_application(&dependency.name), format!("dependency `{}`", dependency.name));
            if let Some(other) = names.insert(name, same) {
                let message = format!("dependency `{}` is named as {other}", dependency.name.trim());
                self.report.error_with(dependency.place, message, Some("give it another name"));
            }
        }
        manifest.dependencies.iter().map(|dependency| self.dependency(dependency, timeout, selection)).collect()
    }

    fn dependency(
        &mut self,
        dependency: &ManifestDependency,
        timeout: Duration,
        selection: &Selection,
    ) -> DependencyPlan {
        let name = dependency.name.trim().to_owned();
        let field = |key: &str| format!("dependencies.{name}.{key}");
        let repository = self.path(Some(&dependency.repository), &field("repository"), "");
        if !repository.is_empty()
            && let Err(error) = GitUrl::parse(&repository)
        {
            self.report.error(dependency.repository.place, format!("`{}`: {error}", field("repository")));
        }
        let mut optional = |text: &Option<Text>| text.as_ref().map(|text| self.now(text));
        let branch = optional(&dependency.branch).filter(|branch| !branch.is_empty());
        let manifest = optional(&dependency.manifest).filter(|manifest| !manifest.is_empty());
        if let (Some(text), Some(value)) = (&dependency.branch, &branch)
            && value.starts_with('-')
        {
            let message = format!("`{}`: `{}` can't be a branch", field("branch"), value.escape_debug());
            self.report.error(text.place, message);
        }
        let mut variables = BTreeMap::from([[ORIGIN, ORIGIN_VALUE].map(str::to_owned).into()]);
        // Of two that were expanded to one name the later counts.
        variables.extend(dependency.variables.iter().filter_map(|variable| self.dependency_variable(variable, &name)));
        // Whole seconds are all that anybody can tell apart here.
        let timeout_s = dependency.timeout.unwrap_or(timeout).as_secs().max(1);
        DependencyPlan {
            repository,
            branch,
            manifest,
            variables: variables.into_iter().collect(),
            wait: dependency.wait,
            timeout_s,
            again: selection.dependencies,
            name,
        }
    }

    /// None for one that is taken from a variable that isn't set.
    fn dependency_variable(&mut self, variable: &BuildArg, dependency: &str) -> Option<(String, String)> {
        let written = Text { value: variable.name.clone(), place: variable.place };
        let name = if variable.name.contains('$') { self.now(&written) } else { variable.name.clone() };
        if !is_variable_name(&name) || RESERVED.contains(&name.as_str()) {
            let message = format!("`dependencies.{dependency}.variables`: `{}` can't be set", name.escape_debug());
            self.report.error(variable.place, message);
            return None;
        }
        if let Some(value) = &variable.value {
            let value = self.now(value);
            return Some((name, value));
        }
        let write_only = self.variables.is_write_only(&name).then(|| name.clone());
        self.refuse_write_only(variable.place, write_only.into_iter().collect());
        let value = self.variables.get(&name)?.to_owned();
        Some((name, value))
    }

    /// Without commands, nothing sets a URL that is missing.
    pub(super) fn external_without_commands(&mut self, external: &[External]) {
        for (external, endpoint) in external.iter().flat_map(|one| one.endpoints.iter().map(move |end| (one, end))) {
            let variable = external.variable(&self.now(&endpoint.name));
            let url = endpoint.url.as_ref().map(|url| self.now(url)).unwrap_or_default();
            let given = self.variables.is_write_only(&variable)
                || self.variables.get(&variable).is_some_and(|value| !value.is_empty());
            if url.is_empty() && !given {
                let message = format!("`external.{}`: this endpoint has no URL", external.name);
                let hint = format!("write `url: …`: there is no deploy command that could set `{variable}`");
                self.report.error_with(endpoint.name.place, message, Some(hint));
            }
        }
    }

    /// Gives deploy commands the URLs of what runs elsewhere; those that have none the commands have to set.
    pub(super) fn external(&mut self, external: &[External], commands: &mut CommandsPlan) {
        let given: BTreeSet<String> = commands.env.iter().map(|(name, _)| name.clone()).collect();
        let mut seen = BTreeSet::new();
        for (external, endpoint) in external.iter().flat_map(|one| one.endpoints.iter().map(move |end| (one, end))) {
            let name = self.now(&endpoint.name);
            let variable = external.variable(&name);
            let url = endpoint.url.as_ref().map(|url| self.now(url)).unwrap_or_default();
            // Names that don't come from variables were looked at before.
            if endpoint.name.value.contains('$') && !is_variable_name(&variable) {
                let message = format!("`{variable}`, where its URL would be, can't be the name of a variable");
                let hint = "use letters, digits, spaces and `-`";
                self.report.error_with(endpoint.name.place, message, Some(hint));
                continue;
            }
            if !seen.insert(variable.clone()) {
                if endpoint.name.value.contains('$') {
                    let message = format!("another endpoint of `external.{}` is named `{name}`, too", external.name);
                    self.report.error(endpoint.name.place, message);
                }
                continue;
            }
            // What the caller gives counts more.
            if !url.is_empty() && !given.contains(&variable) {
                commands.env.push((variable.clone(), url));
            }
            commands.required.push(variable);
        }
        commands.env.sort();
    }
}
