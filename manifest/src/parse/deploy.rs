//! The section `deploy`.

use super::{
    commands,
    fields::{self, Fields},
    pairs,
};
use crate::{
    manifest::{
        Compose, ComposeFile, Deploy, Divert, DivertDriver, DivertHost, Endpoint, EndpointRule, Endpoints,
        VirtualService,
    },
    problem::{Place, Report},
    shape,
    yaml::{Entry, Kind, Node},
};

pub(super) fn read(entry: &Entry, report: &mut Report) -> Deploy {
    let run = commands::section(entry.key_place, &entry.value, &shape::DEPLOY);
    let place_of = |key: &str| entry.value.entries().iter().find(|entry| entry.key == key).map(|entry| entry.key_place);
    let part = |key: &str| {
        let fields = Fields::of(&entry.value, &shape::DEPLOY)?;
        Some((place_of(key)?, fields.get(key)?))
    };
    Deploy {
        run,
        compose: part("compose").map(|(place, node)| Compose { place, files: compose(node, report) }),
        endpoints: part("endpoints").map(|(place, node)| Endpoints { place, endpoints: endpoints(node) }),
        divert: part("divert").and_then(|(place, node)| divert(place, node, report)),
    }
}

fn compose(node: &Node, report: &mut Report) -> Vec<ComposeFile> {
    match &node.kind {
        Kind::Sequence(items) => items.iter().filter_map(compose_file).collect(),
        Kind::Scalar(_) => compose_file(node).into_iter().collect(),
        Kind::Mapping(_) => {
            let Some(fields) = Fields::of(node, &shape::COMPOSE) else { return Vec::new() };
            let Some(manifest) = fields.get("manifest") else { return compose_file(node).into_iter().collect() };
            if fields.get("services").is_some() {
                let hint = "write `manifest: {file: …, services: …}`, or leave `manifest` out";
                report.error_with(node.place, "`deploy.compose.services` can't stand beside `manifest`", Some(hint));
            }
            match &manifest.kind {
                Kind::Sequence(items) => items.iter().filter_map(compose_file).collect(),
                _ => compose_file(manifest).into_iter().collect(),
            }
        }
    }
}

fn compose_file(node: &Node) -> Option<ComposeFile> {
    let Some(fields) = Fields::of(node, &shape::COMPOSE) else {
        return Some(ComposeFile { file: fields::text(node)?, services: Vec::new() });
    };
    Some(ComposeFile { file: fields.text("file")?, services: fields.texts("services") })
}

fn endpoints(node: &Node) -> Vec<Endpoint> {
    let own = node.entries().iter().all(|entry| shape::ENDPOINT.has(&entry.key));
    if own {
        return vec![endpoint(None, node)];
    }
    node.entries().iter().map(|entry| endpoint(Some(entry.key.clone()), &entry.value)).collect()
}

fn endpoint(name: Option<String>, node: &Node) -> Endpoint {
    match Fields::of(node, &shape::ENDPOINT) {
        None => Endpoint { name, rules: rules(node.items()), labels: Vec::new(), annotations: Vec::new() },
        Some(fields) => Endpoint {
            name,
            rules: rules(fields.items("rules")),
            labels: fields.get("labels").map(pairs::known).unwrap_or_default(),
            annotations: fields.get("annotations").map(pairs::known).unwrap_or_default(),
        },
    }
}

fn rules(items: &[Node]) -> Vec<EndpointRule> {
    let rule = |item| {
        let fields = Fields::of(item, &shape::RULE)?;
        Some(EndpointRule { path: fields.text("path"), service: fields.text("service")?, port: fields.int("port")? })
    };
    items.iter().filter_map(rule).collect()
}

fn divert(place: Place, node: &Node, report: &mut Report) -> Option<Divert> {
    let fields = Fields::of(node, &shape::DIVERT)?;
    let driver = match fields.text("driver").as_ref().map(|driver| driver.value.as_str()) {
        None | Some("nginx") => DivertDriver::Nginx,
        Some("istio") => DivertDriver::Istio,
        // Not a driver: the shape says so.
        Some(_) => return None,
    };
    let (name, others): (&str, &[&str]) = match driver {
        DivertDriver::Nginx => ("nginx", &["virtualServices", "hosts"]),
        DivertDriver::Istio => ("istio", &["namespace", "service"]),
    };
    for key in others {
        let given = fields
            .get(key)
            .filter(|node| !node.items().is_empty() || fields::text(node).is_some_and(|text| !text.value.is_empty()));
        if let Some(given) = given {
            let hint =
                (driver == DivertDriver::Nginx).then_some("`driver: istio` has it; without `driver` it is nginx");
            let message = format!("`deploy.divert.{key}` makes no sense with the driver {name}");
            report.error_with(given.place, message, hint);
        }
    }
    let virtual_service = |item| {
        let fields = Fields::of(item, &shape::VIRTUAL_SERVICE)?;
        let (name, namespace) = (fields.text("name")?, fields.text("namespace")?);
        Some(VirtualService { name, namespace, routes: fields.texts("routes") })
    };
    let host = |item| {
        let fields = Fields::of(item, &shape::DIVERT_HOST)?;
        Some(DivertHost { virtual_service: fields.text("virtualService")?, namespace: fields.text("namespace")? })
    };
    let namespace = fields.text("namespace");
    if driver == DivertDriver::Nginx && namespace.is_none() {
        report.error(place, "`deploy.divert` has no namespace, which the driver nginx needs");
    }
    if driver == DivertDriver::Istio && fields.items("virtualServices").is_empty() {
        report.error(place, "`deploy.divert` has no virtualServices, which the driver istio needs");
    }
    Some(Divert {
        place,
        driver,
        namespace,
        virtual_services: fields.items("virtualServices").iter().filter_map(virtual_service).collect(),
        hosts: fields.items("hosts").iter().filter_map(host).collect(),
    })
}
