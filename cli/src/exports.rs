//! `--load`, `--export` and `--push`: what of the images comes here, and where it goes.

use std::fs;
use std::io::{self, IsTerminal as _, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow};
use slipway_manifest::Plan;
use slipway_manifest::options::{OptionKey, Output, OutputKind};
use slipway_proto::v1::BuildExported;

use crate::args::BuildArgs;
use crate::client::Client;
use crate::error::Usage;
use crate::output;
use crate::settings;
use crate::whole_file;

pub(crate) mod caches;
pub(crate) mod fetch;

/// What of each image comes here, and whether it is pushed.
#[derive(Debug)]
pub(crate) struct Exports {
    /// Texts of `--export type=image`.
    images: Vec<String>,
    /// In the order in which the service numbers them.
    wanted: Vec<(Output, Sink)>,
    push: bool,
}

/// Where an archive goes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Sink {
    Stdout,
    File(PathBuf),
    /// Its files, into this folder.
    Folder(PathBuf),
    /// `docker load`.
    Docker,
}

impl Exports {
    /// What the flags say.
    pub(crate) fn new(args: &BuildArgs, shown: settings::Output) -> Result<Self> {
        let mut exports = Self { images: Vec::new(), wanted: Vec::new(), push: args.push.unwrap_or(true) };
        for text in &args.options.exports {
            let wrong = |problem: String| Usage::new(format!("--export {text}: {problem}"));
            match parse(text).map_err(wrong)? {
                Some(wanted) => exports.wanted.push(wanted),
                None => exports.images.push(text.clone()),
            }
        }
        if args.load {
            exports.wanted.push((Output::new(OutputKind::Docker), Sink::Docker));
        }
        exports.check_places()?;
        if !exports.wanted.is_empty() && args.detach {
            return Err(Usage::new("--detach leaves nobody here to take what --export brings").into());
        }
        let to_stdout = exports.wanted.iter().filter(|(_, sink)| *sink == Sink::Stdout).count();
        if to_stdout > 1 || (to_stdout == 1 && shown == settings::Output::Json) {
            return Err(Usage::new("--export: standard output takes one thing only").into());
        }
        if to_stdout > 0 && io::stdout().is_terminal() {
            return Err(Usage::new("--export: an archive is nothing for a terminal").hint("add dest=FILE").into());
        }
        Ok(exports)
    }

