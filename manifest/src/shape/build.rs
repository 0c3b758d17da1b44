//! The `build` section.

use super::{Choice, Field, Kind, Named, Object, PAIRS, Rule, TEXTS, field};

pub(crate) static BUILD: Object = Object {
    name: "build",
    doc: "One image. A text instead of the mapping is its context.",
    fields: &FIELDS,
    rule: Rule::Any,
};

static FIELDS: [Field; 24] = [
    field(
        "context",
        Kind::Text,
        "The folder that the Dockerfile sees, relative to the manifest's root, or the URL of a git repository or an \
         archive; default `.`. Expanded.",
    ),
    field(
        "dockerfile",
        Kind::Text,
        "Relative to the context or, where it is not there, to the manifest's root; default `Dockerfile`. Expanded.",
    ),
    field(
        "image",
        Kind::Text,
        "What the image is named, or several names with commas between them; default \
         `okteto.dev/APPLICATION-SERVICE:okteto`. Expanded, also with the variables of images built before.",
    ),
    field("target", Kind::Text, "The stage of the Dockerfile; default the last one. Not expanded."),
    field(
        "args",
        Kind::OneOf(&PAIRS),
        "Build arguments. Values are expanded, also with the variables of images built before. In a list, a name without \
         `=` takes the value of the variable of that name.",
    ),
    field(
        "secrets",
        Kind::Map(&SECRETS),
        "Secrets for `RUN --mount=type=secret`, by id. A text instead of the mapping is a path.",
    )
    .hint("write `ID: PATH`, `ID: {file: PATH}`, `ID: {env: NAME}` or `ID: {variable: NAME}`"),
    field(
        "depends_on",
        Kind::OneOf(&SERVICES),
        "The services that are built before, and whose `OKTETO_BUILD_*` variables this one can use.",
    ),
    field(
        "cache_from",
        Kind::OneOf(&TEXTS),
        "Where built steps may come from, as `docker buildx build --cache-from` takes it. Expanded.",
    ),
    field(
        "export_cache",
        Kind::OneOf(&TEXTS),
        "Where built steps are kept, as `docker buildx build --cache-to` takes it. Expanded.",
    ),
    field("cache_to", Kind::OneOf(&TEXTS), "Another name of `export_cache`."),
    field(
        "platforms",
        Kind::OneOf(&TEXTS),
        "What the image is for, such as `linux/arm64`; default the engine's own. Expanded.",
    ),
    field("labels", Kind::OneOf(&PAIRS), "Labels of the image. Values are expanded."),
    field(
        "annotations",
        Kind::OneOf(&PAIRS),
        "Annotations, as `docker buildx build --annotation` takes them. Values are expanded.",
    ),
    field(
        "additional_contexts",
        Kind::OneOf(&PAIRS),
        "Named contexts: folders, images, repositories, or `service:NAME`. Values are expanded.",
    ),
    field(
        "extra_hosts",
        Kind::OneOf(&HOSTS),
        "Names that steps find under an address, or under several. Values are expanded.",
    ),
    field("ulimits", Kind::OneOf(&LIMITS), "Limits of steps: a number, or `soft` and `hard`. Values are expanded."),
    field(
        "ssh",
        Kind::OneOf(&PAIRS),
        "SSH agents or keys for `RUN --mount=type=ssh`: `default`, or `ID=PATH`. Values are expanded.",
    ),
    field("network", Kind::Text, "The network of steps: `default` or `none`. Expanded."),
    field("shm_size", Kind::Text, "The size of `/dev/shm` in steps, such as `64m`. Expanded."),
    field("no_cache_filter", Kind::OneOf(&TEXTS), "Stages that are built again each time. Expanded."),
    field("pull", Kind::Text, "`true`: base images are looked up again. Expanded."),
    field("provenance", Kind::Text, "A boolean, or what `docker buildx build --provenance` takes. Expanded."),
    field("sbom", Kind::Text, "A boolean, or what `docker buildx build --sbom` takes. Expanded."),
    field(
        "export",
        Kind::Text,
        "The form of the image: `type=image,…` as `docker buildx build --output` takes it. Expanded.",
    ),
];

static SERVICES: Choice =
    Choice { what: "a service or a list of services", kinds: &[Kind::Text, Kind::List(&Kind::Text)], hint: None };

static SECRETS: Named = Named {
    value: Kind::OneOf(&SECRET_OR_PATH),
    filled: Some("give it a path, `{file: PATH}`, `{env: NAME}` or `{variable: NAME}`"),
};

static SECRET_OR_PATH: Choice =
    Choice { what: "a path or a mapping", kinds: &[Kind::Text, Kind::Object(&SECRET)], hint: None };

pub(crate) static SECRET: Object = Object {
    name: "secret",
    doc: "Where a build secret's value is.",
    fields: &SECRET_FIELDS,
    rule: Rule::One(&["file", "env", "variable"]),
};

static SECRET_FIELDS: [Field; 4] = [
    field("file", Kind::Text, "The path of a file; `~/` and variables are expanded."),
    field("env", Kind::Text, "The name of a variable where `slipway` runs."),
    field("variable", Kind::Text, "The name of a variable or secret that the service keeps."),
    field("rotates", Kind::Bool, "`true`: another value of it is no reason to build again."),
];

static HOSTS: Choice = Choice {
    what: "a mapping or a list of `NAME=value`",
    kinds: &[Kind::Map(&ADDRESSES), Kind::List(&Kind::Text)],
    hint: None,
};

static ADDRESSES: Named = Named { value: Kind::OneOf(&TEXTS), filled: None };

static LIMITS: Choice = Choice {
    what: "a mapping or a list of `NAME=value`",
    kinds: &[Kind::Map(&LIMIT_VALUES), Kind::List(&Kind::Text)],
    hint: None,
};

static LIMIT_VALUES: Named = Named { value: Kind::OneOf(&LIMIT), filled: None };

static LIMIT: Choice =
    Choice { what: "a number or a mapping", kinds: &[Kind::Text, Kind::Object(&ULIMIT)], hint: None };

pub(crate) static ULIMIT: Object =
    Object { name: "ulimit", doc: "A soft and a hard limit.", fields: &ULIMIT_FIELDS, rule: Rule::Any };

static ULIMIT_FIELDS: [Field; 2] = [
    field("soft", Kind::Text, "The limit at first.").required(),
    field("hard", Kind::Text, "What a process may raise it to; default `soft`."),
];
