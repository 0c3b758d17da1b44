//! `slipway environment …`

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;
use serde::Serialize;
use slipway_manifest::ImageEnv;
use slipway_proto::v1::{
    DeleteEnvironmentRequest, DeployedVersion, Environment, EnvironmentState, JobKind, ListEnvironmentsRequest,
    ShowEnvironmentRequest, ShowEnvironmentResponse,
};

use tonic::Code;

use crate::args::EnvironmentCommand;
use crate::client::{Patience, SHORT_CALL, timed};
use crate::error::ExitStatus;
use crate::output::{self, Table};
use crate::session::Session;
use crate::settings::{Output, Settings};

/// What stands for a value that was not asked for.
const MASK: &str = "***";

#[derive(Serialize)]
struct Listed<'a> {
    environment: &'a str,
    namespace: &'a str,
    state: &'static str,
    updated: Option<String>,
    /// The job that changed it last, what it did, and whose it was.
    job: &'a str,
    kind: &'static str,
    owner: &'a str,
}

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    environment: Listed<'a>,
    images: BTreeMap<&'a str, &'a str>,
    /// Values where they were asked for, else null.
    variables: BTreeMap<&'a str, Option<&'a str>>,
    deployed: Option<Deployed<'a>>,
}

#[derive(Serialize)]
struct Deployed<'a> {
    digest: String,
    tree: String,
    image: &'a str,
    commands: Vec<Command<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    repository: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    branch: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    commit: &'a str,
}

#[derive(Serialize)]
struct Command<'a> {
    name: &'a str,
    digest: String,
}

impl<'a> From<&'a Environment> for Listed<'a> {
    fn from(environment: &'a Environment) -> Self {
        let state = match environment.state() {
            EnvironmentState::Deployed => "deployed",
            EnvironmentState::Failed => "failed",
            EnvironmentState::Destroyed => "destroyed",
            EnvironmentState::Unspecified => "unknown",
        };
        let kind = match environment.kind() {
            JobKind::Destroy => "destroy",
            _ => "deploy",
        };
        let Environment { name, namespace, job, owner, .. } = environment;
        let updated = output::time(environment.updated.as_ref());
        Self { environment: name, namespace, state, updated, job, kind, owner }
    }
}

impl<'a> From<&'a DeployedVersion> for Deployed<'a> {
    fn from(deployed: &'a DeployedVersion) -> Self {
        let DeployedVersion { image, repository, branch, commit, .. } = deployed;
        let commands = deployed.commands.iter();
        Self {
            digest: digest(&deployed.digest),
            tree: digest(&deployed.tree),
            image,
            commands: commands
                .map(|command| Command { name: &command.name, digest: digest(&command.digest) })
                .collect(),
            repository,
            branch,
            commit,
        }
    }
}

/// Lists, shows or forgets environments of the namespace.
pub(crate) async fn run(command: EnvironmentCommand, settings: &Settings) -> Result<ExitStatus> {
    let session = Session::open(settings).await?;
    match command {
        EnvironmentCommand::List { all } => list(&session, all, settings).await?,
        EnvironmentCommand::Show { name, plain } => show(&session, name, plain, settings).await?,
        EnvironmentCommand::Delete { names } => {
            for name in names {
                delete(&session, name).await?;
            }
        }
    }
    Ok(ExitStatus::Done)
}

/// What an environment keeps, values included; none where there is no such environment, or the service knows of none.
pub(crate) async fn find(session: &Session, name: &str) -> Result<Option<ShowEnvironmentResponse>> {
    match ask(session, name.to_owned(), true).await {
        Err(status) if matches!(status.code(), Code::NotFound | Code::Unimplemented) => Ok(None),
        found => Ok(Some(found.map_err(|status| session.client.error(&status))?)),
    }
}

