//! What only `okteto up` uses. It is checked like everything else; no job reads it.

use super::Text;
use crate::problem::Place;

/// A development container. Nothing here runs one, so only its name is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dev {
    /// Its key, sanitised.
    pub name: String,
    /// Where its key is.
    pub place: Place,
}

/// One of `forward`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalForward {
    /// The port here.
    pub local: u16,
    /// The port there.
    pub remote: u16,
    /// The service's name, sanitised.
    pub service: Option<String>,
    /// Labels that find the service, as name and value.
    pub labels: Vec<(String, Text)>,
}
