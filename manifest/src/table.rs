//! The manifests of `tests/table`, good and bad, and what becomes of each.

use std::{fmt::Write, fs, path::Path};

use serde_json::Value;

use crate::{
    Manifest, Parsed, Plan, Problems, Selection, Variables, json_schema,
    plan::{BuildMode, JobKind, PlanError},
    problem::Report,
    yaml::{self, Kind, Node, Scalar, ScalarKind},
};

/// One manifest.
struct Case {
    name: String,
    text: String,
    variables: Variables,
    /// The schema takes it: what is wrong only the parser can know.
    only_parser: bool,
}

/// The cases of one file.
fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.split_inclusive('\n') {
        let Some(title) = line.strip_prefix("=== ") else {
            cases.last_mut().unwrap().text.push_str(line);
            continue;
        };
        let (name, words) = title.trim_end().split_once(" | ").unwrap_or((title.trim_end(), ""));
        let words: Vec<&str> = words.split_whitespace().collect();
        let pairs = words.iter().filter_map(|word| word.split_once('='));
        cases.push(Case {
            name: name.to_owned(),
            text: String::new(),
            variables: Variables::default()
                .with_environment(pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))),
            only_parser: words.contains(&"parser"),
        });
    }
    cases
}

/// The cases of all files of a folder, by the file's name.
fn files(folder: &str) -> Vec<(String, Vec<Case>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/table").join(folder);
    let mut files: Vec<(String, Vec<Case>)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), cases(&fs::read_to_string(path).unwrap())))
        .collect();
    files.sort_by(|left, right| left.0.cmp(&right.0));
    files
}

/// What JSON tools see. `None`: it is no YAML.
pub(crate) fn to_json(text: &str) -> Option<Value> {
    fn value(node: &Node) -> Value {
        match &node.kind {
            Kind::Scalar(Scalar { kind: ScalarKind::Null, .. }) => Value::Null,
            Kind::Scalar(Scalar { kind: ScalarKind::Bool(value), .. }) => Value::from(*value),
            Kind::Scalar(Scalar { kind: ScalarKind::Int(value), .. }) => Value::from(*value),
            Kind::Scalar(Scalar { kind: ScalarKind::Float(value), .. }) => Value::from(*value),
            Kind::Scalar(scalar) => Value::from(scalar.text.clone()),
            Kind::Sequence(items) => items.iter().map(value).collect(),
            Kind::Mapping(entries) => {
                Value::Object(entries.iter().map(|entry| (entry.key.clone(), value(&entry.value))).collect())
            }
        }
    }
    let mut report = Report::new("");
    let root = yaml::load(text, &mut report);
    if report.has_errors() { None } else { root.map(|root| value(&root)) }
}

/// Without what says nothing.
fn pruned(value: Value) -> Value {
    let says = |key: &str, value: &Value| match value {
        Value::Null => false,
        // Unlike the others it is not the default.
        Value::Bool(said) => *said || key == "remote",
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    };
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(key, value)| (key, pruned(value)));
            Value::Object(fields.filter(|(key, value)| says(key, value)).collect())
        }
        Value::Array(items) => items.into_iter().map(pruned).collect(),
        value => value,
    }
}

/// The plan of every kind of job that there is something to do for.
pub(crate) fn plans(manifest: &Manifest, variables: &Variables) -> Result<String, Problems> {
    let mut found = String::new();
    for kind in [JobKind::Build, JobKind::Deploy, JobKind::Destroy, JobKind::Test] {
        let mut selection = Selection::build("folder", Vec::new());
        selection.kind = kind;
        if kind != JobKind::Build {
            selection.build = BuildMode::IfMissing;
        }
        // Without anything of its own it is what `build` does, or nothing.
        let deploys = manifest.deploy.is_some() || !manifest.dependencies.is_empty() || !manifest.external.is_empty();
        if (kind == JobKind::Deploy && !deploys) || (kind == JobKind::Destroy && manifest.destroy.is_none()) {
            continue;
        }
        let (plan, warnings) = match Plan::new(manifest, &selection, variables) {
            Ok(planned) => planned,
            Err(PlanError::Problems(problems)) => return Err(problems),
            Err(PlanError::NothingToBuild { .. } | PlanError::NoSection { .. }) => continue,
            Err(error) => {
                let _ = writeln!(found, "{kind}: error: {error}");
                continue;
            }
        };
        assert_eq!(plan.validate(), Ok(()), "{kind} of {}", manifest.source);
        let mut plan = pruned(serde_json::to_value(&plan).unwrap());
        let builds = plan["builds"].take();
        let _ = writeln!(found, "{kind}: {}", pruned(plan));
        for build in builds.as_array().into_iter().flatten() {
            let _ = writeln!(found, "  image {build}");
        }
        for warning in &warnings {
            let _ = writeln!(found, "  warning: {warning}");
        }
    }
    Ok(found)
}

