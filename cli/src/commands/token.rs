//! `slipway token …`

use anyhow::Result;
use serde::Serialize;
use slipway_proto::v1::{CreateTokenRequest, ListTokensRequest, RevokeTokenRequest, Token};

use crate::args::TokenCommand;
use crate::client::{Client, SHORT_CALL, timed};
use crate::error::{ExitStatus, Usage};
use crate::output::{self, Table};
use crate::settings::{Output, Settings};

#[derive(Serialize)]
struct View<'a> {
    id: &'a str,
    user: &'a str,
    admin: bool,
    namespaces: &'a [String],
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
}

impl<'a> View<'a> {
    fn new(token: &'a Token, secret: Option<&'a str>) -> Self {
        let created = output::time(token.created.as_ref());
        let Token { id, user, admin, namespaces, .. } = token;
        Self { id, user, admin: *admin, namespaces, created, secret }
    }
}

/// Makes, lists or revokes tokens.
pub(crate) async fn run(command: TokenCommand, settings: &Settings) -> Result<ExitStatus> {
    match command {
        TokenCommand::Create { user, admin } => create(user, admin, settings).await?,
        TokenCommand::List => list(settings).await?,
        TokenCommand::Revoke { id } => {
            let client = Client::connect(settings).await?;
            let answer = client.admin().revoke_token(timed(RevokeTokenRequest { id: id.clone() }, SHORT_CALL)).await;
            answer.map_err(|status| client.error(&status))?;
            output::note(format_args!("token {id} opens nothing any more"));
        }
    }
    Ok(ExitStatus::Done)
}

async fn create(user: String, admin: bool, settings: &Settings) -> Result<()> {
    // Flags only: what a shell happens to have in SLIPWAY_NAMESPACE must not end up in somebody's rights.
    let namespaces = settings.namespaces.clone();
    if namespaces.is_empty() && !admin {
        return Err(Usage::new("the token would open nothing")
            .hint("name its namespaces with -n, or add --admin")
            .into());
    }
    let client = Client::connect(settings).await?;
    let request = timed(CreateTokenRequest { user, admin, namespaces }, SHORT_CALL);
    let answer = client.admin().create_token(request).await;
    let answer = answer.map_err(|status| client.error(&status))?.into_inner();
    let token = answer.token.filter(|_| !answer.secret.is_empty());
    let token = token.ok_or_else(|| client.malformed("a created token that is not there"))?;
    match settings.output {
        Output::Json => output::print_json(&View::new(&token, Some(&answer.secret)))?,
        Output::Plain => {
            output::note(format_args!("token {} for {}; it is shown this once", token.id, token.user));
            output::print(format_args!("{}\n", answer.secret))?;
        }
    }
    Ok(())
}

async fn list(settings: &Settings) -> Result<()> {
    let client = Client::connect(settings).await?;
    let answer = client.admin().list_tokens(timed(ListTokensRequest {}, SHORT_CALL)).await;
    let tokens = answer.map_err(|status| client.error(&status))?.into_inner().tokens;
    let mut table = Table::new(["ID", "USER", "NAMESPACES", "CREATED"]);
    for token in &tokens {
        if settings.output == Output::Json {
            output::print_json(&View::new(token, None))?;
        }
        let namespaces = if token.admin { "(admin)".to_owned() } else { token.namespaces.join(",") };
        let created = output::time(token.created.as_ref()).unwrap_or_default();
        table.row([token.id.clone(), token.user.clone(), namespaces, created]);
    }
    if settings.output == Output::Plain {
        output::print(table)?;
    }
    Ok(())
}
