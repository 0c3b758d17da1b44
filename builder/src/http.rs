//! HTTP beside gRPC, on the same port: health, and the token endpoint of the managed registry.

pub mod health;
pub mod token;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use crate::registry::Registry;
use crate::store::Db;

/// What the handlers share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Tokens.
    pub db: Db,
    /// Registry rights and tokens.
    pub registry: Arc<Registry>,
    /// Whether everything is up.
    pub ready: tokio::sync::watch::Receiver<bool>,
}

/// All routes.
pub fn routes(shared: Shared) -> Router {
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/token", get(token::get).post(token::post))
        .with_state(shared)
}
