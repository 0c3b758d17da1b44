//! YAML tree to [`Manifest`]: all problems of a file in one go.

mod build;
mod deploy;
mod fields;
mod graph;
mod options;
mod secrets;
mod test;
#[cfg(test)]
mod tests;

use crate::{
    manifest::Manifest,
    problem::{Place, Problem, Problems, Report},
    yaml,
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
}

/// Sections that Okteto knows and Slipway does not run yet.
const LATER: [&str; 5] = ["dependencies", "external", "dev", "forward", "icon"];

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
        let mut manifest = Self { file: file.to_owned(), ..Self::default() };
        match root {
            Some(root) if !root.is_null() => read(&root, &mut manifest, &mut report),
            // Why it could not be read is in the report already.
            _ if report.has_errors() => {}
            _ => report.error(Place::new(1, 1), "the manifest is empty"),
        }
        let warnings = report.finish()?;
        Ok(Parsed { manifest, warnings })
    }
}

fn read(root: &yaml::Node, manifest: &mut Manifest, report: &mut Report) {
    let Some(mut fields) = Fields::of(root, String::new(), report) else { return };
    manifest.name = fields.text("name", report);
    if let Some(entry) = fields.take("build") {
        manifest.build = build::read(&entry.value, report);
    }
    if let Some(entry) = fields.take("deploy") {
        manifest.deploy = deploy::read(entry, report);
    }
    if let Some(entry) = fields.take("destroy") {
        manifest.destroy = deploy::read_destroy(entry, report);
    }
    if let Some(entry) = fields.take("test") {
        manifest.tests = test::read(&entry.value, report);
    }
    for section in LATER {
        fields.not_yet(section, report);
    }
    fields.finish(report);
    graph::check_builds(&manifest.build, report);
    graph::check_tests(&manifest.tests, report);
}
