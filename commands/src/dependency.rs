//! Names of variables by which the service tells `slipway deploy-dependency` what to do.

/// Holds a plan's dependencies, as a JSON list.
pub const DEPENDENCIES: &str = "SLIPWAY_DEPENDENCIES";
/// What begins the names of the service's variables that open git repositories; the host's name follows.
pub const GIT_AUTH: &str = "GIT_AUTH_TOKEN_";
