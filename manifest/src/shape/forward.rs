//! Ports that `okteto up` makes local.

use super::{Choice, Field, Kind, Object, PORT, Rule, VALUES, field, forms};

const LOCAL: Field = field("localPort", PORT, "The port here.");
const REMOTE: Field = field("remotePort", PORT, "The port there.");
const NAME: Field = field("name", Kind::Text, "The service; not beside `labels`.");
const LABELS: Field = field("labels", Kind::Map(&VALUES), "Labels that find the service; not beside `name`.");

/// An entry of the manifest's `forward`.
pub(super) static GLOBAL_FORWARDS: Kind = Kind::OneOf(&GLOBAL);

static GLOBAL: Choice = Choice {
    what: "`localPort:service:remotePort` or a mapping",
    kinds: &[Kind::Form(&forms::GLOBAL_FORWARD), Kind::Object(&GLOBAL_FORWARD)],
    hint: None,
};

pub(crate) static GLOBAL_FORWARD: Object = Object {
    name: "globalForward",
    doc: "A port of a service. `localPort:service:remotePort` may stand for the mapping.",
    fields: &FIELDS,
    rule: Rule::One(&["name", "labels"]),
};

static FIELDS: [Field; 4] = [LOCAL.required(), REMOTE.required(), NAME, LABELS];

/// An entry of a development container's `forward`.
pub(super) static FORWARDS: Kind = Kind::OneOf(&FORWARD_OR_TEXT);

static FORWARD_OR_TEXT: Choice = Choice {
    what: "`localPort:remotePort`, `localPort:service:remotePort` or a mapping",
    kinds: &[Kind::Form(&forms::FORWARD), Kind::Object(&FORWARD)],
    hint: None,
};

pub(crate) static FORWARD: Object = Object {
    name: "forward",
    doc: "A port of the container or of a service. `localPort:remotePort` or `localPort:service:remotePort` may stand \
          for the mapping.",
    fields: &FORWARD_FIELDS,
    rule: Rule::AtMostOne(&["name", "labels"]),
};

static FORWARD_FIELDS: [Field; 4] = [LOCAL.required(), REMOTE.required(), NAME, LABELS];
