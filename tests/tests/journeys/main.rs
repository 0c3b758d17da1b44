//! Journeys: what a user does, from `slipway` to what is left in the registry and on the engine. One engine a run; see
//! `scripts/journeys.sh`.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "what fails in a test's helper fails the test")]

mod any_tree;
mod builds;
mod cache_mounts;
mod caches;
mod cancel;
mod cleaning;
mod client;
mod clipped;
mod contexts;
mod crash;
mod deploy;
mod deploy_output;
mod environments;
mod example;
mod explain;
mod exports;
mod images;
mod lazy;
mod logins;
mod many_rules;
mod network;
mod options;
mod own_image;
mod parallel;
mod pool;
mod registries;
mod remote;
mod runner_image;
mod scale;
mod secrets;
mod sections;
mod skip;
mod skip_engine;
mod ssh;
mod start_up;
mod sync;
mod sync_faults;
mod tenancy_api;
mod tenancy_registry;
mod terminal;
mod tls_engine;
mod trees;
mod variables;
