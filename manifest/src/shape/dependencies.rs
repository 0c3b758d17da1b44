//! The `dependencies` section.

use super::{Choice, Field, Kind, Named, Object, PAIRS, Rule, field, forms};

/// The section as it may be written.
pub(super) static DEPENDENCIES: Choice = Choice {
    what: "a list of repositories or a mapping",
    kinds: &[Kind::List(&Kind::Filled("URL")), Kind::Map(&NAMED)],
    hint: Some("put `- ` before each repository's URL, or name each: `dependencies:`, then `  api: URL`"),
};

static NAMED: Named = Named { value: Kind::OneOf(&DEPENDENCY_OR_URL), filled: Some("give it a repository's URL") };

static DEPENDENCY_OR_URL: Choice = Choice {
    what: "a repository's URL or a mapping",
    kinds: &[Kind::Filled("URL"), Kind::Object(&DEPENDENCY)],
    hint: None,
};

pub(crate) static DEPENDENCY: Object = Object {
    name: "dependency",
    doc: "Another repository, whose manifest is deployed first. A text instead of the mapping is its URL.",
    fields: &FIELDS,
    rule: Rule::Any,
};

static FIELDS: [Field; 6] = [
    field("repository", Kind::Text, "Its URL. Expanded.").required(),
    field("manifest", Kind::Text, "The path of its manifest; default as everywhere. Expanded."),
    field("branch", Kind::Text, "The branch or tag; default the repository's own. Expanded."),
    field("variables", Kind::OneOf(&PAIRS), "Variables for it. Values are expanded."),
    field("wait", Kind::Bool, "`true`: this application waits until it is deployed, and can use its variables."),
    field(
        "timeout",
        Kind::Form(&forms::DURATION),
        "How long it may take, such as `10m`; a number is seconds; default `5m`.",
    ),
];