/// The variables of its images.
pub(crate) fn images(kept: &ShowEnvironmentResponse) -> ImageEnv {
    let mut images = ImageEnv::default();
    for image in &kept.images {
        // One that can't be named here is none of this manifest's.
        let _ = image.service.parse().map(|service| images.extend(&service, &image.image));
    }
    images
}

/// What commands that run here find of it: the images' variables, and those that earlier commands left.
pub(crate) fn variables(kept: &ShowEnvironmentResponse, with_images: bool) -> BTreeMap<String, String> {
    let images = if with_images { images(kept) } else { ImageEnv::default() };
    let own = kept.variables.iter().filter_map(|variable| Some((variable.name.clone(), variable.value.clone()?)));
    images.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).chain(own).collect()
}

/// After commands that ran here have destroyed it; also where there is none, or the service knows of none.
pub(crate) async fn is_destroyed(session: &Session, name: &str) -> Result<()> {
    match forget(session, name).await {
        // A command of a job, which may forget nothing. What it has destroyed is often its own, which nobody keeps.
        Err(status) if status.code() == Code::PermissionDenied => {
            let kept = find(session, name).await?.and_then(|kept| kept.environment);
            if kept.is_some_and(|kept| kept.state() != EnvironmentState::Destroyed) {
                output::warn(format_args!(
                    "the service still keeps environment {name}, since a job can't forget one: outside of jobs \
                     `slipway environment delete {name}` does"
                ));
            }
            Ok(())
        }
        Err(status) if !matches!(status.code(), Code::NotFound | Code::Unimplemented) => {
            Err(session.client.error(&status).into())
        }
        _ => Ok(()),
    }
}

async fn forget(session: &Session, name: &str) -> Result<(), tonic::Status> {
    let request = DeleteEnvironmentRequest { namespace: session.namespace.clone(), name: name.to_owned() };
    session.client.environments().delete_environment(timed(request, SHORT_CALL)).await.map(drop)
}

async fn list(session: &Session, all: bool, settings: &Settings) -> Result<()> {
    let client = &session.client;
    let request = ListEnvironmentsRequest { namespace: session.namespace.clone(), destroyed: all };
    let call = || {
        let (mut environments, request) = (client.environments(), timed(request.clone(), SHORT_CALL));
        async move { environments.list_environments(request).await }
    };
    let answer = Patience::RESTART.call(call).await.map_err(|status| client.error(&status))?;
    let mut table = Table::new(["ENVIRONMENT", "STATE", "UPDATED", "OWNER", "JOB"]);
    for environment in &answer.environments {
        let listed = Listed::from(environment);
        if settings.output == Output::Json {
            output::print_json(&listed)?;
        }
        let name = listed.environment.escape_debug().to_string();
        let updated = listed.updated.unwrap_or_default();
        table.row([name, listed.state.to_owned(), updated, listed.owner.to_owned(), listed.job.to_owned()]);
    }
    if settings.output == Output::Plain {
        output::print(table)?;
    }
    Ok(())
}

async fn show(session: &Session, name: String, plain: bool, settings: &Settings) -> Result<()> {
    let client = &session.client;
    let answer = ask(session, name, plain).await.map_err(|status| client.error(&status))?;
    let environment =
        answer.environment.as_ref().ok_or_else(|| client.malformed("what it shows of an environment is not one"))?;
    let variables = answer.variables.iter().map(|variable| (variable.name.as_str(), variable.value.as_deref()));
    let shown = Shown {
        environment: environment.into(),
        images: answer.images.iter().map(|image| (image.service.as_str(), image.image.as_str())).collect(),
        variables: variables.collect(),
        deployed: answer.deployed.as_ref().map(Deployed::from),
    };
    match settings.output {
        Output::Json => output::print_json(&shown)?,
        Output::Plain => output::print(shown.text())?,
    }
    Ok(())
}

