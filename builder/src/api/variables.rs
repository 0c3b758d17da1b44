//! `VariableService`.

use secrecy::ExposeSecret as _;
use slipway_proto::v1 as api;
use slipway_proto::v1::variable_service_server::VariableService;
use tonic::{Request, Response, Status};

use super::convert::{namespace, time};
use super::status::{from_db, from_jobs, from_variables};
use super::{State, open};
use crate::auth::{Caller, JOB_USER};
use crate::pipeline::variables::Given;
use crate::variables::{Resolved, Scope, Variable, VariableKind};

pub(super) struct VariableApi(pub(super) State);

#[tonic::async_trait]
impl VariableService for VariableApi {
    async fn list_variables(
        &self,
        request: Request<api::ListVariablesRequest>,
    ) -> Result<Response<api::ListVariablesResponse>, Status> {
        let (caller, request) = open(&self.0, request).await?;
        let scope = self.scope(&caller, request.scope(), &request.namespace).await?;
        let found = self.0.variables.list(&scope).await.map_err(|error| from_variables(&error))?;
        let variables = found.into_iter().map(|variable| shown(request.scope(), variable)).collect();
        Ok(Response::new(api::ListVariablesResponse { variables }))
    }

    async fn set_variable(&self, request: Request<api::SetVariableRequest>) -> Result<Response<api::Variable>, Status> {
        let (caller, request) = open(&self.0, request).await?;
        let scope = self.scope(&caller, request.scope(), &request.namespace).await?;
        let kind = match request.kind() {
            api::VariableKind::Masked => VariableKind::Masked,
            api::VariableKind::Plain => VariableKind::Plain,
            api::VariableKind::Secret => VariableKind::Secret,
            api::VariableKind::Unspecified => return Err(Status::invalid_argument("kind: unknown")),
        };
        let set = self.0.variables.set(&scope, &request.name, &request.value, kind).await;
        set.map_err(|error| from_variables(&error))?;
        let found = self.0.variables.list(&scope).await.map_err(|error| from_variables(&error))?;
        let found = found.into_iter().find(|variable| variable.name == request.name);
        let found = found.ok_or_else(|| Status::aborted("somebody else has removed it at the same time"))?;
        Ok(Response::new(shown(request.scope(), found)))
    }

    async fn unset_variable(
        &self,
        request: Request<api::UnsetVariableRequest>,
    ) -> Result<Response<api::UnsetVariableResponse>, Status> {
        let (caller, request) = open(&self.0, request).await?;
        let scope = self.scope(&caller, request.scope(), &request.namespace).await?;
        let unset = self.0.variables.unset(&scope, &request.name).await.map_err(|error| from_variables(&error))?;
        if unset {
            return Ok(Response::new(api::UnsetVariableResponse {}));
        }
        Err(Status::not_found(format!("there is no variable `{}`", request.name)))
    }

    async fn resolve_variables(
        &self,
        request: Request<api::ResolveVariablesRequest>,
    ) -> Result<Response<api::ResolveVariablesResponse>, Status> {
        let (caller, request) = open(&self.0, request).await?;
        let of_job = self.0.jobs.variables_of(&caller).map_err(|error| from_jobs(&error))?;
        if let Some(of_job) = of_job {
            // Its commands have them, from wherever they were.
            let variable = |(name, given): (&String, &Given)| {
                let text = || String::from_utf8_lossy(given.value.expose_secret()).into_owned();
                let value = (given.kind != VariableKind::Secret).then(text);
                let (name, kind, updated) = (name.clone(), given.kind, 0);
                shown(api::VariableScope::Namespace, Variable { name, kind, value, updated })
            };
            let variables = of_job.all_given().map(variable).collect();
            return Ok(Response::new(api::ResolveVariablesResponse { variables, force_remote: false }));
        }
        let namespace = namespace(&request.namespace)?;
        // An admin's is made with its first job.
        if !caller.may_use(&namespace) {
            return Err(Status::not_found(format!("no namespace {namespace}, or no right to use it")));
        }
        let resolved = self.0.variables.resolve(&caller.user, &namespace).await;
        let Resolved { variables, force_remote } = resolved.map_err(|error| from_variables(&error))?;
        let variables = variables.into_iter().map(|(name, found)| {
            let scope = match found.scope {
                Scope::Admin => api::VariableScope::Admin,
                Scope::Namespace(_) => api::VariableScope::Namespace,
                Scope::User(_) => api::VariableScope::User,
            };
            let text = || String::from_utf8_lossy(found.value.expose_secret()).into_owned();
            let value = (found.kind != VariableKind::Secret).then(text);
            shown(scope, Variable { name, kind: found.kind, value, updated: found.updated })
        });
        Ok(Response::new(api::ResolveVariablesResponse { variables: variables.collect(), force_remote }))
    }
}

impl VariableApi {
    /// The scope, if the caller may see and change it.
    async fn scope(&self, caller: &Caller, scope: api::VariableScope, name: &str) -> Result<Scope, Status> {
        if caller.user.starts_with(JOB_USER) {
            return Err(Status::permission_denied("a job can't see or change the service's variables"));
        }
        match scope {
            api::VariableScope::Admin if caller.admin => Ok(Scope::Admin),
            api::VariableScope::Admin => Err(Status::permission_denied("only admins may see or change these")),
            api::VariableScope::User => Ok(Scope::User(caller.user.clone())),
            api::VariableScope::Namespace => {
                let namespace = namespace(name)?;
                let known = self.0.db.has_namespace(&namespace).await.map_err(|error| from_db(&error))?;
                if known && caller.may_use(&namespace) {
                    return Ok(Scope::Namespace(namespace));
                }
                Err(Status::not_found(format!("no namespace {namespace}, or no right to use it")))
            }
            api::VariableScope::Unspecified => Err(Status::invalid_argument("scope: unknown")),
        }
    }
}

fn shown(scope: api::VariableScope, variable: Variable) -> api::Variable {
    let kind = match variable.kind {
        VariableKind::Masked => api::VariableKind::Masked,
        VariableKind::Plain => api::VariableKind::Plain,
        VariableKind::Secret => api::VariableKind::Secret,
    };
    api::Variable {
        scope: scope.into(),
        name: variable.name,
        kind: kind.into(),
        value: variable.value,
        updated: Some(time(variable.updated)),
    }
}