/// What no plan has.
fn rest(manifest: &Manifest) -> String {
    let mut found = String::new();
    if let Some(deploy) = &manifest.deploy {
        deploy.compose.iter().for_each(|part| writeln!(found, "{part:?}").unwrap());
        deploy.endpoints.iter().for_each(|part| writeln!(found, "{part:?}").unwrap());
        deploy.divert.iter().for_each(|part| writeln!(found, "{part:?}").unwrap());
    }
    manifest.destroy.iter().for_each(|part| writeln!(found, "destroy {part:?}").unwrap());
    manifest.tests.iter().for_each(|part| writeln!(found, "{part:?}").unwrap());
    manifest.dependencies.iter().for_each(|part| writeln!(found, "{part:?}").unwrap());
    for external in &manifest.external {
        writeln!(found, "{external:?}").unwrap();
        for endpoint in &external.endpoints {
            writeln!(found, "  {}", external.variable(&endpoint.name.value)).unwrap();
        }
    }
    manifest.dev.iter().for_each(|part| writeln!(found, "{part:?}").unwrap());
    manifest.forward.iter().for_each(|part| writeln!(found, "{part:?}").unwrap());
    manifest.icon.iter().for_each(|part| writeln!(found, "icon {part:?}").unwrap());
    found
}

pub(crate) fn snapshot(folder: &str, name: &str, text: &str) {
    insta::with_settings!({
        snapshot_path => "../tests/table/snapshots",
        prepend_module_to_snapshot => false,
        omit_expression => true,
        filters => vec![
            (r#"Text \{ value: ("(?:[^"\\]|\\.)*"), place: Place \{ line: (\d+), column: (\d+) \} \}"#, "$1 ($2:$3)"),
            (r"place: Place \{ line: (\d+), column: (\d+) \}", "($1:$2)"),
        ],
    }, {
        insta::assert_snapshot!(format!("{folder}-{name}"), text);
    });
}

#[test]
fn good_ones_have_plans() {
    let schema = jsonschema::validator_for(&json_schema()).unwrap();
    for (file, cases) in files("good") {
        let mut found = String::new();
        for Case { name, text, variables, .. } in cases {
            let parsed = Manifest::parse(&text, "okteto.yaml").and_then(Parsed::for_everybody);
            let (manifest, warnings) = parsed.unwrap_or_else(|problems| panic!("{name}: {problems}"));
            let json = to_json(&text).unwrap();
            assert!(schema.is_valid(&json), "{name}: {:?}", schema.iter_errors(&json).collect::<Vec<_>>());
            let _ = writeln!(found, "=== {name}");
            for warning in warnings {
                let _ = writeln!(found, "{}", warning.render_warning(&text));
            }
            let plans = plans(&manifest, &variables).unwrap_or_else(|problems| panic!("{name}: {problems}"));
            let _ = writeln!(found, "{plans}{}", rest(&manifest));
        }
        snapshot("good", &file, &found);
    }
}

#[test]
fn bad_ones_are_explained() {
    let schema = jsonschema::validator_for(&json_schema()).unwrap();
    for (file, cases) in files("bad") {
        let mut found = String::new();
        for Case { name, text, variables, only_parser } in cases {
            let messages = match Manifest::parse(&text, "okteto.yaml").and_then(Parsed::for_everybody) {
                Err(problems) => problems.render(&text),
                Ok((manifest, _)) => match plans(&manifest, &variables) {
                    Err(problems) => problems.render(&text),
                    Ok(plans) if plans.contains("error: ") => plans,
                    Ok(plans) => panic!("{name} has a plan: {plans}"),
                },
            };
            // What is no YAML no schema sees.
            if let Some(json) = to_json(&text) {
                assert_eq!(schema.is_valid(&json), only_parser, "the schema on {name}: {text}");
            }
            let _ = writeln!(found, "=== {name}\n{messages}\n");
        }
        snapshot("bad", &file, &found);
    }
}

#[test]
fn there_are_enough_of_them() {
    let count = |folder| files(folder).iter().map(|(_, cases)| cases.len()).sum::<usize>();
    let (good, bad) = (count("good"), count("bad"));
    assert!(good + bad >= 150, "{good} good and {bad} bad");
}