async fn ask(session: &Session, name: String, values: bool) -> Result<ShowEnvironmentResponse, tonic::Status> {
    let request = ShowEnvironmentRequest { namespace: session.namespace.clone(), name, values };
    let call = || {
        let (mut environments, request) = (session.client.environments(), timed(request.clone(), SHORT_CALL));
        async move { environments.show_environment(request).await }
    };
    Patience::RESTART.call(call).await
}

async fn delete(session: &Session, name: String) -> Result<()> {
    forget(session, &name).await.map_err(|status| session.client.error(&status))?;
    output::note(format_args!("environment {name} of namespace {} is forgotten", session.namespace));
    Ok(())
}

fn digest(bytes: &[u8]) -> String {
    bytes.iter().fold("sha256:".to_owned(), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Shown<'_> {
    /// What people want to know of it.
    fn text(&self) -> String {
        let Listed { environment, namespace, state, updated, job, kind, owner } = &self.environment;
        let mut text = format!("{}\n", environment.escape_debug());
        let mut line = |name: &str, value: &str| {
            if !value.is_empty() {
                // Writing to a String can't fail.
                let _ = writeln!(text, "{name:<10}  {value}");
            }
        };
        line("namespace", namespace);
        line("state", state);
        line("updated", updated.as_deref().unwrap_or_default());
        line("job", &format!("{job} ({kind}, {owner})"));
        if let Some(deployed) = &self.deployed {
            line("repository", &deployed.repository.escape_debug().to_string());
            line("branch", &deployed.branch.escape_debug().to_string());
            line("commit", &deployed.commit.escape_debug().to_string());
            line("tree", &deployed.tree);
            line("runner", deployed.image);
            for command in &deployed.commands {
                line("command", &command.name.escape_debug().to_string());
            }
        }
        for (service, image) in &self.images {
            line("image", &format!("{service} {image}"));
        }
        for (name, value) in &self.variables {
            line("variable", &format!("{name}={}", value.unwrap_or(MASK).escape_debug()));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_was_not_asked_for_is_a_mask() {
        let listed = Listed {
            environment: "shop",
            namespace: "dev",
            state: "failed",
            updated: Some("2026-01-02T03:04:05Z".to_owned()),
            job: "01900000-0000-7000-8000-000000000001",
            kind: "deploy",
            owner: "ann",
        };
        let commands = vec![Command { name: "make\tx", digest: digest(&[1]) }];
        let (tree, image) = (digest(&[0xab, 2]), "reg/okteto/runner:1");
        let deployed = Deployed {
            digest: digest(&[3]),
            tree,
            image,
            commands,
            repository: "https://git.example/a",
            branch: "",
            commit: "abc",
        };
        let shown = Shown {
            environment: listed,
            images: BTreeMap::from([("web", "reg/dev/web@sha256:1")]),
            variables: BTreeMap::from([("A", None), ("B", Some("two\nlines"))]),
            deployed: Some(deployed),
        };
        insta::assert_snapshot!(shown.text(), @r"
        shop
        namespace   dev
        state       failed
        updated     2026-01-02T03:04:05Z
        job         01900000-0000-7000-8000-000000000001 (deploy, ann)
        repository  https://git.example/a
        commit      abc
        tree        sha256:ab02
        runner      reg/okteto/runner:1
        command     make\tx
        image       web reg/dev/web@sha256:1
        variable    A=***
        variable    B=two\nlines
        ");
        insta::assert_snapshot!(serde_json::to_string(&shown).unwrap(), @r#"{"environment":"shop","namespace":"dev","state":"failed","updated":"2026-01-02T03:04:05Z","job":"01900000-0000-7000-8000-000000000001","kind":"deploy","owner":"ann","images":{"web":"reg/dev/web@sha256:1"},"variables":{"A":null,"B":"two\nlines"},"deployed":{"digest":"sha256:03","tree":"sha256:ab02","image":"reg/okteto/runner:1","commands":[{"name":"make\tx","digest":"sha256:01"}],"repository":"https://git.example/a","commit":"abc"}}"#);
    }
}
