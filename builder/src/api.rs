//! The gRPC edge: one file per service, [`convert`] between API and domain, `status` for every error.

mod admin;
mod builds;
mod contexts;
pub mod convert;
mod environments;
mod images;
mod job_service;
mod server_info;
mod status;
mod variables;

use std::sync::Arc;

use slipway_proto::v1::FILE_DESCRIPTOR_SET;
use slipway_proto::v1::admin_service_server::AdminServiceServer;
use slipway_proto::v1::build_service_server::BuildServiceServer;
use slipway_proto::v1::context_service_server::ContextServiceServer;
use slipway_proto::v1::environment_service_server::EnvironmentServiceServer;
use slipway_proto::v1::image_service_server::ImageServiceServer;
use slipway_proto::v1::job_service_server::JobServiceServer;
use slipway_proto::v1::server_service_server::ServerServiceServer;
use slipway_proto::v1::variable_service_server::VariableServiceServer;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::{Request, Status};

use crate::auth::{self, Caller};
use crate::buildkit::Pool;
use crate::environments::Environments;
use crate::jobs::Jobs;
use crate::pipeline::cache_mounts::CacheMounts;
use crate::registry::Registry;
use crate::store::Db;
use crate::variables::Variables;

/// The largest request: a plan with all its roots.
const MAX_REQUEST: usize = 8 << 20;

/// What the services share.
#[derive(Debug, Clone)]
pub struct State {
    /// Facts.
    pub db: Db,
    /// Jobs.
    pub jobs: Jobs,
    /// The registry.
    pub registry: Arc<Registry>,
    /// The engines.
    pub pool: Arc<Pool>,
    /// The namespaces' cache mounts on the engines.
    pub mounts: CacheMounts,
    /// What the service keeps for its users.
    pub variables: Variables,
    /// What deploys have left behind.
    pub environments: Environments,
}

impl State {
    /// The caller of a request, by its bearer token.
    async fn caller(&self, metadata: &MetadataMap) -> Result<Caller, Status> {
        let header = metadata.get("authorization").and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.split_once(' '));
        let Some((_, token)) = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) else {
            return Err(Status::unauthenticated("no token: log in with `slipway login`, or set SLIPWAY_TOKEN"));
        };
        match auth::caller(&self.db, token.trim()).await {
            Ok(Some(caller)) => Ok(caller),
            Ok(None) => Err(Status::unauthenticated("the token is not valid here")),
            Err(error) => Err(status::from_db(&error)),
        }
    }

    async fn admin(&self, metadata: &MetadataMap) -> Result<Caller, Status> {
        let caller = self.caller(metadata).await?;
        if caller.admin { Ok(caller) } else { Err(Status::permission_denied("only admins may do that")) }
    }
}

/// All services, with health and reflection.
pub fn routes(state: State) -> anyhow::Result<axum::Router> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let (_, health) = tonic_health::server::health_reporter();
    let routes = Routes::new(health)
        .add_service(reflection)
        .add_service(ServerServiceServer::new(server_info::ServerInfoService(state.clone())))
        .add_service(AdminServiceServer::new(admin::Admin(state.clone())))
        .add_service(BuildServiceServer::new(builds::Builds(state.clone())).max_decoding_message_size(MAX_REQUEST))
        .add_service(VariableServiceServer::new(variables::VariableApi(state.clone())))
        .add_service(EnvironmentServiceServer::new(environments::EnvironmentApi(state.clone())))
        .add_service(ImageServiceServer::new(images::Images(state.clone())).max_decoding_message_size(MAX_REQUEST))
        .add_service(
            ContextServiceServer::new(contexts::Contexts(state.clone())).max_decoding_message_size(MAX_REQUEST),
        )
        .add_service(JobServiceServer::new(job_service::JobApi(state)).max_decoding_message_size(MAX_REQUEST));
    Ok(routes.prepare().into_axum_router().reset_fallback())
}

/// A request's caller and message.
async fn open<T>(state: &State, request: Request<T>) -> Result<(Caller, T), Status> {
    let caller = state.caller(request.metadata()).await?;
    Ok((caller, request.into_inner()))
}
