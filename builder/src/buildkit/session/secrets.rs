//! Secrets by id (`moby.buildkit.secrets.v1`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::secrets::v1 as api;
use tonic::{Request, Response, Status};

/// BuildKit's own clients refuse larger secrets.
pub const MAX_SECRET: usize = slipway_manifest::options::MAX_SECRET;

/// The secrets that a session may hand out.
#[derive(Clone, Default)]
pub struct Secrets {
    values: Arc<BTreeMap<String, Vec<u8>>>,
}

impl Secrets {
    /// These values by id; larger ones than [`MAX_SECRET`] are not kept.
    pub fn new(values: BTreeMap<String, Vec<u8>>) -> Self {
        Self { values: Arc::new(values.into_iter().filter(|(_, value)| value.len() <= MAX_SECRET).collect()) }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.values.keys()).finish()
    }
}

#[tonic::async_trait]
impl api::secrets_server::Secrets for Secrets {
    async fn get_secret(
        &self,
        request: Request<api::GetSecretRequest>,
    ) -> Result<Response<api::GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        match self.values.get(&id) {
            Some(data) => Ok(Response::new(api::GetSecretResponse { data: data.clone() })),
            None => Err(Status::not_found(format!("secret {id} not found"))),
        }
    }
}
