//! The `external` section.

use super::{Field, Kind, Object, Rule, field};

pub(crate) static EXTERNAL: Object =
    Object { name: "external", doc: "Something that runs elsewhere.", fields: &FIELDS, rule: Rule::Any };

static FIELDS: [Field; 3] = [
    field("endpoints", Kind::List(&Kind::Object(&EXTERNAL_ENDPOINT)), "Where it is found; at least one.")
        .required()
        .hint("write `- name: …`, then `  url: …`"),
    field("icon", Kind::Text, "A picture, for Okteto's pages."),
    field("notes", Kind::Text, "The path of a Markdown file about it."),
];

pub(crate) static EXTERNAL_ENDPOINT: Object =
    Object { name: "externalEndpoint", doc: "One place where it is found.", fields: &ENDPOINT_FIELDS, rule: Rule::Any };

static ENDPOINT_FIELDS: [Field; 2] = [
    field("name", Kind::Text, "Its name, of which there is one in a resource. Expanded."),
    field(
        "url",
        Kind::Text,
        "The URL, which `OKTETO_EXTERNAL_RESOURCE_ENDPOINTS_NAME_URL` holds; commands may set that in `$OKTETO_ENV`. \
         Expanded.",
    ),
];
