//! `/healthz`: the process answers. `/readyz`: jobs can run.

use axum::extract::State;
use axum::http::StatusCode;

use super::Shared;

/// Always 200.
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// 200 once the registry and the engine have answered, else 503.
pub async fn readyz(State(shared): State<Shared>) -> (StatusCode, &'static str) {
    if *shared.ready.borrow() { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "starting\n") }
}
