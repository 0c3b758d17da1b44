//! `slipway validate`

use anyhow::Result;
use serde::Serialize;
use slipway_manifest::{Parsed, Problem};

use crate::error::ExitStatus;
use crate::output;
use crate::project::{self, ManifestFile};
use crate::settings::{Output, Settings};

/// One problem, for scripts.
#[derive(Serialize)]
struct View<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    severity: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

/// Parses the manifest. Problems are the error, each with its line, whichever command they would stop; nothing is expanded and
/// no service asked. As JSON they are also printed, one a line.
pub(crate) fn run(settings: &Settings) -> Result<ExitStatus> {
    let file = ManifestFile::open(settings)?;
    let json = settings.output == Output::Json;
    match file.parse().and_then(Parsed::for_everybody) {
        Ok((_, warnings)) => {
            for warning in &warnings {
                output::diagnose(format!("{}\n", warning.render_warning(&file.text)).as_bytes());
                if json {
                    output::print_json(&View::of(warning, "warning"))?;
                }
            }
            output::note(format_args!("{} is fine", file.name));
            Ok(ExitStatus::Done)
        }
        Err(problems) => {
            for problem in problems.iter().filter(|_| json) {
                output::print_json(&View::of(problem, "error"))?;
            }
            Err(project::bad_manifest(&problems, &file.text).into())
        }
    }
}

impl<'a> View<'a> {
    fn of(problem: &'a Problem, severity: &'static str) -> Self {
        Self {
            file: &problem.file,
            line: problem.line,
            column: problem.column,
            severity,
            message: &problem.message,
            hint: problem.hint.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use slipway_manifest::Manifest;

    use super::*;

    #[test]
    fn problems_as_json() {
        let problems = Manifest::parse("nmae: x\nbuild: 5\ndeploy: {a: b}\n", "okteto.yaml").unwrap_err();
        let lines: Vec<String> =
            problems.iter().map(|problem| serde_json::to_string(&View::of(problem, "error")).unwrap()).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        {"file":"okteto.yaml","line":1,"column":1,"severity":"error","message":"unknown key `nmae`","hint":"did you mean `name`?"}
        {"file":"okteto.yaml","line":2,"column":8,"severity":"error","message":"`build` must be a mapping, not a number","hint":"name each image: `build:`, then `  app:`, then `    context: .`"}
        {"file":"okteto.yaml","line":3,"column":10,"severity":"error","message":"unknown key `a` in `deploy`","hint":"known here: `commands`, `image`, `context`, `remote`, `compose`, `endpoints`, `divert`"}
        "#);
    }
}
