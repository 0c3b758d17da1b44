//! `affinity` of a development container: Kubernetes' own shape.

use super::{Field, Kind, Object, Rule, VALUES, field};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) static AFFINITY: Object =
    Object { name: "affinity", doc: "On which nodes a pod may run.", fields: &FIELDS, rule: Rule::Any };

static FIELDS: [Field; 3] = [
    field("nodeAffinity", Kind::Object(&NODE_AFFINITY), "By labels of the nodes."),
    field("podAffinity", Kind::Object(&POD_AFFINITY), "Where certain pods are."),
    field("podAntiAffinity", Kind::Object(&POD_AFFINITY), "Where certain pods are not."),
];

static NODE_AFFINITY: Object =
    Object { name: "nodeAffinity", doc: "By labels of the nodes.", fields: &NODE_FIELDS, rule: Rule::Any };

static NODE_FIELDS: [Field; 2] = [
    field(REQUIRED, Kind::Object(&NODE_SELECTOR), "What must be so."),
    field(PREFERRED, Kind::List(&Kind::Object(&PREFERRED_TERM)), "What should be so."),
];

static NODE_SELECTOR: Object = Object {
    name: "nodeSelector",
    doc: "Terms of which one must fit.",
    fields: &NODE_SELECTOR_FIELDS,
    rule: Rule::Any,
};

static NODE_SELECTOR_FIELDS: [Field; 1] =
    [field("nodeSelectorTerms", Kind::List(&Kind::Object(&NODE_TERM)), "The terms.")];

static NODE_TERM: Object =
    Object { name: "nodeSelectorTerm", doc: "What must all fit.", fields: &NODE_TERM_FIELDS, rule: Rule::Any };

static NODE_TERM_FIELDS: [Field; 2] = [
    field("matchExpressions", Kind::List(&Kind::Object(&REQUIREMENT)), "On labels."),
    field("matchFields", Kind::List(&Kind::Object(&REQUIREMENT)), "On fields."),
];

static REQUIREMENT: Object =
    Object { name: "requirement", doc: "What a label must be.", fields: &REQUIREMENT_FIELDS, rule: Rule::Any };

static REQUIREMENT_FIELDS: [Field; 3] = [
    field("key", Kind::Text, "The label."),
    field("operator", Kind::Text, "`In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt` or `Lt`."),
    field("values", Kind::List(&Kind::Text), "The values."),
];

static PREFERRED_TERM: Object =
    Object { name: "preferredTerm", doc: "What should fit, and how much.", fields: &PREFERRED_FIELDS, rule: Rule::Any };

static PREFERRED_FIELDS: [Field; 2] = [
    field("preference", Kind::Object(&NODE_TERM), "What should fit."),
    field("weight", Kind::Int(-2_147_483_648, 2_147_483_647), "How much, from 1 to 100."),
];

static POD_AFFINITY: Object =
    Object { name: "podAffinity", doc: "By what runs on the nodes.", fields: &POD_FIELDS, rule: Rule::Any };

static POD_FIELDS: [Field; 2] = [
    field(REQUIRED, Kind::List(&Kind::Object(&POD_TERM)), "What must be so."),
    field(PREFERRED, Kind::List(&Kind::Object(&WEIGHTED_TERM)), "What should be so."),
];

static POD_TERM: Object = Object {
    name: "podAffinityTerm",
    doc: "Pods, and how far they may be.",
    fields: &POD_TERM_FIELDS,
    rule: Rule::Any,
};

static POD_TERM_FIELDS: [Field; 3] = [
    field("labelSelector", Kind::Object(&LABEL_SELECTOR), "The pods."),
    field("topologyKey", Kind::Text, "The label of nodes that are the same place."),
    field("namespaces", Kind::List(&Kind::Text), "Their namespaces."),
];

static WEIGHTED_TERM: Object =
    Object { name: "weightedTerm", doc: "What should fit, and how much.", fields: &WEIGHTED_FIELDS, rule: Rule::Any };

static WEIGHTED_FIELDS: [Field; 2] = [
    field("podAffinityTerm", Kind::Object(&POD_TERM), "What should fit."),
    field("weight", Kind::Int(-2_147_483_648, 2_147_483_647), "How much, from 1 to 100."),
];

static LABEL_SELECTOR: Object =
    Object { name: "labelSelector", doc: "Labels that must all fit.", fields: &LABEL_FIELDS, rule: Rule::Any };

static LABEL_FIELDS: [Field; 2] = [
    field("matchLabels", Kind::Map(&VALUES), "Labels and their values."),
    field("matchExpressions", Kind::List(&Kind::Object(&REQUIREMENT)), "What labels must be."),
];
