//! `external`.

use super::Text;
use crate::problem::Place;

/// Something that belongs to the application and runs elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// Its key.
    pub name: String,
    /// Where its key is.
    pub place: Place,
    /// `icon`.
    pub icon: Option<Text>,
    /// `notes`, the path of a Markdown file.
    pub notes: Option<Text>,
    /// `endpoints`; at least one, and no two of a name.
    pub endpoints: Vec<ExternalEndpoint>,
}

/// One place where it is found. Both texts are expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalEndpoint {
    /// `name`.
    pub name: Text,
    /// `url`; without it, commands have to set [the variable](External::variable).
    pub url: Option<Text>,
}

impl External {
    /// The variable that holds the URL of an endpoint with this (expanded) name.
    pub fn variable(&self, endpoint: &str) -> String {
        let part = |name: &str| name.replace([' ', '-'], "_").to_uppercase();
        format!("OKTETO_EXTERNAL_{}_ENDPOINTS_{}_URL", part(&self.name), part(endpoint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_variables() {
        let external = External {
            name: "my db-x".to_owned(),
            place: Place::WHOLE,
            icon: None,
            notes: None,
            endpoints: Vec::new(),
        };
        assert_eq!(external.variable("read only"), "OKTETO_EXTERNAL_MY_DB_X_ENDPOINTS_READ_ONLY_URL");
    }
}
