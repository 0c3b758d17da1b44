//! The `dev` section, which only `okteto up` uses.

use super::{
    Choice, Field, Kind, Named, Object, PAIRS, Rule, TEXTS, VALUES, affinity::AFFINITY, field, forms, forward::FORWARDS,
};

// What a container and the services beside it have in common.
const AFFINITY_FIELD: Field =
    field("affinity", Kind::Object(&AFFINITY), "On which nodes it may run, as Kubernetes has it.");
const ARGS: Field = field("args", Kind::OneOf(&TEXTS), "Arguments of the command.");
const COMMAND: Field = field("command", Kind::OneOf(&TEXTS), "What it runs; default `sh`.");
const CONTAINER: Field = field("container", Kind::Text, "The container of the deployment; default its first.");
const ENV_FILES: Field = field("envFiles", Kind::OneOf(&TEXTS), "Dotenv files with variables for it. Expanded.");
const ENVIRONMENT: Field = field("environment", Kind::OneOf(&PAIRS), "Variables for it. Values are expanded.");
const IMAGE: Field = field("image", Kind::Text, "Its image; default the deployment's. Expanded.");
const PULL: Field = field(
    "imagePullPolicy",
    Kind::Word(&["Always", "IfNotPresent", "Never"]),
    "When its image is pulled; default `Always`.",
);
const METADATA_FIELD: Field = field("metadata", Kind::Object(&METADATA), "What is written on its pod.");
const MODE: Field =
    field("mode", Kind::Word(&["sync", "hybrid"]), "`sync`, the default, or `hybrid`: the command runs here.");
const NAME: Field = field("name", Kind::Text, "The deployment's name; default the key. Expanded.");
const NODES: Field = field("nodeSelector", Kind::Map(&VALUES), "Labels of nodes that it may run on.");
const REPLICAS: Kind = Kind::Int(0, 2_147_483_647);
const RESOURCES_FIELD: Field = field("resources", Kind::Object(&RESOURCES), "What it asks for, and what it may use.");
const SELECTOR: Field = field("selector", Kind::Map(&VALUES), "Labels that find the deployment. Values are expanded.");
const SYNC_FIELD: Field = field(
    "sync",
    Kind::OneOf(&SYNC_OR_LIST),
    "Folders that are kept the same: a list of `localPath:remotePath`, or a mapping. Expanded.",
);
const TOLERATIONS: Field = field("tolerations", Kind::List(&TAINTS), "Taints of nodes that it may run on.");
const VOLUMES: Field = field("volumes", Kind::List(&Kind::Text), "Its paths that outlive it.");
const WORKDIR: Field = field("workdir", Kind::Text, "The folder that its command runs in.");

pub(crate) static DEV: Object =
    Object { name: "dev", doc: "A development container.", fields: &FIELDS, rule: Rule::Any };

static FIELDS: [Field; 36] = [
    NAME,
    field("autocreate", Kind::Bool, "`true`: a deployment is made when there is none of the name."),
    SELECTOR,
    CONTAINER,
    IMAGE,
    PULL,
    COMMAND,
    ARGS,
    WORKDIR,
    MODE,
    field("replicas", REPLICAS, "For `services` only: `okteto up` refuses it here."),
    SYNC_FIELD,
    VOLUMES,
    field(
        "externalVolumes",
        Kind::List(&EXTERNAL_VOLUMES),
        "Claims that are mounted: `name:mountPath`, or `name:subPath:mountPath`.",
    ),
    field("persistentVolume", Kind::Object(&PERSISTENT_VOLUME), "The volume that holds what is kept the same."),
    ENVIRONMENT,
    ENV_FILES,
    field(
        "secrets",
        Kind::List(&SECRETS),
        "Local files that it gets: `localPath:remotePath`, or that with `:mode`. Expanded.",
    ),
    field("forward", Kind::List(&FORWARDS), "Ports that become local."),
    field("reverse", Kind::List(&REVERSES), "Local ports that it reaches: `remotePort:localPort`."),
    field("interface", Kind::Text, "The local address of forwarded ports; default `localhost`."),
    field("remote", Kind::Int(0, 65535), "The local port of its SSH server."),
    field("sshServerPort", Kind::Int(0, 65535), "The port of its SSH server in the container; default 2222."),
    field("services", Kind::List(&Kind::Object(&DEV_SERVICE)), "More deployments that get the same files."),
    field("initContainer", Kind::Object(&INIT_CONTAINER), "The container that prepares it."),
    field("probes", Kind::OneOf(&PROBES_OR_BOOL), "Whether the deployment's probes run: a boolean, or a mapping."),
    field("lifecycle", Kind::OneOf(&LIFECYCLE_OR_BOOL), "Whether the deployment's hooks run: a boolean, or a mapping."),
    field("timeout", Kind::OneOf(&TIMEOUT_OR_DURATION), "How long to wait for it: a duration, or a mapping."),
    RESOURCES_FIELD,
    field("securityContext", Kind::Object(&SECURITY_CONTEXT), "As whom it runs."),
    field("serviceAccount", Kind::Text, "Its service account."),
    field("priorityClassName", Kind::Text, "The priority class of its pod."),
    METADATA_FIELD,
    NODES,
    AFFINITY_FIELD,
    TOLERATIONS,
];

