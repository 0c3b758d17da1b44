//! `slipway files`: what would be sent, found without a service.

use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;
use slipway_context::{Digest, PathEntry, PathNode, Rules, Scan, Section};
use slipway_manifest::manifest::Text;
use slipway_manifest::{Plan, Selection, plan::BuildMode};

use crate::args::FilesArgs;
use crate::error::{ExitStatus, Usage, causes};
use crate::output;
use crate::project::Project;
use crate::roots::{self, Roots, okteto_rules};
use crate::sections;
use crate::settings::{Output, Settings};

/// One line of `--output json`.
#[derive(Serialize)]
struct View<'a> {
    path: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    mode: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
}

/// Lists a context after its rules.
pub(crate) async fn run(args: &FilesArgs, settings: &Settings) -> Result<ExitStatus> {
    let project = Project::load(settings, &args.vars.vars, &[])?.with_git(false).await;
    let purpose = match args.purpose.clone() {
        Some(purpose) => purpose,
        None => default_purpose(&project)?,
    };
    if args.purpose.is_none() {
        output::note(format_args!("listing {purpose}; --for chooses another"));
    }
    let (dir, rules) = purpose_of(&project, &purpose, settings)?;
    let mut roots = Roots::new(project.scan_cache.clone());
    roots.add("files".to_owned(), &dir, &rules)?;
    if let Some(tree) = roots.tree("files") {
        print(&tree.scan, args.long, settings.output)?;
    }
    Ok(ExitStatus::Done)
}

/// The only build; without builds, the commands.
fn default_purpose(project: &Project) -> Result<String, Usage> {
    let builds: Vec<String> = project.manifest.build.iter().map(|build| format!("build:{}", build.service)).collect();
    match builds.as_slice() {
        [only] => Ok(only.clone()),
        [] => Ok("deploy".to_owned()),
        several => {
            let message = format!("which context? --for {}, or deploy", several.join(", "));
            Err(Usage::new(message))
        }
    }
}

fn purpose_of(project: &Project, purpose: &str, settings: &Settings) -> Result<(PathBuf, Rules)> {
    let namespace = settings.namespace.as_deref();
    if let Some(service) = purpose.strip_prefix("build:") {
        let selection = Selection::build(project.application.clone(), vec![service.to_owned()]);
        let plan = project.plan(&selection, namespace)?;
        // The last of the plan: what it depends on comes before it.
        let build = plan.builds.last().ok_or_else(|| Usage::new(format!("there is no service `{service}`")))?;
        let dir = roots::directory(&project.root, &build.context, format_args!("the context of `{service}`"))?;
        let dockerfile = roots::dockerfile(&project.root, &dir, build)?;
        let rules = Rules::docker(&dir, &dockerfile).map_err(|error| Usage::new(causes(&error)))?;
        return Ok((dir, rules));
    }
    let section = match purpose.split_once(':') {
        None if purpose == "deploy" => Section::Deploy,
        None if purpose == "destroy" => Section::Destroy,
        Some(("test", name)) if !name.is_empty() => Section::Test(name.to_owned()),
        _ => {
            let message = format!("--for {purpose}: it is one of build:SERVICE, deploy, destroy, test:NAME");
            return Err(Usage::new(message).into());
        }
    };
    let expand = |context: Option<&Text>| context.map_or(Ok(".".to_owned()), |context| project.expand(context));
    let context = match &section {
        Section::Deploy => deploy_context(project, namespace)?,
        Section::Destroy => expand(project.manifest.destroy.as_ref().and_then(|destroy| destroy.context.as_ref()))?,
        Section::Test(name) => expand(sections::test_of(project, name)?.context.as_ref())?,
    };
    let dir = roots::directory(&project.root, &context, format_args!("the context of `{purpose}`"))?;
    let tests: Vec<String> = project.manifest.tests.iter().map(|test| test.name.clone()).collect();
    let rules = okteto_rules(&dir, section, &tests)?;
    Ok((dir, rules))
}

fn deploy_context(project: &Project, namespace: Option<&str>) -> Result<String> {
    if project.manifest.deploy.is_none() {
        return Ok(".".to_owned());
    }
    let selection = Selection::deploy(project.application.clone(), BuildMode::Never);
    let Plan { commands, .. } = project.plan(&selection, namespace)?;
    Ok(commands.into_iter().next().map_or_else(|| ".".to_owned(), |commands| commands.context))
}

fn print(scan: &Scan, long: bool, output: Output) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    // That of all bytes, as everybody else has it, not that of a list of chunks.
    let digest = |entry: &PathEntry| scan.whole_digest(entry).map_err(|error| Usage::new(causes(&error)));
    for entry in scan.paths() {
        match output {
            Output::Json => {
                serde_json::to_writer(&mut out, &view(&entry, digest(&entry)?)).map_err(io::Error::from)?;
                out.write_all(b"\n")?;
            }
            Output::Plain if long => writeln!(out, "{}", long_line(&entry, digest(&entry)?))?,
            Output::Plain => writeln!(out, "{}", entry.path)?,
        }
    }
    Ok(out.flush()?)
}

fn view(entry: &PathEntry, digest: Option<Digest>) -> View<'_> {
    let mode = format!("{:04o}", entry.mode);
    match &entry.node {
        PathNode::File { size, .. } => View {
            path: &entry.path,
            kind: "file",
            mode,
            size: Some(*size),
            digest: digest.map(|digest| digest.to_string()),
            target: None,
        },
        PathNode::Symlink { target } => {
            View { path: &entry.path, kind: "symlink", mode, size: None, digest: None, target: Some(target) }
        }
    }
}

/// Mode, size, digest and path, in columns; a symlink has no digest.
fn long_line(entry: &PathEntry, digest: Option<Digest>) -> String {
    let PathEntry { path, mode, node } = entry;
    match node {
        PathNode::File { size, .. } => {
            let digest = digest.map(|digest| digest.to_string()).unwrap_or_default();
            format!("-{} {size:>12} {digest} {path}", permissions(*mode))
        }
        PathNode::Symlink { target } => {
            format!("l{} {:>12} {:71} {path} -> {target}", permissions(*mode), target.len(), "-")
        }
    }
}

fn permissions(mode: u32) -> String {
    let mut text: String =
        (0..9).map(|bit| if mode & (0o400 >> bit) == 0 { '-' } else { ['r', 'w', 'x'][bit % 3] }).collect();
    for (bit, at, with, without) in [(0o4000, 2, "s", "S"), (0o2000, 5, "s", "S"), (0o1000, 8, "t", "T")] {
        if mode & bit != 0 {
            let executable = text.get(at..=at) == Some("x");
            text.replace_range(at..=at, if executable { with } else { without });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_as_ls_writes_them() {
        for (mode, text) in [
            (0o644, "rw-r--r--"),
            (0o4755, "rwsr-xr-x"),
            (0o1777, "rwxrwxrwt"),
            (0o2640, "rw-r-S---"),
            (0, "---------"),
        ] {
            assert_eq!(permissions(mode), text);
        }
    }
}