    /// What can be known of the places before a build takes its time.
    fn check_places(&self) -> Result<()> {
        for (_, sink) in &self.wanted {
            match sink {
                Sink::File(path) => {
                    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
                    if !dir.is_dir() {
                        return Err(Usage::new(format!("--export: there is no folder {}", dir.display())).into());
                    }
                }
                Sink::Folder(path) if path.exists() && !path.is_dir() => {
                    return Err(Usage::new(format!("--export: {} is no folder", path.display())).into());
                }
                Sink::Docker => {
                    let found =
                        Command::new("docker").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
                    if found.is_err() {
                        return Err(Usage::new("--load needs the `docker` command, which is not here").into());
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Options of every build.
    pub(crate) fn options(&self) -> impl Iterator<Item = (OptionKey, String)> {
        self.images.iter().map(|text| (OptionKey::Export, text.clone()))
    }

    /// Whether events have to make room for an archive.
    pub(crate) fn go_to_stdout(&self) -> bool {
        self.wanted.iter().any(|(_, sink)| *sink == Sink::Stdout)
    }

    /// The plan with what is wanted of the services that were named (none: of all).
    pub(crate) fn add_to(&self, mut plan: Plan, named: &[String]) -> Result<Plan> {
        let is_named = |service: &str| named.is_empty() || named.iter().any(|name| name == service);
        let used: Vec<_> = plan
            .builds
            .iter()
            .flat_map(|build| build.depends_on.iter().chain(build.options.service_contexts()))
            .cloned()
            .collect();
        let mut count = 0;
        for build in plan.builds.iter_mut().filter(|build| is_named(build.service.as_str())) {
            count += 1;
            if !self.push {
                if used.contains(&build.service) {
                    output::warn(format_args!("`{}` is pushed all the same: others use its image", build.service));
                } else {
                    build.options.no_push = true;
                }
            }
            build.options.outputs.extend(self.wanted.iter().map(|(wanted, _)| wanted.clone()));
            let unfit = |error| Usage::new(format!("service `{}`: {error}", build.service));
            build.options.check_outputs(&build.platforms).map_err(unfit)?;
            if build.options.is_attested() && self.wanted.iter().any(|(wanted, _)| wanted.kind == OutputKind::Docker) {
                let why = "attestations come in an index, which only a Docker with the containerd image store loads";
                output::warn(format_args!("`{}`: {why}", build.service));
            }
            build.no_skip |= build.options.always_builds();
        }
        let shared = self.wanted.iter().any(|(_, sink)| *sink != Sink::Docker);
        if shared && count > 1 {
            let error = Usage::new(format!("--export: {count} services would go to the same place"));
            return Err(error.hint("name one service").into());
        }
        Ok(plan)
    }

    /// Brings what builds have made.
    pub(crate) async fn fetch(&self, client: &Client, job: &str, exported: &[BuildExported]) -> Result<()> {
        for export in exported {
            // A cache has a place of its own.
            let wanted =
                self.wanted.get(export.index as usize).filter(|(wanted, _)| wanted.kind.as_str() == export.kind);
            let Some((_, sink)) = wanted else { continue };
            let sink = sink.clone();
            let to = sink.clone();
            fetch::fetch_export(client, job, export, move |archive| to.take(archive))
                .await
                .with_context(|| format!("bring the image of {} {sink}", export.service))?;
            output::note(format_args!("`{}` {sink}: {}", export.service, output::size(export.bytes)));
        }
        Ok(())
    }
}

/// `type=oci,dest=x` and its like; none for `type=image`. A text alone is a folder, as in buildx.
fn parse(text: &str) -> Result<Option<(Output, Sink)>, String> {
    if text == "-" {
        return Ok(Some((Output::new(OutputKind::Tar), Sink::Stdout)));
    }
    if !text.contains('=') {
        return Ok(Some((Output::new(OutputKind::Tar), Sink::Folder(text.into()))));
    }
    let (mut rest, mut dest, mut tar, mut kind) = (Vec::new(), None, None, None);
    for field in text.split(',') {
        match field.trim().split_once('=') {
            Some(("dest", value)) => dest = Some(value),
            Some(("tar", value)) => tar = Some(value.parse::<bool>().map_err(|_| format!("`{field}`: true or false"))?),
            Some(("type", value)) => kind = Some(value),
            _ => rest.push(field),
        }
    }
    if kind == Some("image") {
        return Ok(None);
    }
    let is_folder = kind == Some("local") || tar == Some(false);
    let name = if kind == Some("local") { "tar" } else { kind.unwrap_or_default() };
    let wanted = [vec![format!("type={name}")], rest.iter().map(ToString::to_string).collect()].concat().join(",");
    let wanted: Output = wanted.parse().map_err(|error: slipway_manifest::options::InvalidOption| error.to_string())?;
    if kind == Some("local") && tar.is_some() || wanted.kind == OutputKind::Tar && tar == Some(false) {
        return Err("`tar` is for `type=oci` and `type=docker`".to_owned());
    }
    let sink = match (dest.filter(|dest| !dest.is_empty()), is_folder) {
        (Some("-") | None, true) => return Err("it lacks `dest=FOLDER`".to_owned()),
        (Some(dest), true) => Sink::Folder(dest.into()),
        (Some("-"), false) => Sink::Stdout,
        (Some(dest), false) => Sink::File(dest.into()),
        (None, false) if wanted.kind == OutputKind::Docker => Sink::Docker,
        (None, false) => Sink::Stdout,
    };
    Ok(Some((wanted, sink)))
}

impl std::fmt::Display for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stdout => f.write_str("to standard output"),
            Self::File(path) | Self::Folder(path) => write!(f, "to {}", path.display()),
            Self::Docker => f.write_str("into Docker"),
        }
    }
}

impl Sink {
    /// Takes an archive to its end. Blocks.
    fn take(self, archive: &mut dyn Read) -> Result<()> {
        match self {
            Self::Stdout => {
                io::copy(archive, &mut io::stdout().lock())?;
            }
            Self::File(path) => whole_file::write(&path, archive)?,
            Self::Folder(path) => to_folder(&path, archive)?,
            Self::Docker => to_docker(archive)?,
        }
        Ok(())
    }
}

/// Its files belong to who runs this, as those of buildx. Nothing is written outside of the folder, wherever links lead.
fn to_folder(folder: &Path, archive: &mut dyn Read) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut files = tar::Archive::new(&mut *archive);
    files.set_preserve_permissions(true);
    files.set_preserve_ownerships(false);
    files.set_overwrite(true);
    files.unpack(folder)?;
    // Only what came to its end is known to be whole.
    io::copy(archive, &mut io::sink())?;
    Ok(())
}

/// By the docker command, which knows the contexts and hosts that its user has.
fn to_docker(archive: &mut dyn Read) -> Result<()> {
    let mut command = Command::new("docker");
    command.args(["image", "load"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut loading = command.spawn().context("run `docker`, which --load needs")?;
    let mut stdin = loading.stdin.take().context("give `docker` an archive")?;
    // One that fails reads no further; what it says counts more.
    let copied = io::copy(archive, &mut stdin);
    drop(stdin);
    if copied.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::BrokenPipe) {
        let _ = loading.kill();
    }
    let ended = loading.wait_with_output()?;
    if !ended.status.success() {
        copied.or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(0) } else { Err(error) })?;
        return Err(anyhow!("docker image load: {}", String::from_utf8_lossy(&ended.stderr).trim_end()));
    }
    copied?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_those_of_buildx() {
        let sink = |text: &str| match parse(text) {
            Ok(Some((wanted, sink))) => format!("{wanted} {sink}"),
            Ok(None) => "the image".to_owned(),
            Err(problem) => problem,
        };
        for (text, expected) in [
            ("out", "type=tar to out"),
            ("-", "type=tar to standard output"),
            ("type=image,compression=zstd", "the image"),
            ("type=local,dest=a/b", "type=tar to a/b"),
            ("type=tar,dest=x.tar", "type=tar to x.tar"),
            ("dest=-,type=oci", "type=oci,oci-mediatypes=true to standard output"),
            ("type=oci,dest=x.tar,compression=zstd", "type=oci,oci-mediatypes=true,compression=zstd to x.tar"),
            ("type=oci,dest=x,tar=false", "type=oci,oci-mediatypes=true to x"),
            ("type=docker", "type=docker,oci-mediatypes=false into Docker"),
            ("type=docker,dest=x.tar", "type=docker,oci-mediatypes=false to x.tar"),
            ("type=local", "it lacks `dest=FOLDER`"),
            ("type=tar,dest=x,tar=false", "`tar` is for `type=oci` and `type=docker`"),
            ("type=oci,name=x", "`name`: the image goes where its `image` in the manifest says"),
            ("dest=x", "`type=`: `image`, `oci`, `docker`, `local` and `tar` are there"),
        ] {
            assert_eq!(sink(text), expected, "{text}");
        }
    }

    #[test]
    fn a_folder_is_never_left() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, beside) = (dir.path().join("in"), dir.path().join("beside"));
        let mut archive = tar::Builder::new(Vec::new());
        let mut add = |name: &str, kind: tar::EntryType, link: Option<&Path>, text: &str| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(text.len() as u64);
            header.set_mode(0o640);
            if let Some(link) = link {
                header.set_link_name(link).unwrap();
            }
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            archive.append(&header, text.as_bytes()).unwrap();
        };
        add("a", tar::EntryType::Regular, None, "a");
        add("../beside", tar::EntryType::Regular, None, "no");
        add("out", tar::EntryType::Symlink, Some(dir.path()), "");
        add("out/beside", tar::EntryType::Regular, None, "no");
        let archive = archive.into_inner().unwrap();
        let _ = to_folder(&folder, &mut archive.as_slice());
        assert_eq!(fs::read_to_string(folder.join("a")).unwrap(), "a");
        assert!(!beside.exists());
    }
}
