//! The `test` section.

use super::{Choice, Field, Kind, Object, Rule, TEXTS, commands::COMMANDS, field};

const DASHES: &str = "put `- ` before each entry";

pub(crate) static TEST: Object =
    Object { name: "test", doc: "One test: commands in a container.", fields: &FIELDS, rule: Rule::Any };

static FIELDS: [Field; 8] = [
    field("commands", Kind::OneOf(&COMMANDS), "The commands, in order; at least one.")
        .required()
        .hint("a test has at least one"),
    field(
        "image",
        Kind::Text,
        "The image that the commands run in, as its user, with a shell in it; default the service's runner \
         image. Expanded, also with the variables of images built before.",
    ),
    field("context", Kind::Text, "The folder that the commands run in, and that is sent; default `.`. Expanded."),
    field("depends_on", Kind::OneOf(&TEXTS), "The tests that run before, and must succeed."),
    field(
        "caches",
        Kind::OneOf(&TEXTS),
        "Folders that the next run of the test finds as this one left them. Expanded.",
    ),
    field("artifacts", Kind::List(&ARTIFACTS), "What is brought back, also after a failure.").hint(DASHES),
    field("hosts", Kind::List(&HOSTS), "Names that the commands find under an address.").hint(DASHES),
    field(
        "skipIfNoFileChanges",
        Kind::Bool,
        "`true`: nothing runs if nothing that goes into the test has changed since it last succeeded.",
    ),
];

static ARTIFACTS: Kind = Kind::OneOf(&ARTIFACT_OR_PATH);

static ARTIFACT_OR_PATH: Choice =
    Choice { what: "a path or a mapping", kinds: &[Kind::Filled("path"), Kind::Object(&ARTIFACT)], hint: None };

pub(crate) static ARTIFACT: Object = Object {
    name: "artifact",
    doc: "What is brought back. A text instead of the mapping is its path.",
    fields: &ARTIFACT_FIELDS,
    rule: Rule::Any,
};

static ARTIFACT_FIELDS: [Field; 2] = [
    field("path", Kind::Text, "A path or a pattern, relative to the test's folder. Expanded.").required(),
    field("destination", Kind::Text, "Where it goes, relative to the test's context; default `path`. Expanded."),
];

static HOSTS: Kind = Kind::OneOf(&HOST_OR_TEXT);

static HOST_OR_TEXT: Choice = Choice {
    what: "`name:address` or a mapping",
    kinds: &[Kind::Form(&super::forms::HOST), Kind::Object(&HOST)],
    hint: Some("write `name:address`, or `hostname:` and `ip:`"),
};

pub(crate) static HOST: Object = Object {
    name: "host",
    doc: "A name and its address. `name:address` may stand for the mapping.",
    fields: &HOST_FIELDS,
    rule: Rule::Any,
};

static HOST_FIELDS: [Field; 2] = [
    field("hostname", Kind::Text, "The name. Expanded.").required(),
    field("ip", Kind::Text, "Its address. Expanded.").required(),
];
