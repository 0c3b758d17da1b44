//! `slipway build -t REF [--dockerfile F] [PATH]`: one image, without a manifest.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use slipway_manifest::manifest::{Build, Text};
use slipway_manifest::plan::JobKind;
use slipway_manifest::print::PrintedPlan;
use slipway_manifest::{Manifest, Place, ServiceName};

use crate::args::BuildArgs;
use crate::commands::okteto::called_okteto;
use crate::error::Usage;
use crate::project::{self, Project, directory_name};
use crate::settings::Settings;

/// How messages name the manifest that there is none of.
const FILE: &str = "the command line";
/// The name of a service whose image's name has nothing of one.
const SERVICE: &str = "image";
/// Stands for standard input.
const STDIN: &str = "-";
const MAX_DOCKERFILE: u64 = 16 << 20;

/// The project of this one image.
pub(super) fn project(args: &BuildArgs, settings: &Settings) -> Result<Project> {
    check_services(args, settings)?;
    let folder = match args.services.as_slice() {
        [] => ".",
        [folder] => folder,
        [_, more, ..] => {
            let message = format!("`{more}`: -t builds one folder");
            return Err(Usage::new(message).hint("leave -t out to build services of the manifest").into());
        }
    };
    if let Some(tag) = args.tags.iter().find(|tag| tag.trim().is_empty() || tag.contains(',')) {
        return Err(Usage::new(format!("-t: `{tag}` is no image's name")).into());
    }
    let here = std::env::current_dir().context("find the working directory")?;
    let (dockerfile, stdin) = match dockerfile(args, settings)? {
        None => (None, None),
        Some(path) if path == Path::new(STDIN) => {
            let (dir, path) = from_stdin()?;
            (Some(path), Some(dir))
        }
        // Unlike those of a manifest it is relative to where we are, as docker's.
        Some(path) => (Some(here.join(path)), None),
    };
    let text = |value: &str| Text { value: value.replace('$', "$$"), place: Place::WHOLE };
    let path = dockerfile.as_deref().map(utf8).transpose()?;
    let service = service(args.tags.first().map_or("", String::as_str));
    // The root directory has no name.
    let application = Some(directory_name(Path::new(folder))).filter(|name| !name.is_empty());
    let application = application.unwrap_or_else(|| service.to_string());
    let build = Build {
        service,
        place: Place::WHOLE,
        context: Some(text(folder)),
        dockerfile: path.map(text),
        image: Some(text(&args.tags.join(","))),
        target: None,
        args: Vec::new(),
        depends_on: Vec::new(),
        platforms: Vec::new(),
        options: Vec::new(),
        secrets: Vec::new(),
    };
    let manifest = Manifest { file: FILE.to_owned(), build: vec![build], ..Manifest::default() };
    let project = Project::with(manifest, PathBuf::new(), application, settings, &args.vars.vars)?;
    Ok(project.keeping(stdin))
}

/// Okteto's command takes what is named for a service of the manifest, where there is one: that would be another image.
fn check_services(args: &BuildArgs, settings: &Settings) -> Result<(), Usage> {
    if settings.file_flag || args.dockerfile.is_some() || !called_okteto() {
        return Ok(());
    }
    let Ok((manifest, _)) = project::read(settings, &[JobKind::Build]) else { return Ok(()) };
    let service = match (args.services.as_slice(), manifest.build.as_slice()) {
        ([name], services) => services.iter().find(|build| build.service.as_str() == name),
        ([], [only]) => Some(only),
        _ => None,
    };
    let Some(Build { service, .. }) = service else { return Ok(()) };
    let message = format!("-t builds a folder without the manifest, and `{service}` is a service of {}", manifest.file);
    let hint = format!(
        "give it the name with `image` in the manifest and leave -t out; a folder is `./{}`",
        args.services.first().map_or("", String::as_str)
    );
    Err(Usage::new(message).hint(hint))
}

/// The Dockerfile that was named: with `-f`, too, as docker's and Okteto's command have it where there is no manifest.
fn dockerfile<'a>(args: &'a BuildArgs, settings: &'a Settings) -> Result<Option<&'a Path>, Usage> {
    let without_manifest = settings.file_flag && !args.tags.is_empty();
    let Some(file) = settings.file.as_deref().filter(|_| without_manifest) else {
        return Ok(args.dockerfile.as_deref());
    };
    if args.dockerfile.is_some() {
        return Err(Usage::new("-f and --dockerfile both name the Dockerfile of -t"));
    }
    if is_yaml(file) {
        let hint = "leave -t out to build services of a manifest, and give them their names with `image`";
        return Err(Usage::new("-f names the Dockerfile where -t builds without a manifest").hint(hint));
    }
    Ok(Some(file))
}

/// Refuses a Dockerfile where a manifest is to be.
pub(super) fn check_manifest(settings: &Settings) -> Result<(), Usage> {
    let name = |file: &Path| file.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    match settings.file.as_deref() {
        Some(file) if !is_yaml(file) && name(file).contains("dockerfile") => {
            let message = format!("-f names a manifest where there is no -t, and {} is a Dockerfile", file.display());
            Err(Usage::new(message).hint("`slipway build -t okteto.dev/NAME:TAG -f DOCKERFILE PATH` builds one image"))
        }
        _ => Ok(()),
    }
}

fn is_yaml(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

/// A Dockerfile from standard input has no name that anyone knows.
pub(super) fn as_asked(args: &BuildArgs, settings: &Settings, mut printed: PrintedPlan) -> PrintedPlan {
    if matches!(dockerfile(args, settings), Ok(Some(path)) if path == Path::new(STDIN)) {
        printed.services.iter_mut().for_each(|service| STDIN.clone_into(&mut service.dockerfile));
    }
    printed
}

/// As the last part of the image's name, without its tag.
fn service(tag: &str) -> ServiceName {
    let name = tag.split(['@', ',']).next().unwrap_or_default();
    let last = name.rsplit('/').next().unwrap_or_default();
    let last = last.split(':').next().unwrap_or_default();
    #[expect(clippy::expect_used, reason = "this name is one")]
    ServiceName::sanitised(last).unwrap_or_else(|_| ServiceName::new(SERVICE).expect("a service's name"))
}

fn from_stdin() -> Result<(tempfile::TempDir, PathBuf)> {
    let mut text = Vec::new();
    let read = std::io::stdin().lock().take(MAX_DOCKERFILE + 1).read_to_end(&mut text);
    read.context("read the Dockerfile from standard input")?;
    if text.len() as u64 > MAX_DOCKERFILE {
        return Err(Usage::new(format!("the Dockerfile has more than {MAX_DOCKERFILE} bytes")).into());
    }
    if text.is_empty() {
        return Err(Usage::new("--dockerfile -: standard input is empty").into());
    }
    let dir = tempfile::tempdir().context("make a folder for the Dockerfile")?;
    let path = dir.path().join("Dockerfile");
    std::fs::write(&path, text).context("keep the Dockerfile")?;
    Ok((dir, path))
}

fn utf8(path: &Path) -> Result<&str, Usage> {
    path.to_str().ok_or_else(|| Usage::new(format!("`{}` is not UTF-8", path.display())))
}

#[cfg(test)]
mod tests {
    use super::service;

    #[test]
    fn a_service_is_named_as_its_image() {
        for (tag, name) in [
            ("okteto.dev/web:1", "web"),
            ("reg.example:5000/a/Api_v2", "api-v2"),
            ("web@sha256:1", "web"),
            ("x,y", "x"),
            ("", "image"),
            ("__", "image"),
        ] {
            assert_eq!(service(tag).as_str(), name, "{tag}");
        }
    }
}
