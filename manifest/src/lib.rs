//! okteto.yaml: parse, validate, expand, plan. Pure: no tokio, no network, no process environment; the caller passes texts
//! and lookups. Only [`discover`](discover::discover) looks at a directory.
//!
//! ```text
//! text ── Manifest::parse ──> Manifest ─┐
//! .env ── dotenv::parse ──> Variables ──┼─ Plan::new ──> Plan ══ to the service ══> Plan::validate
//! command line ───────────> Selection ──┘                                            │ for each build, in order:
//!                                                              complete_args, images ┤<── ImageEnv
//!                                                                                    └──> ImageEnv::extend
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`discover`] | finding the manifest of a directory |
//! | [`problem`] | findings as `FILE:LINE:COL: message` |
//! | [`manifest`] | the manifest as written; parsed by [`Manifest::parse`] |
//! | [`json_schema`] | its shape, for editors |
//! | [`expand`] | `$variables` by envsubst's rules, and texts that are expanded in two places |
//! | [`dotenv`] | dotenv files, read and written |
//! | [`variables`] | layers of variables and their precedence |
//! | [`plan`] | what a job does: made by the CLI, validated and completed by the service |
//! | [`options`] | what goes to BuildKit: labels, limits, attestations, the form of the image |
//! | [`print`](mod@print) | the JSON of `build --print` |
//! | [`image_env`] | `OKTETO_BUILD_*` |
//! | [`git_url`] | URLs of git repositories |
//! | [`names`] | names of services, applications and images |

pub mod discover;
pub mod dotenv;
pub mod expand;
pub mod git_url;
pub mod image_env;
pub mod manifest;
pub mod names;
pub mod options;
mod parse;
pub mod plan;
pub mod print;
pub mod problem;
mod reference;
mod shape;
mod suggest;
#[cfg(test)]
mod table;
pub mod variables;
mod yaml;

pub use image_env::ImageEnv;
pub use manifest::Manifest;
pub use names::{ServiceName, is_variable_name};
pub use options::BuildOptions;
pub use parse::Parsed;
pub use plan::{Plan, Selection};
pub use problem::{Place, Problem, Problems};
pub use reference::InvalidReference;
pub use shape::json_schema;
pub use variables::Variables;
pub use yaml::MAX_BYTES;
