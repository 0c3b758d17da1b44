//! The top of the file.

use super::{
    Choice, Field, Kind, Named, Object, Rule, build::BUILD, commands::DESTROY_SECTION, dependencies::DEPENDENCIES,
    deploy::DEPLOY_SECTION, dev::DEV, external::EXTERNAL, field, forward::GLOBAL_FORWARDS, test::TEST,
};

pub(crate) static MANIFEST: Object = Object {
    name: "manifest",
    doc: "What an application is built from, how it is deployed, and how it is tested.",
    fields: &FIELDS,
    rule: Rule::Any,
};

static FIELDS: [Field; 10] = [
    field("name", Kind::Text, "The application's name; default the folder's. Expanded."),
    field("icon", Kind::Text, "A picture of the application, for Okteto's pages."),
    field("build", Kind::Map(&BUILDS), "The images, by name.")
        .hint("name each image: `build:`, then `  app:`, then `    context: .`"),
    field("deploy", Kind::OneOf(&DEPLOY_SECTION), "What deploys the application: a list of commands, or a mapping."),
    field(
        "destroy",
        Kind::OneOf(&DESTROY_SECTION),
        "What removes what `deploy` made: a list of commands, or a mapping.",
    ),
    field("test", Kind::Map(&TESTS), "The tests, by name.")
        .hint("name each test: `test:`, then `  unit:`, then `    commands:`"),
    field(
        "dependencies",
        Kind::OneOf(&DEPENDENCIES),
        "Other repositories that are deployed first: a list of their URLs, or a mapping.",
    ),
    field(
        "external",
        Kind::Map(&EXTERNALS),
        "What belongs to the application and runs elsewhere, by name, and where it is found.",
    )
    .hint("name each resource: `external:`, then `  db:`, then `    endpoints:`"),
    field(
        "dev",
        Kind::OneOf(&DEVS),
        "Development containers, by name, for `okteto up`. A list of names says nothing and is allowed.",
    )
    .for_up(),
    field("forward", Kind::List(&GLOBAL_FORWARDS), "Ports of services in the cluster that `okteto up` makes local.")
        .hint("put `- ` before each entry")
        .for_up(),
];

static BUILDS: Named = Named {
    value: Kind::OneOf(&BUILD_OR_PATH),
    filled: Some("give it a folder (`context: .`), or write `{}` for the defaults"),
};

static BUILD_OR_PATH: Choice =
    Choice { what: "a mapping or the path of a context", kinds: &[Kind::Text, Kind::Object(&BUILD)], hint: None };

static TESTS: Named = Named { value: Kind::Object(&TEST), filled: Some("give it `commands:`, a list") };

static EXTERNALS: Named = Named { value: Kind::Object(&EXTERNAL), filled: Some("give it `endpoints:`, a list") };

static DEVS: Choice = Choice {
    what: "a mapping",
    kinds: &[Kind::Map(&CONTAINERS), Kind::List(&Kind::Text)],
    hint: Some("name each container: `dev:`, then `  api:`, then `    command: bash`"),
};

static CONTAINERS: Named = Named { value: Kind::Object(&DEV), filled: None };
