//! `docs/manifest.md`: its tables are made from the shape, and its examples are manifests.

use std::{collections::BTreeSet, env, fmt::Write, fs, path::PathBuf};

use super::{Kind, MANIFEST, Named, Object, tests::objects};
use crate::{
    Manifest, Variables,
    problem::Report,
    table,
    yaml::{self, Node},
};

static ROOT: Kind = Kind::Object(&MANIFEST);

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/manifest.md")
}

/// What a value is, in a word or two.
fn holds(kind: &Kind) -> String {
    match kind {
        Kind::Text | Kind::Filled(_) => "text".to_owned(),
        Kind::Bool => "boolean".to_owned(),
        Kind::Int(..) => "number".to_owned(),
        Kind::Word(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or "),
        Kind::Form(form) if form.what.starts_with('`') => "text".to_owned(),
        Kind::Form(form) => form.what.trim_start_matches("a ").to_owned(),
        Kind::List(item) => match item {
            Kind::Object(_) => "list of mappings".to_owned(),
            _ => "list".to_owned(),
        },
        Kind::Map(Named { value, .. }) => match value {
            Kind::Text => "texts by name".to_owned(),
            _ => "mapping".to_owned(),
        },
        Kind::Object(_) | Kind::Either(..) => "mapping".to_owned(),
        Kind::OneOf(choice) => {
            let mut kinds: Vec<String> = choice.kinds.iter().map(holds).collect();
            kinds.dedup();
            kinds.join(", ")
        }
    }
}

fn table(object: &Object) -> String {
    let mut table = "| key | holds | |\n|---|---|---|\n".to_owned();
    for field in object.fields {
        let needed = if field.required { "; needed" } else { "" };
        let _ = writeln!(table, "| `{}` | {}{needed} | {} |", field.key, holds(&field.kind), field.doc);
    }
    table
}

/// `SLIPWAY_REGENERATE=1 cargo test -p slipway-manifest` makes them again.
#[test]
fn the_tables_are_up_to_date() {
    let kept = fs::read_to_string(path()).unwrap();
    let mut made = String::new();
    let mut named = BTreeSet::new();
    let mut inside = false;
    for line in kept.lines() {
        inside &= line != "<!-- end -->";
        if inside {
            continue;
        }
        made.push_str(line);
        made.push('\n');
        let name = line.strip_prefix("<!-- fields: ").and_then(|rest| rest.strip_suffix(" -->"));
        if let Some(name) = name {
            let object = objects().into_iter().find(|object| object.name == name);
            made.push_str(&table(object.unwrap_or_else(|| panic!("nothing is named {name}"))));
            named.insert(name.to_owned());
            inside = true;
        }
    }
    let missing: Vec<&str> = objects().iter().map(|object| object.name).filter(|name| !named.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?} are not in docs/manifest.md");
    if env::var_os("SLIPWAY_REGENERATE").is_some() {
        fs::write(path(), &made).unwrap();
    } else {
        assert!(kept == made, "docs/manifest.md: run the test again with SLIPWAY_REGENERATE=1");
    }
}

/// Blocks of YAML, each with the heading it is below.
fn examples() -> Vec<(String, String)> {
    let text = fs::read_to_string(path()).unwrap();
    let (mut heading, mut found) = (String::new(), Vec::new());
    let mut block: Option<String> = None;
    for line in text.lines() {
        match &mut block {
            Some(lines) if line != "```" => {
                lines.push_str(line);
                lines.push('\n');
            }
            Some(_) => found.push((heading.clone(), block.take().unwrap())),
            None if line == "```yaml" => block = Some(String::new()),
            None if line.starts_with('#') => line.trim_start_matches(['#', ' ']).clone_into(&mut heading),
            None => {}
        }
    }
    found
}

#[test]
fn every_example_has_a_plan_and_every_field_an_example() {
    let schema = jsonschema::validator_for(&super::json_schema()).unwrap();
    let mut used = BTreeSet::new();
    let mut found = String::new();
    for (heading, text) in examples() {
        let parsed = Manifest::parse(&text, "okteto.yaml").unwrap_or_else(|problems| panic!("{heading}: {problems}"));
        assert_eq!((&parsed.warnings, &parsed.problems), (&Vec::new(), &Vec::new()), "{heading}");
        assert!(schema.is_valid(&table::to_json(&text).unwrap()), "{heading}");
        let plans = table::plans(&parsed.manifest, &Variables::default()).unwrap();
        let _ = writeln!(found, "=== {heading}\n{plans}");
        let root = yaml::load(&text, &mut Report::new("")).unwrap();
        walk(&root, &ROOT, &mut used);
    }
    table::snapshot("docs", "manifest", &found);
    for object in objects() {
        for field in object.fields {
            // The one key that is there to be refused.
            let used = used.contains(&(object.name, field.key)) || (object.name, field.key) == ("dev", "replicas");
            assert!(used, "no example has `{}` of {}", field.key, object.name);
        }
    }
}

/// Which keys of which mappings are used.
fn walk(node: &Node, kind: &'static Kind, used: &mut BTreeSet<(&'static str, &'static str)>) {
    let named = |named: &'static Named, used: &mut _| {
        node.entries().iter().for_each(|entry| walk(&entry.value, &named.value, used));
    };
    match kind {
        Kind::Text | Kind::Filled(_) | Kind::Bool | Kind::Int(..) | Kind::Word(_) | Kind::Form(_) => {}
        Kind::List(item) => node.items().iter().for_each(|node| walk(node, item, used)),
        Kind::Map(map) => named(map, used),
        Kind::Object(object) => {
            for entry in node.entries() {
                let Some(field) = object.fields.iter().find(|field| field.key == entry.key) else { continue };
                used.insert((object.name, field.key));
                walk(&entry.value, &field.kind, used);
            }
        }
        Kind::OneOf(choice) => choice.kinds.iter().for_each(|kind| walk(node, kind, used)),
        Kind::Either(object, map) => {
            if node.entries().iter().all(|entry| object.has(&entry.key)) {
                for entry in node.entries() {
                    let Some(field) = object.fields.iter().find(|field| field.key == entry.key) else { continue };
                    used.insert((object.name, field.key));
                    walk(&entry.value, &field.kind, used);
                }
            } else {
                named(map, used);
            }
        }
    }
}
