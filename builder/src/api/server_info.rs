//! `ServerService`.

use slipway_proto::v1::server_service_server::ServerService;
use slipway_proto::v1::{GetServerInfoRequest, ServerInfo, WhoAmIRequest, WhoAmIResponse};
use tonic::{Request, Response, Status};

use super::{State, open};

/// Abilities that a client has to know of before it relies on them: `sections`, the jobs `destroy` and `test`.
const FEATURES: [&str; 4] = ["sections", "dependencies", "grace", "test-options"];

pub(super) struct ServerInfoService(pub(super) State);

#[tonic::async_trait]
impl ServerService for ServerInfoService {
    async fn get_server_info(&self, _: Request<GetServerInfoRequest>) -> Result<Response<ServerInfo>, Status> {
        Ok(Response::new(ServerInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            api: "v1".to_owned(),
            min_client: "0.1.0".to_owned(),
            features: FEATURES.map(str::to_owned).to_vec(),
            registry: self.0.registry.host().to_string(),
            global_namespace: self.0.registry.global_namespace().to_string(),
        }))
    }

    async fn who_am_i(&self, request: Request<WhoAmIRequest>) -> Result<Response<WhoAmIResponse>, Status> {
        let (caller, _) = open(&self.0, request).await?;
        Ok(Response::new(WhoAmIResponse {
            user: caller.user,
            admin: caller.admin,
            namespaces: caller.namespaces.iter().map(ToString::to_string).collect(),
        }))
    }
}
