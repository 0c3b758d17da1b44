//! YAML tree to [`Manifest`]: all problems of a file in one go.

mod build;
mod commands;
pub(crate) mod compose;
mod dependencies;
mod deploy;
mod external;
mod fields;
mod graph;
mod options;
mod pairs;
mod secrets;
mod test;
#[cfg(test)]
mod tests;
mod up;

use crate::{
    manifest::Manifest,
    plan::JobKind,
    problem::{Concern, Concerned, Place, Problem, Problems, Report, concern},
    shape, yaml,
};
pub(crate) use build::{MAX_BUILDS, is_arg_name};
use fields::Fields;

/// A manifest and what its author should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The manifest.
    pub manifest: Manifest,
    /// What is not supported yet or was changed, in the order of the file.
    pub warnings: Vec<Problem>,
    /// What is wrong in sections that not everybody uses, in the order of the file: see [`Parsed::for_jobs`].
    pub problems: Vec<Concerned>,
}

impl Parsed {
    /// The manifest and its warnings for jobs of these kinds, which what is wrong in sections of others does not stop.
    pub fn for_jobs(self, kinds: &[JobKind]) -> Result<(Manifest, Vec<Problem>), Problems> {
        let mut warnings = self.warnings;
        warnings.extend(concern::for_jobs(self.problems, kinds)?);
        warnings.sort_by_key(Problem::place);
        Ok((self.manifest, warnings))
    }

    /// The same, where whatever is wrong is an error.
    pub fn for_everybody(self) -> Result<(Manifest, Vec<Problem>), Problems> {
        concern::all(self.problems)?;
        Ok((self.manifest, self.warnings))
    }
}

impl Manifest {
    /// Reads a manifest. `file` is how messages name it.
    ///
    /// ```
    /// use slipway_manifest::Manifest;
    ///
    /// let problems = Manifest::parse("name: ex\nbuild:\n  app:\n    contxt: .\n", "okteto.yaml").unwrap_err();
    /// assert_eq!(problems.iter().next().unwrap().to_string(), "okteto.yaml:4:5: unknown key `contxt` in `build.app`");
    /// ```
    pub fn parse(text: &str, file: &str) -> Result<Parsed, Problems> {
        let mut report = Report::new(file);
        let root = yaml::load(text, &mut report);
        let mut manifest = Self { file: file.to_owned(), source: text.to_owned(), ..Self::default() };
        match root {
            Some(root) if !root.is_null() => read(&root, &mut manifest, &mut report),
            // Why it could not be read is in the report already.
            _ if report.has_errors() => {}
            _ => report.error(Place::new(1, 1), "the manifest is empty"),
        }
        let (warnings, problems) = report.finish_for_some()?;
        Ok(Parsed { manifest, warnings, problems })
    }
}

fn read(root: &yaml::Node, manifest: &mut Manifest, report: &mut Report) {
    if compose::refuse(root, &manifest.file, report) {
        return;
    }
    // Everything of the wrong kind is reported here; what follows takes what there is, and looks at what it means.
    shape::check(root, &shape::MANIFEST, report);
    let Some(fields) = Fields::of(root, &shape::MANIFEST) else { return };
    let section = |key| root.entries().iter().find(|entry| entry.key == key && !entry.value.is_null());
    manifest.name = fields.text("name");
    manifest.icon = fields.text("icon");
    if let Some(build) = fields.get("build") {
        manifest.build = build::read(build, report);
    }
    manifest.deploy =
        report.concerning(Concern::Deploy, |report| section("deploy").map(|entry| deploy::read(entry, report)));
    manifest.destroy = section("destroy").map(commands::read_destroy);
    if let Some(test) = fields.get("test") {
        manifest.tests = report.concerning(Concern::Test, |report| test::read(test, report));
    }
    if let Some(dependencies) = fields.get("dependencies") {
        manifest.dependencies = report.concerning(Concern::Deploy, |report| dependencies::read(dependencies, report));
    }
    if let Some(external) = fields.get("external") {
        manifest.external = report.concerning(Concern::Deploy, |report| external::read(external, report));
    }
    report.concerning(Concern::Up, |report| {
        if let Some(dev) = fields.get("dev") {
            manifest.dev = up::devs(dev, report);
        }
        if let Some(forward) = fields.get("forward") {
            manifest.forward = up::forwards(forward, report);
        }
    });
    graph::check_builds(&manifest.build, report);
    report.concerning(Concern::Test, |report| graph::check_tests(&manifest.tests, report));
}
