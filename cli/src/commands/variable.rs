//! `slipway variable …`

use std::io::{self, Read as _};

use anyhow::{Context as _, Result};
use serde::Serialize;
use slipway_manifest::options::MAX_SECRET;
use slipway_proto::v1::{
    ListVariablesRequest, SetVariableRequest, UnsetVariableRequest, Variable, VariableKind, VariableScope,
};

use crate::args::{ScopeArg, VariableCommand};
use crate::client::{Client, SHORT_CALL, timed};
use crate::error::{ExitStatus, Usage};
use crate::output::{self, Table};
use crate::session::Session;
use crate::settings::{Output, Settings};

#[derive(Serialize)]
struct View<'a> {
    name: &'a str,
    kind: &'a str,
    value: Option<&'a str>,
    updated: Option<String>,
}

impl<'a> View<'a> {
    fn new(variable: &'a Variable) -> Self {
        let kind = match variable.kind() {
            VariableKind::Plain => "plain",
            VariableKind::Secret => "secret",
            VariableKind::Masked | VariableKind::Unspecified => "masked",
        };
        let updated = output::time(variable.updated.as_ref());
        Self { name: &variable.name, kind, value: variable.value.as_deref(), updated }
    }
}

/// The service, and the namespace where the scope is one's.
struct Place {
    client: Client,
    scope: VariableScope,
    namespace: String,
}

/// Lists, sets or removes variables that the service keeps.
pub(crate) async fn run(command: VariableCommand, settings: &Settings) -> Result<ExitStatus> {
    match command {
        VariableCommand::List { scope } => list(&Place::of(scope, settings).await?, settings).await?,
        VariableCommand::Set { scope, plain, secret, variable } => {
            let (name, value) = name_and_value(&variable)?;
            let kind = match (plain, secret) {
                (true, _) => VariableKind::Plain,
                (_, true) => VariableKind::Secret,
                _ => VariableKind::Masked,
            };
            let place = Place::of(scope, settings).await?;
            let (scope, namespace) = (place.scope.into(), place.namespace.clone());
            let request = SetVariableRequest { scope, namespace, name: name.clone(), value, kind: kind.into() };
            let set = place.client.variables().set_variable(timed(request, SHORT_CALL)).await;
            set.map_err(|status| place.client.error(&status))?;
            output::note(format_args!("variable {name} is set{}", place.suffix()));
        }
        VariableCommand::Unset { scope, names } => {
            let place = Place::of(scope, settings).await?;
            for name in names {
                let (scope, namespace) = (place.scope.into(), place.namespace.clone());
                let request = UnsetVariableRequest { scope, namespace, name: name.clone() };
                let unset = place.client.variables().unset_variable(timed(request, SHORT_CALL)).await;
                unset.map_err(|status| place.client.error(&status))?;
                output::note(format_args!("variable {name} is gone{}", place.suffix()));
            }
        }
    }
    Ok(ExitStatus::Done)
}

async fn list(place: &Place, settings: &Settings) -> Result<()> {
    let request = ListVariablesRequest { scope: place.scope.into(), namespace: place.namespace.clone() };
    let answer = place.client.variables().list_variables(timed(request, SHORT_CALL)).await;
    let variables = answer.map_err(|status| place.client.error(&status))?.into_inner().variables;
    let mut table = Table::new(["NAME", "KIND", "UPDATED", "VALUE"]);
    for variable in &variables {
        let view = View::new(variable);
        if settings.output == Output::Json {
            output::print_json(&view)?;
        }
        let value = view.value.unwrap_or("***").escape_debug().to_string();
        table.row([view.name.to_owned(), view.kind.to_owned(), view.updated.unwrap_or_default(), value]);
    }
    if settings.output == Output::Plain {
        output::print(table)?;
    }
    Ok(())
}

/// `KEY=VALUE`, or `KEY=-`: what stands in standard input, without the line end that a shell or editor leaves.
fn name_and_value(text: &str) -> Result<(String, Vec<u8>)> {
    let Some((name, value)) = text.split_once('=') else {
        let hint = format!("write `{text}=VALUE`, or `{text}=-` for a value from standard input");
        return Err(Usage::new(format!("`{text}` has no value")).hint(hint).into());
    };
    if value != "-" {
        return Ok((name.to_owned(), value.as_bytes().to_vec()));
    }
    let mut value = Vec::new();
    // One byte more than it may have says that it is too large.
    io::stdin().lock().take(MAX_SECRET as u64 + 1).read_to_end(&mut value).context("read standard input")?;
    if value.last() == Some(&b'\n') {
        value.pop();
    }
    Ok((name.to_owned(), value))
}

impl Place {
    async fn of(scope: ScopeArg, settings: &Settings) -> Result<Self> {
        let scope = match scope {
            ScopeArg::Admin => VariableScope::Admin,
            ScopeArg::User => VariableScope::User,
            ScopeArg::Namespace => {
                let Session { client, namespace, .. } = Session::open(settings).await?;
                return Ok(Self { client, scope: VariableScope::Namespace, namespace });
            }
        };
        Ok(Self { client: Client::connect(settings).await?, scope, namespace: String::new() })
    }

    /// Where, for messages.
    fn suffix(&self) -> String {
        match self.scope {
            VariableScope::Namespace => format!(" in namespace {}", self.namespace),
            VariableScope::Admin => " for everybody".to_owned(),
            VariableScope::User | VariableScope::Unspecified => " for you".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_has_a_name_and_a_value() {
        assert_eq!(name_and_value("A=b=c").unwrap(), ("A".to_owned(), b"b=c".to_vec()));
        assert_eq!(name_and_value("A=").unwrap(), ("A".to_owned(), Vec::new()));
        assert!(name_and_value("A").unwrap_err().to_string().contains("`A` has no value"));
    }
}
