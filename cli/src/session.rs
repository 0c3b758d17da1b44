//! A connection together with the namespace to work in.

use std::time::Duration;

use anyhow::Result;

use crate::client::Client;
use crate::error::Usage;
use crate::output;
use crate::project::Project;
use crate::service_variables::ServiceVariables;
use crate::settings::Settings;

/// The namespace that `slipwayd --dev` starts with: what an admin, who may use all, gets where nothing names one.
const ADMIN_DEFAULT: &str = "dev";

/// How long a service that is not needed is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a command that works in one namespace needs.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// The service.
    pub(crate) client: Client,
    /// The namespace.
    pub(crate) namespace: String,
}

impl Session {
    /// Connects for a project, and gives it the service's variables. An error may wait until what may be wrong with the project
    /// has been told.
    pub(crate) async fn for_project(settings: &Settings, project: &mut Project) -> Result<Self> {
        let (session, variables) = Self::with_variables(settings).await?;
        project.add_service(variables);
        Ok(session)
    }

    /// The same for a command that may only print its plan, which needs no service: then there is no session.
    pub(crate) async fn for_command(settings: &Settings, project: &mut Project, print: bool) -> Option<Result<Self>> {
        if !print {
            return Some(Self::for_project(settings, project).await);
        }
        settings.server.as_ref()?;
        let error = match tokio::time::timeout(PATIENCE, Self::for_project(settings, project)).await {
            Ok(Ok(session)) => {
                project.print_for(session.namespace);
                return None;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("the service does not answer within {} s", PATIENCE.as_secs()),
        };
        output::note(format_args!("printed without the service's variables: {error}"));
        None
    }

    async fn with_variables(settings: &Settings) -> Result<(Self, ServiceVariables)> {
        if let Some(namespace) = settings.namespace.clone() {
            // Both questions at once.
            let ask = async |client: &Client| ServiceVariables::ask(client, &namespace).await;
            let (client, variables) = Client::connect_and(settings, ask).await?;
            return Ok((Self { client, namespace }, variables?));
        }
        let session = Self::open(settings).await?;
        let variables = ServiceVariables::ask(&session.client, &session.namespace).await?;
        Ok((session, variables))
    }

    /// Connects, and settles on a namespace: the settings', else the only one that the caller may use.
    pub(crate) async fn open(settings: &Settings) -> Result<Self> {
        let client = Client::connect(settings).await?;
        if let Some(namespace) = settings.namespace.clone() {
            return Ok(Self { client, namespace });
        }
        let caller = client.who_am_i().await?;
        let namespace = match caller.namespaces.as_slice() {
            [only] => only.clone(),
            [] if caller.admin => {
                output::note(format_args!("working in namespace {ADMIN_DEFAULT}; -n names another"));
                ADMIN_DEFAULT.to_owned()
            }
            [] => return Err(Usage::new("your token opens no namespace").hint("ask an admin for one").into()),
            several => {
                let message = format!("which namespace? you may use {}", several.join(", "));
                return Err(Usage::new(message).hint("name one with -n or SLIPWAY_NAMESPACE").into());
            }
        };
        Ok(Self { client, namespace })
    }
}