pub(crate) static DEV_SERVICE: Object =
    Object { name: "devService", doc: "A deployment beside the container.", fields: &SERVICE_FIELDS, rule: Rule::Any };

static SERVICE_FIELDS: [Field; 20] = [
    NAME,
    SELECTOR,
    CONTAINER,
    IMAGE,
    PULL,
    COMMAND,
    ARGS,
    WORKDIR,
    MODE,
    field("replicas", REPLICAS, "How many of it run."),
    SYNC_FIELD,
    VOLUMES,
    ENVIRONMENT,
    ENV_FILES,
    RESOURCES_FIELD,
    field("initContainer", Kind::Object(&SERVICE_INIT), "Does nothing; only its `resources` may be written."),
    METADATA_FIELD,
    NODES,
    AFFINITY_FIELD,
    TOLERATIONS,
];

static SERVICE_INIT: Object = Object {
    name: "serviceInitContainer",
    doc: "The container that would prepare a deployment beside the container.",
    fields: &SERVICE_INIT_FIELDS,
    rule: Rule::Any,
};

static SERVICE_INIT_FIELDS: [Field; 1] = [RESOURCES_FIELD];

static EXTERNAL_VOLUMES: Kind = Kind::Form(&forms::EXTERNAL_VOLUME);
static REVERSES: Kind = Kind::Form(&forms::REVERSE);
static SECRETS: Kind = Kind::Form(&forms::DEV_SECRET);
static FOLDERS: Kind = Kind::Form(&forms::SYNC);

static SYNC_OR_LIST: Choice = Choice {
    what: "a list of `localPath:remotePath` or a mapping",
    kinds: &[Kind::List(&FOLDERS), Kind::Object(&SYNC)],
    hint: Some("put `- ` before each entry"),
};

pub(crate) static SYNC: Object =
    Object { name: "sync", doc: "Folders that are kept the same, and how.", fields: &SYNC_FIELDS, rule: Rule::Any };

static SYNC_FIELDS: [Field; 4] = [
    field("folders", Kind::List(&FOLDERS), "The folders: `localPath:remotePath`."),
    field("compression", Kind::Bool, "Whether what is sent is compressed."),
    field("rescanInterval", Kind::Int(0, 2_147_483_647), "Seconds between two looks at all files; default 300."),
    field("verbose", Kind::Bool, "Whether the log says more."),
];

static INIT_CONTAINER: Object =
    Object { name: "initContainer", doc: "The container that prepares it.", fields: &INIT_FIELDS, rule: Rule::Any };

static INIT_FIELDS: [Field; 2] = [field("image", Kind::Text, "Its image."), RESOURCES_FIELD];

static RESOURCES: Object = Object {
    name: "resources",
    doc: "What a container asks for, and what it may use.",
    fields: &RESOURCES_FIELDS,
    rule: Rule::Any,
};

static RESOURCES_FIELDS: [Field; 2] = [
    field("requests", Kind::Map(&QUANTITIES), "What it asks for: `cpu`, `memory` and the like."),
    field("limits", Kind::Map(&QUANTITIES), "What it may use: `cpu`, `memory` and the like."),
];

static QUANTITIES: Named =
    Named { value: Kind::Form(&forms::QUANTITY), filled: Some("write it as `2`, `500m`, `1.5Gi` or `64M`") };

static METADATA: Object =
    Object { name: "metadata", doc: "What is written on a pod.", fields: &METADATA_FIELDS, rule: Rule::Any };

static METADATA_FIELDS: [Field; 2] = [LABELS, ANNOTATIONS];
const LABELS: Field = field("labels", Kind::OneOf(&PAIRS), "Labels. Values are expanded.");
const ANNOTATIONS: Field = field("annotations", Kind::OneOf(&PAIRS), "Annotations. Values are expanded.");

static PERSISTENT_VOLUME: Object = Object {
    name: "persistentVolume",
    doc: "The volume that holds what is kept the same.",
    fields: &VOLUME_FIELDS,
    rule: Rule::Any,
};

