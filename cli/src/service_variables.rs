//! The service's variables, with which a manifest is expanded below everything that is ours.

use slipway_proto::v1::{ResolveVariablesRequest, ResolveVariablesResponse, VariableKind};
use tonic::Code;

use crate::client::{Client, SHORT_CALL, ServiceError, timed};

/// Those that count in a namespace. `Debug` would show values.
#[derive(Clone, Default)]
pub(crate) struct ServiceVariables {
    /// Names and values.
    pub(crate) known: Vec<(String, String)>,
    /// Of them, the values that nobody is to see.
    pub(crate) masked: Vec<String>,
    /// Names whose values never leave the service.
    pub(crate) write_only: Vec<String>,
    /// `OKTETO_FORCE_REMOTE` is true in one of the scopes.
    pub(crate) force_remote: bool,
}

impl ServiceVariables {
    /// Asks the service. One that is too old to know has none to give.
    pub(crate) async fn ask(client: &Client, namespace: &str) -> Result<Self, ServiceError> {
        let request = ResolveVariablesRequest { namespace: namespace.to_owned() };
        match client.variables().resolve_variables(timed(request, SHORT_CALL)).await {
            Ok(answer) => Ok(answer.into_inner().into()),
            Err(status) if status.code() == Code::Unimplemented => {
                tracing::info!("the service is too old to give its variables to clients");
                Ok(Self::default())
            }
            Err(status) => Err(client.error(&status)),
        }
    }
}

impl From<ResolveVariablesResponse> for ServiceVariables {
    fn from(answer: ResolveVariablesResponse) -> Self {
        let mut all = Self { force_remote: answer.force_remote, ..Self::default() };
        for variable in answer.variables {
            let kind = variable.kind();
            let Some(value) = variable.value.filter(|_| kind != VariableKind::Secret) else {
                all.write_only.push(variable.name);
                continue;
            };
            if kind != VariableKind::Plain {
                all.masked.push(value.clone());
            }
            all.known.push((variable.name, value));
        }
        all
    }
}

impl std::fmt::Debug for ServiceVariables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceVariables").field("force_remote", &self.force_remote).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use slipway_proto::v1::Variable;

    use super::*;

    #[test]
    fn only_what_has_a_value_is_known() {
        let variable = |name: &str, kind: VariableKind, value: Option<&str>| Variable {
            name: name.to_owned(),
            kind: kind.into(),
            value: value.map(str::to_owned),
            ..Variable::default()
        };
        let variables = vec![
            variable("M", VariableKind::Masked, Some("m")),
            variable("P", VariableKind::Plain, Some("p")),
            variable("S", VariableKind::Secret, None),
            variable("T", VariableKind::Secret, Some("a service must not say")),
        ];
        let all = ServiceVariables::from(ResolveVariablesResponse { variables, force_remote: true });
        assert_eq!(all.known, [("M", "m"), ("P", "p")].map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(
            (all.masked.as_slice(), all.write_only.as_slice()),
            (&["m".to_owned()][..], &["S".to_owned(), "T".to_owned()][..])
        );
        assert!(all.force_remote && !format!("{all:?}").contains("\"p\""));
    }
}
