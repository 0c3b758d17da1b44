//! What `deploy` has besides commands.

use super::Text;
use crate::problem::Place;

/// `compose`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compose {
    /// Where its key is.
    pub place: Place,
    /// The files, in order.
    pub files: Vec<ComposeFile>,
}

/// One compose file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComposeFile {
    /// Its path.
    pub file: Text,
    /// The services that are deployed; empty: all.
    pub services: Vec<Text>,
}

/// `endpoints`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// Where its key is.
    pub place: Place,
    /// The endpoints, in the order of the file.
    pub endpoints: Vec<Endpoint>,
}

/// Rules with a name; one without a name stands for the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its key.
    pub name: Option<String>,
    /// `rules`.
    pub rules: Vec<EndpointRule>,
    /// `labels` as name and value.
    pub labels: Vec<(String, Text)>,
    /// `annotations` as name and value.
    pub annotations: Vec<(String, Text)>,
}

/// A path, and the service behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointRule {
    /// `path`.
    pub path: Option<Text>,
    /// `service`.
    pub service: Text,
    /// `port`.
    pub port: u16,
}

/// `divert`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Divert {
    /// Where its key is.
    pub place: Place,
    /// `driver`.
    pub driver: DivertDriver,
    /// `namespace`, of nginx.
    pub namespace: Option<Text>,
    /// `virtualServices`, of istio.
    pub virtual_services: Vec<VirtualService>,
    /// `hosts`, of istio.
    pub hosts: Vec<DivertHost>,
}

/// What diverts traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DivertDriver {
    /// Ingresses; the default.
    Nginx,
    /// Virtual services.
    Istio,
}

/// One of `virtualServices`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualService {
    /// `name`.
    pub name: Text,
    /// `namespace`.
    pub namespace: Text,
    /// `routes`; empty: all.
    pub routes: Vec<Text>,
}

/// One of `hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DivertHost {
    /// `virtualService`.
    pub virtual_service: Text,
    /// `namespace`.
    pub namespace: Text,
}
