//! What a job does: made from a manifest by the CLI, checked again and completed by the service.

mod complete;
mod create;
mod dependencies;
mod order;
mod remote;
mod sections;
pub mod stored;
mod test_options;
#[cfg(test)]
mod tests;
mod types;
mod validate;

pub use complete::CompleteError;
pub use create::{BuildMode, PlanError, Selection};
pub use remote::{Asked, Decision, remote_decision};
pub use test_options::{ArtifactPlan, TEST_FOLDER, TestOptions};
pub use types::{BuildPlan, Command, CommandsPlan, DependencyPlan, JobKind, Plan, Section, SshAccess, label};
pub use validate::InvalidPlan;
