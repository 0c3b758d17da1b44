//! Who calls, and what they may do.
//!
//! A caller shows a bearer token; the service keeps its hash. A job has a token of its own while it runs.

use rand::Rng as _;
use uuid::Uuid;

use crate::names::{JobId, Namespace};
use crate::store::Db;
use crate::store::db::tenants::Token;
use crate::store::db::{DbError, now_ms};

/// What the names of jobs' own users begin with; no other user's name has a colon.
pub const JOB_USER: &str = "job:";

/// Someone whose token was right.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The user, or `job:<id>`.
    pub user: String,
    /// May do everything.
    pub admin: bool,
    /// May use these namespaces.
    pub namespaces: Vec<Namespace>,
}

impl Caller {
    /// Whether the caller may use this namespace.
    pub fn may_use(&self, namespace: &Namespace) -> bool {
        self.admin || self.namespaces.contains(namespace)
    }
}

/// Finds the caller with this token; nothing when it is none of ours.
pub async fn caller(db: &Db, secret: &str) -> Result<Option<Caller>, DbError> {
    let token = db.token_by_secret(secret).await?;
    Ok(token.map(|token| Caller { user: token.user, admin: token.admin, namespaces: token.namespaces }))
}

/// A new token for a job, and its secret. Its id is the job's.
pub fn new_job_token(job: JobId, namespace: Namespace) -> (Token, String) {
    let (token, secret) = new_token(&format!("{JOB_USER}{job}"), false, vec![namespace]);
    (Token { id: job.to_string(), ..token }, secret)
}

/// A new token and its secret.
pub fn new_token(user: &str, admin: bool, namespaces: Vec<Namespace>) -> (Token, String) {
    let secret = format!("slw_{}", hex::encode(rand::rng().random::<[u8; 32]>()));
    let id = Uuid::now_v7().to_string();
    (Token { id, user: user.to_owned(), admin, namespaces, created: now_ms() }, secret)
}
