//! A compose file where a manifest should be: one clear error, not one for each of its keys.

use std::path::Path;

use crate::{
    discover,
    problem::{Place, Report},
    shape::MANIFEST,
    yaml::{Kind, Node},
};

/// Keys that a compose file has, too.
const SHARED: [&str; 1] = ["name"];

/// Whether it is one; then the report says what to do.
pub(super) fn refuse(root: &Node, file: &str, report: &mut Report) -> bool {
    let own = |key: &str| MANIFEST.has(key) && !SHARED.contains(&key);
    if root.entries().is_empty() || root.entries().iter().any(|entry| own(&entry.key)) {
        return false;
    }
    let services = root.entries().iter().find(|entry| entry.key == "services");
    let services = services.filter(|entry| matches!(entry.value.kind, Kind::Mapping(_)));
    let place = match services {
        Some(services) => services.key_place,
        None if discover::is_compose_name(Path::new(file)) => Place::new(1, 1),
        None => return false,
    };
    report.error_with(place, message(Path::new(file)), Some(HINT));
    true
}

/// Says so.
pub(crate) fn message(file: &Path) -> String {
    let file = file.display();
    format!("`{file}` looks like a compose file, which is not a manifest here: compose files are not deployed yet")
}

/// What to do instead of using a compose file.
pub(crate) const HINT: &str = "write an okteto.yaml that says what is built (`build:`, then `  app: FOLDER`) and how it is deployed \
                               (`deploy:`, a list of commands)";
