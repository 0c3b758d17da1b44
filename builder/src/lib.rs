//! slipwayd, the remote build service.
//!
//! ```text
//!            gRPC, HTTP                                        a process of its own for each job
//! client ──► api, http ──► jobs ──► store                 ┌──────────────────────────────────────────┐
//!               │            │ submit, sync, queue, watch │ run_job ─► pipeline ─► buildkit ─► engine │
//!             auth           └─── starts, follows ───────►│               │  │         ▲              │
//!                                 (events on disk)        │           store  registry  └─ runner      │
//!                                                         └──────────────────────────────────────────┘
//! ```
//!
//! | module | is about |
//! |---|---|
//! | [`config`] | what can be set |
//! | [`server`] | wiring: components, services, listener |
//! | [`stop`] | how the service is asked to stop |
//! | [`api`] | the edge: one file per gRPC service, conversions, the error table |
//! | [`http`] | health, and the registry's token endpoint |
//! | [`auth`] | tokens and callers |
//! | [`jobs`] | accept, queue, run, watch, cancel, recover; the event log |
//! | [`run_job`] | a job's own process |
//! | [`process_log`] | what a process says of itself |
//! | [`pipeline`] | THE flow: builds, image variables, commands |
//! | [`store`] | blobs, trees, facts |
//! | [`buildkit`] | engines, sessions, solves |
//! | [`registry`] | names, rights, tokens, the managed registry |
//! | [`runner`] | commands in a container |
//! | [`limits`] | what commands may use |
//! | [`variables`] | variables that the service keeps |
//! | [`environments`] | what a deploy leaves behind |
//! | [`names`] | identifiers |
//!
//! Dependencies go one way: `api → jobs → pipeline → {store, buildkit, registry, runner}`, and `runner → buildkit`. Events
//! (`slipway_proto::v1::event`) have one definition, the API's, from the pipeline to the client.

pub mod api;
pub mod auth;
pub mod buildkit;
pub mod config;
pub mod environments;
pub mod http;
pub mod jobs;
pub mod limits;
mod lock_file;
pub mod names;
pub mod pipeline;
mod private_file;
pub mod process_log;
pub mod registry;
pub mod run_job;
pub mod runner;
pub mod seal;
pub mod server;
pub mod stop;
pub mod store;
pub mod variables;
