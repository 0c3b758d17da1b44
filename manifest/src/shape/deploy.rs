//! The `deploy` section.

use super::{
    Choice, Field, Kind, Named, Object, PAIRS, PORT, Rule, TEXTS,
    commands::{COMMAND_OR_TEXT, COMMANDS, CONTEXT, DASHES, IMAGE, LIST_OF_COMMANDS, REMOTE},
    field,
};

/// The section as it may be written.
pub(super) static DEPLOY_SECTION: Choice = Choice {
    what: LIST_OF_COMMANDS,
    kinds: &[Kind::List(&Kind::OneOf(&COMMAND_OR_TEXT)), Kind::Object(&DEPLOY)],
    hint: Some(DASHES),
};

pub(crate) static DEPLOY: Object =
    Object { name: "deploy", doc: "What deploys the application.", fields: &FIELDS, rule: Rule::Any };

static FIELDS: [Field; 7] = [
    field("commands", Kind::OneOf(&COMMANDS), "The commands, in order."),
    IMAGE,
    CONTEXT,
    REMOTE,
    field("compose", Kind::OneOf(&COMPOSE_FILES), "Compose files to deploy: a path, a mapping, or a list of them."),
    field(
        "endpoints",
        Kind::OneOf(&ENDPOINTS),
        "Paths under which services of the compose files are reached: a list of rules, or a mapping.",
    ),
    field("divert", Kind::Object(&DIVERT), "Sends a part of another namespace's traffic here."),
];

static COMPOSE_FILES: Choice = Choice {
    what: "a path, a mapping, or a list of them",
    kinds: &[Kind::Filled("path"), Kind::Object(&COMPOSE), Kind::List(&Kind::OneOf(&COMPOSE_FILE))],
    hint: None,
};

static COMPOSE_FILE: Choice =
    Choice { what: "a path or a mapping", kinds: &[Kind::Filled("path"), Kind::Object(&COMPOSE_ENTRY)], hint: None };

const FILE: Field = field("file", Kind::Text, "The path of the compose file.");
const SERVICES: Field = field("services", Kind::OneOf(&TEXTS), "The services to deploy; default all.");

pub(crate) static COMPOSE: Object = Object {
    name: "compose",
    doc: "A compose file, and which of its services are deployed.",
    fields: &COMPOSE_FIELDS,
    rule: Rule::One(&["file", "manifest"]),
};

static COMPOSE_FIELDS: [Field; 3] = [
    FILE,
    SERVICES,
    field("manifest", Kind::OneOf(&LEGACY_FILES), "The older form: a path, a mapping, or a list of them. Deprecated."),
];

static LEGACY_FILES: Choice = Choice {
    what: "a path, a mapping, or a list of them",
    kinds: &[Kind::Filled("path"), Kind::Object(&COMPOSE_ENTRY), Kind::List(&Kind::OneOf(&COMPOSE_FILE))],
    hint: None,
};

static COMPOSE_ENTRY: Object = Object {
    name: "composeFile",
    doc: "A compose file, and which of its services are deployed.",
    fields: &ENTRY_FIELDS,
    rule: Rule::Any,
};

static ENTRY_FIELDS: [Field; 2] = [field("file", Kind::Text, "The path of the compose file.").required(), SERVICES];

static ENDPOINTS: Choice = Choice {
    what: "a list of rules or a mapping",
    kinds: &[Kind::List(&Kind::Object(&RULE)), Kind::Either(&ENDPOINT, &NAMED_ENDPOINTS)],
    hint: Some("write `- path: /`, then `  service: app`, then `  port: 8080`"),
};

static NAMED_ENDPOINTS: Named = Named { value: Kind::OneOf(&ENDPOINT_OR_RULES), filled: None };

static ENDPOINT_OR_RULES: Choice = Choice {
    what: "a list of rules or a mapping",
    kinds: &[Kind::List(&Kind::Object(&RULE)), Kind::Object(&ENDPOINT)],
    hint: None,
};

pub(crate) static ENDPOINT: Object =
    Object { name: "endpoint", doc: "Rules, and what is written on them.", fields: &ENDPOINT_FIELDS, rule: Rule::Any };

static ENDPOINT_FIELDS: [Field; 3] = [
    field("rules", Kind::List(&Kind::Object(&RULE)), "The rules."),
    field("labels", Kind::OneOf(&PAIRS), "Labels."),
    field("annotations", Kind::OneOf(&PAIRS), "Annotations."),
];

pub(crate) static RULE: Object =
    Object { name: "endpointRule", doc: "A path, and the service behind it.", fields: &RULE_FIELDS, rule: Rule::Any };

static RULE_FIELDS: [Field; 3] = [
    field("path", Kind::Text, "The path."),
    field("service", Kind::Text, "The service.").required().hint("write `service: NAME`, as the compose file names it"),
    field("port", PORT, "The service's port.").required().hint("write `port: 8080`, one that the service listens on"),
];

pub(crate) static DIVERT: Object = Object {
    name: "divert",
    doc: "Which traffic comes here. `istio` needs `virtualServices`, `nginx` needs `namespace`.",
    fields: &DIVERT_FIELDS,
    rule: Rule::Any,
};

static DIVERT_FIELDS: [Field; 7] = [
    field("driver", Kind::Word(&["nginx", "istio"]), "What does it; default `nginx`."),
    field("namespace", Kind::Text, "The namespace whose traffic it is; `nginx` only. Expanded."),
    field(
        "virtualServices",
        Kind::List(&Kind::Object(&VIRTUAL_SERVICE)),
        "The virtual services whose traffic it is; `istio` only.",
    ),
    field("hosts", Kind::List(&Kind::Object(&DIVERT_HOST)), "Hosts that are also copied; `istio` only."),
    field("service", Kind::Text, "Does nothing any more; `nginx` only. Deprecated."),
    field("deployment", Kind::Text, "Does nothing any more. Deprecated."),
    field("port", Kind::Int(0, 65535), "Does nothing any more. Deprecated."),
];

pub(crate) static VIRTUAL_SERVICE: Object = Object {
    name: "virtualService",
    doc: "A virtual service of another namespace.",
    fields: &VIRTUAL_SERVICE_FIELDS,
    rule: Rule::Any,
};

static VIRTUAL_SERVICE_FIELDS: [Field; 3] = [
    field("name", Kind::Text, "Its name.").required(),
    field("namespace", Kind::Text, "Its namespace.").required(),
    field("routes", Kind::List(&Kind::Text), "Its routes; default all."),
];

pub(crate) static DIVERT_HOST: Object =
    Object { name: "divertHost", doc: "The hosts of a virtual service.", fields: &DIVERT_HOST_FIELDS, rule: Rule::Any };

static DIVERT_HOST_FIELDS: [Field; 2] = [
    field("virtualService", Kind::Text, "The virtual service's name. Expanded.").required(),
    field("namespace", Kind::Text, "Its namespace. Expanded.").required(),
];
