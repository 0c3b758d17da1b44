//! The schema beside the parser, on texts and manifests that are made from the shape.

use std::{cell::Cell, env, fs, path::Path};

use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Map, Value, json};

use super::{Choice, Form, Kind, MANIFEST, Named, Object, Rule, forms, json_schema};
use crate::{Manifest, Parsed};

/// A copy for editors. `SLIPWAY_REGENERATE=1 cargo test -p slipway-manifest` writes it again.
#[test]
fn the_schema_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("okteto.schema.json");
    let made = format!("{}\n", serde_json::to_string_pretty(&json_schema()).unwrap());
    if env::var_os("SLIPWAY_REGENERATE").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap();
    assert!(kept == made, "{}: run the test again with SLIPWAY_REGENERATE=1", path.display());
}

#[test]
fn the_schema_is_one() {
    assert!(jsonschema::meta::is_valid(&json_schema()));
}

pub(super) fn objects() -> Vec<&'static Object> {
    let mut found: Vec<&'static Object> = Vec::new();
    let mut open = vec![&MANIFEST];
    while let Some(object) = open.pop() {
        if found.iter().any(|known| std::ptr::eq(*known, object)) {
            continue;
        }
        found.push(object);
        let mut kinds: Vec<&'static Kind> = object.fields.iter().map(|field| &field.kind).collect();
        while let Some(kind) = kinds.pop() {
            match kind {
                Kind::List(item) => kinds.push(item),
                Kind::Map(named) => kinds.push(&named.value),
                Kind::Object(object) => open.push(object),
                Kind::OneOf(choice) => kinds.extend(choice.kinds),
                Kind::Either(object, named) => {
                    open.push(object);
                    kinds.push(&named.value);
                }
                Kind::Text | Kind::Filled(_) | Kind::Bool | Kind::Int(..) | Kind::Word(_) | Kind::Form(_) => {}
            }
        }
    }
    found
}

#[test]
fn names_and_keys_are_there_once_and_explained() {
    let objects = objects();
    for (index, object) in objects.iter().enumerate() {
        assert!(objects[..index].iter().all(|other| other.name != object.name), "{}", object.name);
        assert!(object.doc.ends_with('.'), "{}", object.name);
        for (index, field) in object.fields.iter().enumerate() {
            assert!(object.fields[..index].iter().all(|other| other.key != field.key), "{}", field.key);
            assert!(field.doc.ends_with('.'), "{}.{}", object.name, field.key);
        }
        if let Rule::One(keys) | Rule::AtMostOne(keys) = object.rule {
            assert!(keys.iter().all(|key| object.has(key)), "{}", object.name);
        }
    }
}

/// What a choice promises: the kind of YAML tells which of them it is.
#[test]
fn choices_are_told_apart() {
    for object in objects() {
        for field in object.fields {
            let Kind::OneOf(Choice { kinds, .. }) = field.kind else { continue };
            let scalar = |kind: &&Kind| {
                !matches!(kind, Kind::List(_) | Kind::Map(_) | Kind::Object(_) | Kind::Either(..) | Kind::OneOf(_))
            };
            let list = |kind: &&Kind| matches!(kind, Kind::List(_));
            assert!(kinds.iter().filter(scalar).count() <= 1, "{}", field.key);
            assert!(kinds.iter().filter(list).count() <= 1, "{}", field.key);
            assert!(kinds.iter().filter(|kind| !scalar(kind) && !list(kind)).count() <= 1, "{}", field.key);
        }
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, max_shrink_iters: 3000, failure_persistence: None, ..ProptestConfig::default() }
}

fn all_forms() -> [(&'static Form, &'static str); 9] {
    let path = "[0-9a-z./$:-]{0,8}";
    [
        (&forms::DURATION, "[0-9.]{0,3}(ns|us|µs|ms|s|m|h|x|)([0-9.]{0,2}[smh]?)?"),
        (&forms::FORWARD, "[0-9]{0,6}:?[a-z]{0,2}:?[0-9]{0,6}"),
        (&forms::GLOBAL_FORWARD, "[0-9]{0,6}:?[a-z]{0,2}:?[0-9]{0,6}"),
        (&forms::REVERSE, "[0-9]{0,6}:?[0-9]{0,6}"),
        (&forms::SYNC, path),
        (&forms::EXTERNAL_VOLUME, path),
        (&forms::DEV_SECRET, "[a-z/$]{0,2}(:[a-z/]{0,2}){0,3}(:[0-9]{0,3})?"),
        (&forms::QUANTITY, "[+-]?[0-9.]{0,4}(|n|u|m|k|M|Mi|Ei|e[0-9]|E-1|x|ki)"),
        (&forms::HOST, "[ a$]{0,3}:?[ 0-9.:]{0,4}"),
    ]
}

#[test]
fn patterns_mean_what_the_parser_checks() {
    for (form, texts) in all_forms() {
        let schema = jsonschema::validator_for(&json!({"type": "string", "pattern": form.pattern})).unwrap();
        TestRunner::new(config(1000))
            .run(&texts, |text| {
                let matches = (form.matches)(&text);
                prop_assert_eq!(schema.is_valid(&json!(text)), matches, "{:?} as {:?}", text, form);
                Ok(())
            })
            .unwrap();
        for example in form.examples {
            assert!((form.matches)(example) && schema.is_valid(&json!(example)), "{example:?} as {form:?}");
        }
    }
}

/// A value of the kind, or, seldom, one that is not.
fn values(kind: &'static Kind, depth: usize) -> BoxedStrategy<Value> {
    let good = good_values(kind, depth);
    prop_oneof![30 => good, 1 => any_value()].boxed()
}

