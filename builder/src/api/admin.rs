//! `AdminService`: namespaces and tokens.

use slipway_proto::v1 as api;
use slipway_proto::v1::admin_service_server::AdminService;
use tonic::{Request, Response, Status};

use super::convert::{namespace, time};
use super::status::from_db;
use super::{State, open};
use crate::auth;
use crate::buildkit::Address;
use crate::buildkit::pool::Seen;
use crate::store::db::tenants::Token;

pub(super) struct Admin(pub(super) State);

#[tonic::async_trait]
impl AdminService for Admin {
    async fn create_namespace(
        &self,
        request: Request<api::CreateNamespaceRequest>,
    ) -> Result<Response<api::Namespace>, Status> {
        self.0.admin(request.metadata()).await?;
        let name = namespace(&request.into_inner().name)?;
        self.0.db.create_namespace(&name).await.map_err(|error| from_db(&error))?;
        let all = self.0.db.namespaces().await.map_err(|error| from_db(&error))?;
        let created = all.into_iter().find(|(known, _)| *known == name).map(|(_, created)| time(created));
        Ok(Response::new(api::Namespace { name: name.to_string(), created }))
    }

    async fn list_namespaces(
        &self,
        request: Request<api::ListNamespacesRequest>,
    ) -> Result<Response<api::ListNamespacesResponse>, Status> {
        let (caller, _) = open(&self.0, request).await?;
        let all = self.0.db.namespaces().await.map_err(|error| from_db(&error))?;
        let visible = all.into_iter().filter(|(name, _)| caller.may_use(name));
        let namespaces =
            visible.map(|(name, created)| api::Namespace { name: name.to_string(), created: Some(time(created)) });
        Ok(Response::new(api::ListNamespacesResponse { namespaces: namespaces.collect() }))
    }

    async fn create_token(
        &self,
        request: Request<api::CreateTokenRequest>,
    ) -> Result<Response<api::CreateTokenResponse>, Status> {
        self.0.admin(request.metadata()).await?;
        let request = request.into_inner();
        let names = request.namespaces.iter().map(|name| namespace(name)).collect::<Result<Vec<_>, _>>()?;
        let ok = (1..=64).contains(&request.user.len())
            && request.user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@+".contains(&byte));
        if !ok {
            return Err(Status::invalid_argument("user: expected 1 to 64 letters, digits and - _ . @ +"));
        }
        for name in &names {
            if !self.0.db.has_namespace(name).await.map_err(|error| from_db(&error))? {
                return Err(Status::not_found(format!(
                    "no namespace {name}: `slipway namespace create {name}` makes it"
                )));
            }
        }
        let (token, secret) = auth::new_token(&request.user, request.admin, names);
        self.0.db.add_token(&token, &secret).await.map_err(|error| from_db(&error))?;
        Ok(Response::new(api::CreateTokenResponse { token: Some(shown(token)), secret }))
    }

    async fn list_tokens(
        &self,
        request: Request<api::ListTokensRequest>,
    ) -> Result<Response<api::ListTokensResponse>, Status> {
        self.0.admin(request.metadata()).await?;
        let tokens = self.0.db.tokens().await.map_err(|error| from_db(&error))?;
        let people = tokens.into_iter().filter(|token| !token.user.starts_with(auth::JOB_USER));
        Ok(Response::new(api::ListTokensResponse { tokens: people.map(shown).collect() }))
    }

    async fn revoke_token(
        &self,
        request: Request<api::RevokeTokenRequest>,
    ) -> Result<Response<api::RevokeTokenResponse>, Status> {
        self.0.admin(request.metadata()).await?;
        let id = request.into_inner().id;
        if !self.0.db.revoke_token(&id).await.map_err(|error| from_db(&error))? {
            return Err(Status::not_found(format!("no token {id}")));
        }
        Ok(Response::new(api::RevokeTokenResponse {}))
    }

    async fn list_engines(
        &self,
        request: Request<api::ListEnginesRequest>,
    ) -> Result<Response<api::ListEnginesResponse>, Status> {
        self.0.admin(request.metadata()).await?;
        Ok(Response::new(api::ListEnginesResponse { engines: self.0.pool.seen().into_iter().map(engine).collect() }))
    }

    async fn drain_engine(&self, request: Request<api::DrainEngineRequest>) -> Result<Response<api::Engine>, Status> {
        self.0.admin(request.metadata()).await?;
        let request = request.into_inner();
        let address = request.address.parse::<Address>();
        let address = address.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let found = self.0.pool.set_draining(&address, request.draining);
        let none = || Status::not_found(format!("no engine {address}: `slipway engine list` shows them"));
        if !found.map_err(|error| Status::internal(format!("leave word of it: {error}")))? {
            return Err(none());
        }
        let now = self.0.pool.seen().into_iter().find(|seen| seen.address == address).ok_or_else(none)?;
        Ok(Response::new(engine(now)))
    }
}

fn engine(seen: Seen) -> api::Engine {
    api::Engine {
        address: seen.address.to_string(),
        draining: seen.draining,
        error: seen.down.unwrap_or_default(),
        building: u32::try_from(seen.building).unwrap_or(u32::MAX),
        max_builds: u32::try_from(seen.max_builds).unwrap_or(u32::MAX),
    }
}

fn shown(token: Token) -> api::Token {
    api::Token {
        id: token.id,
        user: token.user,
        admin: token.admin,
        namespaces: token.namespaces.iter().map(ToString::to_string).collect(),
        created: Some(time(token.created)),
    }
}