static VOLUME_FIELDS: [Field; 7] = [
    field("enabled", Kind::Bool, "Whether there is one; default `true`."),
    field("size", Kind::Form(&forms::QUANTITY), "Its size; default `5Gi`."),
    field("storageClass", Kind::Text, "Its storage class."),
    field("accessMode", Kind::Text, "Its access mode; default `ReadWriteOnce`."),
    field("volumeMode", Kind::Text, "Its volume mode; default `Filesystem`."),
    LABELS,
    ANNOTATIONS,
];

static PROBES_OR_BOOL: Choice =
    Choice { what: "a boolean or a mapping", kinds: &[Kind::Bool, Kind::Object(&PROBES)], hint: None };

static PROBES: Object =
    Object { name: "probes", doc: "Which probes of the deployment run.", fields: &PROBES_FIELDS, rule: Rule::Any };

static PROBES_FIELDS: [Field; 3] = [
    field("liveness", Kind::Bool, "Whether the liveness probe runs."),
    field("readiness", Kind::Bool, "Whether the readiness probe runs."),
    field("startup", Kind::Bool, "Whether the startup probe runs."),
];

static LIFECYCLE_OR_BOOL: Choice =
    Choice { what: "a boolean or a mapping", kinds: &[Kind::Bool, Kind::Object(&LIFECYCLE)], hint: None };

static LIFECYCLE: Object =
    Object { name: "lifecycle", doc: "Which hooks run.", fields: &LIFECYCLE_FIELDS, rule: Rule::Any };

static LIFECYCLE_FIELDS: [Field; 2] = [
    field("postStart", Kind::OneOf(&HOOK_OR_BOOL), "After the start."),
    field("preStop", Kind::OneOf(&HOOK_OR_BOOL), "Before the end."),
];

static HOOK_OR_BOOL: Choice =
    Choice { what: "a boolean or a mapping", kinds: &[Kind::Bool, Kind::Object(&HOOK)], hint: None };

static HOOK: Object = Object { name: "hook", doc: "A hook.", fields: &HOOK_FIELDS, rule: Rule::Any };

static HOOK_FIELDS: [Field; 2] = [
    field("enabled", Kind::Bool, "Whether it runs."),
    field("command", Kind::OneOf(&TEXTS), "What it runs; default what the deployment has."),
];

static TIMEOUT_OR_DURATION: Choice = Choice {
    what: "a duration or a mapping",
    kinds: &[Kind::Form(&forms::DURATION), Kind::Object(&TIMEOUT)],
    hint: None,
};

static TIMEOUT: Object = Object { name: "timeout", doc: "How long to wait.", fields: &TIMEOUT_FIELDS, rule: Rule::Any };

static TIMEOUT_FIELDS: [Field; 2] = [
    field("default", Kind::Form(&forms::DURATION), "For the container; default `1m`."),
    field("resources", Kind::Form(&forms::DURATION), "For what it needs; default `2m`."),
];

static SECURITY_CONTEXT: Object =
    Object { name: "securityContext", doc: "As whom a container runs.", fields: &SECURITY_FIELDS, rule: Rule::Any };

static SECURITY_FIELDS: [Field; 7] = [
    field("runAsUser", Kind::Int(0, i64::MAX), "The user's number; default 0."),
    field("runAsGroup", Kind::Int(0, i64::MAX), "The group's number; default the user's."),
    field("fsGroup", Kind::Int(0, i64::MAX), "The group of volumes; default the user's number."),
    field("runAsNonRoot", Kind::Bool, "Whether it must not be root."),
    field("allowPrivilegeEscalation", Kind::Bool, "Whether it may become more than it is."),
    field("readOnlyRootFilesystem", Kind::Bool, "Whether its file system is read-only."),
    field("capabilities", Kind::Object(&CAPABILITIES), "Linux capabilities."),
];

static CAPABILITIES: Object =
    Object { name: "capabilities", doc: "Linux capabilities.", fields: &CAPABILITIES_FIELDS, rule: Rule::Any };

static CAPABILITIES_FIELDS: [Field; 2] = [
    field("add", Kind::List(&Kind::Text), "Those it gets."),
    field("drop", Kind::List(&Kind::Text), "Those it loses."),
];

static TAINTS: Kind = Kind::Object(&TOLERATION);

static TOLERATION: Object =
    Object { name: "toleration", doc: "A taint that does not matter.", fields: &TOLERATION_FIELDS, rule: Rule::Any };

static TOLERATION_FIELDS: [Field; 6] = [
    field("key", Kind::Text, "The taint's key."),
    field("operator", Kind::Text, "`Equal`, the default, or `Exists`."),
    field("value", Kind::Text, "The taint's value."),
    field("effect", Kind::Text, "The taint's effect; default all."),
    field("tolerationSeconds", Kind::Int(i64::MIN, i64::MAX), "For how long."),
    field("tolerationseconds", Kind::Int(i64::MIN, i64::MAX), "The same, as Okteto spells it."),
];