fn any_value() -> BoxedStrategy<Value> {
    let value = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3..70_000_i64).prop_map(Value::from),
        Just(json!(1.5)),
        "[a-z: ]{0,3}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!(["x"])),
        Just(json!({"x": "y"})),
    ];
    value.boxed()
}

fn good_values(kind: &'static Kind, depth: usize) -> BoxedStrategy<Value> {
    match kind {
        Kind::Text => {
            prop_oneof!["[a-z./-]{0,6}".prop_map(Value::from), any::<bool>().prop_map(Value::from), Just(json!(7))]
                .boxed()
        }
        Kind::Filled(_) => "[a-z ]{0,5}".prop_map(Value::from).boxed(),
        Kind::Bool => any::<bool>().prop_map(Value::from).boxed(),
        Kind::Int(from, to) => {
            (from.saturating_sub(1)..=to.saturating_add(1).min(100_000)).prop_map(Value::from).boxed()
        }
        Kind::Word(words) => prop::sample::select(*words).prop_map(Value::from).boxed(),
        Kind::Form(form) => prop::sample::select(form.examples).prop_map(Value::from).boxed(),
        Kind::List(_) | Kind::Map(_) | Kind::Either(..) if depth == 0 => Just(Value::Null).boxed(),
        Kind::List(item) => prop::collection::vec(values(item, depth - 1), 0..3).prop_map(Value::from).boxed(),
        Kind::Map(named) => map(named, depth),
        Kind::Object(object) => fields(object, depth),
        Kind::OneOf(choice) => {
            let kinds = choice.kinds.iter().map(|kind| good_values(kind, depth)).collect::<Vec<_>>();
            prop::sample::select((0..kinds.len()).collect::<Vec<_>>())
                .prop_flat_map(move |at| kinds[at].clone())
                .boxed()
        }
        Kind::Either(object, named) => prop_oneof![fields(object, depth), map(named, depth)].boxed(),
    }
}

fn map(named: &'static Named, depth: usize) -> BoxedStrategy<Value> {
    let entries = prop::collection::btree_map("[a-c]{1,2}", values(&named.value, depth - 1), 0..3);
    entries.prop_map(|entries| Value::Object(entries.into_iter().collect())).boxed()
}

fn fields(object: &'static Object, depth: usize) -> BoxedStrategy<Value> {
    if depth == 0 {
        return Just(json!({})).boxed();
    }
    let needed: Vec<usize> = (0..object.fields.len()).filter(|at| object.fields[*at].required).collect();
    let some = prop::sample::subsequence((0..object.fields.len()).collect::<Vec<_>>(), 0..=object.fields.len().min(4));
    let unknown = prop::option::weighted(0.01, "[a-z]{1,4}");
    (some, unknown, prop::bool::weighted(0.97))
        .prop_flat_map(move |(mut chosen, unknown, complete)| {
            if complete {
                chosen.extend(&needed);
                chosen.sort_unstable();
                chosen.dedup();
                if let Rule::One(keys) | Rule::AtMostOne(keys) = object.rule {
                    let mut seen = false;
                    chosen.retain(|at| !keys.contains(&object.fields[*at].key) || !std::mem::replace(&mut seen, true));
                }
            }
            let chosen: Vec<_> = chosen
                .into_iter()
                .map(|at| {
                    let field = &object.fields[at];
                    values(&field.kind, depth - 1).prop_map(|value| (field.key.to_owned(), value)).boxed()
                })
                .chain(unknown.map(|key| Just((key, Value::Null)).boxed()))
                .collect();
            chosen.prop_map(|entries| Value::Object(Map::from_iter(entries)))
        })
        .boxed()
}

/// Problems that no schema can see; `json_schema` says which there are.
const ONLY_THE_PARSER: [&str; 25] = [
    " depends on `",
    " depends on itself",
    "dependency cycle",
    "are both named",
    "is named",
    "invalid service name",
    "has no name",
    "can't be the",
    "makes no sense with the driver",
    "which the driver",
    "can't stand beside",
    "two endpoints named",
    "is not an IP address",
    "has no `:`",
    "and no `sync`",
    "set by the service",
    "secret's id",
    "can't be the name of a deployment",
    "user 0 is root",
    "needs the persistent volume",
    "a secret's remote path",
    "two secrets end in",
    "a path in the container",
    "only `services` have replicas",
    "which is to hold the URL of",
];

#[test]
fn parser_and_schema_agree_on_what_the_shape_makes() {
    let schema = jsonschema::validator_for(&json_schema()).unwrap();
    let (accepted, refused) = (Cell::new(0), Cell::new(0));
    TestRunner::new(config(3000))
        .run(&fields(&MANIFEST, 7), |manifest| {
            // JSON is YAML.
            let text = serde_json::to_string(&manifest).unwrap();
            match Manifest::parse(&text, "okteto.yaml").and_then(Parsed::for_everybody) {
                Ok(_) => {
                    accepted.set(accepted.get() + 1);
                    prop_assert!(schema.is_valid(&manifest), "the schema refuses {text}");
                }
                Err(problems) => {
                    refused.set(refused.get() + 1);
                    let structural: Vec<_> = problems
                        .iter()
                        .filter(|problem| !ONLY_THE_PARSER.iter().any(|part| problem.message.contains(part)))
                        .collect();
                    let valid = schema.is_valid(&manifest);
                    prop_assert_eq!(valid, structural.is_empty(), "{}\n{}", text, problems);
                }
            }
            Ok(())
        })
        .unwrap();
    let (accepted, refused) = (accepted.get(), refused.get());
    assert!(accepted > 300 && refused > 300, "{accepted} accepted, {refused} refused");
}
