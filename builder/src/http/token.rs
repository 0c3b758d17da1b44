//! The registry's token endpoint (Distribution's token authentication specification, and its OAuth 2 variant).
//!
//! Any user name; the password is a Slipway token.

use axum::Json;
use axum::extract::{Form, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::Shared;
use crate::auth::{self, Caller};
use crate::registry::{Rights, answer_token_request};

/// `GET /token?service=…&scope=…&scope=…` with basic authentication.
pub async fn get(State(shared): State<Shared>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let pairs: Vec<(String, String)> =
        serde_urlencoded::from_str(query.as_deref().unwrap_or_default()).unwrap_or_default();
    let all = |name: &str| pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect();
    let scopes: Vec<String> = all("scope");
    let service: Vec<String> = all("service");
    let Some(password) = password(&headers) else { return unauthorized() };
    answer(&shared, &password, service.first().map(String::as_str), &scopes).await
}

/// The fields of `POST /token`.
#[derive(Deserialize)]
pub struct OAuth {
    #[serde(default)]
    service: Option<String>,
    /// Scopes, separated by spaces.
    #[serde(default)]
    scope: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    refresh_token: String,
}

/// `POST /token` (OAuth 2, grant types `password` and `refresh_token`).
pub async fn post(State(shared): State<Shared>, Form(form): Form<OAuth>) -> Response {
    let secret = if form.password.is_empty() { form.refresh_token } else { form.password };
    let scopes: Vec<String> = form.scope.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect();
    answer(&shared, &secret, form.service.as_deref(), &scopes).await
}

async fn answer(shared: &Shared, secret: &str, service: Option<&str>, scopes: &[String]) -> Response {
    let caller = match auth::caller(&shared.db, secret).await {
        Ok(Some(caller)) => caller,
        Ok(None) => return unauthorized(),
        Err(error) => {
            tracing::error!(%error, "can't look a token up");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    let Some(signer) = shared.registry.signer() else { return StatusCode::NOT_FOUND.into_response() };
    let rights = rights(&caller, shared.registry.global_namespace());
    match answer_token_request(&caller.user, &rights, service, scopes, signer) {
        Ok(token) => Json(token).into_response(),
        Err(error) => {
            tracing::warn!(%error, "can't answer a token request");
            StatusCode::BAD_REQUEST.into_response()
        }
    }
}

/// What a caller may do in the registry: everything, or read and write in its namespaces and read in the global one.
fn rights(caller: &Caller, global: &crate::names::Namespace) -> Rights {
    if caller.admin { Rights::admin() } else { Rights::user(caller.namespaces.iter().cloned(), global) }
}

fn unauthorized() -> Response {
    let body =
        Json(serde_json::json!({"errors": [{"code": "UNAUTHORIZED", "message": "the password is no Slipway token"}]}));
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic realm=\"slipway\"")], body).into_response()
}

/// The password of basic authentication (RFC 7617).
fn password(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    Some(text.split_once(':')?.1.to_owned())
}
