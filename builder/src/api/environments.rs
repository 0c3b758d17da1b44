//! `EnvironmentService`.

use slipway_context::Digest;
use slipway_manifest::plan::JobKind;
use slipway_proto::v1 as api;
use slipway_proto::v1::environment_service_server::EnvironmentService;
use tonic::{Request, Response, Status};

use super::convert::{namespace, time};
use super::status::{from_db, from_environments};
use super::{State, open};
use crate::auth::{Caller, JOB_USER};
use crate::environments::kept::{Deployed, Kept};
use crate::names::Namespace;
use crate::store::db::environments::{EnvironmentRow, EnvironmentState};

pub(super) struct EnvironmentApi(pub(super) State);

#[tonic::async_trait]
impl EnvironmentService for EnvironmentApi {
    async fn list_environments(
        &self,
        request: Request<api::ListEnvironmentsRequest>,
    ) -> Result<Response<api::ListEnvironmentsResponse>, Status> {
        let (caller, request) = open(&self.0, request).await?;
        let namespace = self.own(&caller, &request.namespace).await?;
        let found = self.0.environments.list(&namespace, request.destroyed).await;
        let environments = found.map_err(|error| from_environments(&error))?.into_iter().map(shown).collect();
        Ok(Response::new(api::ListEnvironmentsResponse { environments }))
    }

    async fn show_environment(
        &self,
        request: Request<api::ShowEnvironmentRequest>,
    ) -> Result<Response<api::ShowEnvironmentResponse>, Status> {
        let (caller, request) = open(&self.0, request).await?;
        let namespace = self.own(&caller, &request.namespace).await?;
        let found = self.0.environments.show(&namespace, &request.name).await;
        let (row, kept) = found.map_err(|error| from_environments(&error))?;
        let Kept { images, variables, deployed, dependencies: _ } = kept;
        let image = |(service, image): (&slipway_manifest::ServiceName, &str)| api::EnvironmentImage {
            service: service.to_string(),
            image: image.to_owned(),
        };
        let variable = |(name, value)| api::EnvironmentVariable { name, value: request.values.then_some(value) };
        Ok(Response::new(api::ShowEnvironmentResponse {
            environment: Some(shown(row)),
            images: images.images().map(image).collect(),
            variables: variables.into_iter().map(variable).collect(),
            deployed: deployed.map(version),
        }))
    }

    async fn delete_environment(
        &self,
        request: Request<api::DeleteEnvironmentRequest>,
    ) -> Result<Response<api::DeleteEnvironmentResponse>, Status> {
        let (caller, request) = open(&self.0, request).await?;
        let namespace = self.own(&caller, &request.namespace).await?;
        if caller.user.starts_with(JOB_USER) {
            return Err(Status::permission_denied("a job can't forget an environment"));
        }
        let forgotten = self.0.environments.forget(&namespace, &request.name).await;
        forgotten.map_err(|error| from_environments(&error))?;
        Ok(Response::new(api::DeleteEnvironmentResponse {}))
    }
}

impl EnvironmentApi {
    /// The namespace, if the caller may use it. One that is not there is told as one that is somebody else's.
    async fn own(&self, caller: &Caller, name: &str) -> Result<Namespace, Status> {
        let namespace = namespace(name)?;
        let known = self.0.db.has_namespace(&namespace).await.map_err(|error| from_db(&error))?;
        if known && caller.may_use(&namespace) {
            return Ok(namespace);
        }
        Err(Status::not_found(format!("no namespace {namespace}, or no right to use it")))
    }
}

fn shown(row: EnvironmentRow) -> api::Environment {
    let state = match row.state {
        EnvironmentState::Deployed => api::EnvironmentState::Deployed,
        EnvironmentState::Failed => api::EnvironmentState::Failed,
        EnvironmentState::Destroyed => api::EnvironmentState::Destroyed,
    };
    let kind = match row.kind {
        JobKind::Build => api::JobKind::Build,
        JobKind::Deploy => api::JobKind::Deploy,
        JobKind::Destroy => api::JobKind::Destroy,
        JobKind::Test => api::JobKind::Test,
    };
    api::Environment {
        namespace: row.namespace.into(),
        name: row.name,
        state: state.into(),
        job: row.job.to_string(),
        kind: kind.into(),
        owner: row.owner,
        updated: Some(time(row.updated)),
    }
}

fn version(deployed: Deployed) -> api::DeployedVersion {
    let bytes = |digest: Digest| digest.as_bytes().to_vec();
    let commands = deployed.commands.into_iter();
    let commands = commands.map(|command| api::DeployedCommand { name: command.name, digest: bytes(command.digest) });
    api::DeployedVersion {
        digest: bytes(deployed.digest),
        tree: bytes(deployed.tree),
        image: deployed.image,
        commands: commands.collect(),
        repository: deployed.repository.unwrap_or_default(),
        branch: deployed.branch.unwrap_or_default(),
        commit: deployed.commit.unwrap_or_default(),
    }
}
