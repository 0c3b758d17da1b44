//! The shape as a JSON schema, for editors.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Field, Form, Kind, MANIFEST, Named, Object, Rule, check::takes_null, forms::Numbers};

/// The JSON schema (draft 2020-12) of a manifest; `okteto.schema.json` is a copy of it.
///
/// What it refuses the parser refuses. Some things only the parser can know: that services and tests exist that others
/// depend on, and not in a circle; that names can be those of images, arguments and secrets; that texts mean something once
/// their variables are expanded; and mistakes in YAML itself, such as a key that is there twice.
pub fn json_schema() -> Value {
    let mut definitions = BTreeMap::new();
    let root = object(&MANIFEST, &mut definitions);
    let mut schema = Map::from_iter([
        ("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema")),
        ("title".to_owned(), json!("okteto.yaml")),
    ]);
    if let Value::Object(root) = root {
        schema.extend(root);
    }
    let definitions: Map<String, Value> =
        definitions.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    schema.insert("$defs".to_owned(), Value::Object(definitions));
    Value::Object(schema)
}

type Definitions = BTreeMap<&'static str, Value>;

/// A value that null can't stand for.
fn kind(kind: &Kind, definitions: &mut Definitions) -> Value {
    match kind {
        Kind::Text => json!({"type": ["string", "number", "boolean"]}),
        // In every line terminator's sense: `\S` is what is more than white space.
        Kind::Filled(_) => json!({"type": ["string", "number", "boolean"], "pattern": "\\S"}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Int(from, to) => {
            let mut schema = json!({"type": "integer"});
            if *from != i64::MIN {
                schema["minimum"] = json!(from);
            }
            if *to != i64::MAX {
                schema["maximum"] = json!(to);
            }
            schema
        }
        Kind::Word(words) => json!({"enum": words.iter().copied().chain([""]).collect::<Vec<_>>()}),
        Kind::Form(form) => form_schema(form),
        Kind::List(item) => json!({"type": "array", "items": nullable(item, definitions)}),
        Kind::Map(named) => map(named, definitions),
        Kind::Object(shape) => reference(shape, definitions),
        Kind::OneOf(choice) => match choice.kinds {
            [only] => self::kind(only, definitions),
            kinds => json!({"anyOf": kinds.iter().map(|each| self::kind(each, definitions)).collect::<Vec<_>>()}),
        },
        Kind::Either(shape, named) => {
            let keys: Vec<&str> = shape.fields.iter().map(|field| field.key).collect();
            json!({
                "if": {"propertyNames": {"enum": keys}},
                "then": reference(shape, definitions),
                "else": map(named, definitions),
            })
        }
    }
}

/// The same, or null where the kind takes it.
fn nullable(of: &Kind, definitions: &mut Definitions) -> Value {
    let schema = kind(of, definitions);
    if takes_null(of) { or_null(schema) } else { schema }
}

fn or_null(mut schema: Value) -> Value {
    match schema.get_mut("type") {
        Some(Value::Array(types)) => types.push(json!("null")),
        Some(single) => *single = json!([single.clone(), "null"]),
        None => match schema.get_mut("anyOf").or(None) {
            Some(Value::Array(kinds)) => kinds.push(json!({"type": "null"})),
            _ => {
                if let Some(Value::Array(words)) = schema.get_mut("enum") {
                    words.push(Value::Null);
                } else {
                    schema = json!({"anyOf": [schema, {"type": "null"}]});
                }
            }
        },
    }
    schema
}

fn form_schema(form: &Form) -> Value {
    let text = json!({"type": "string", "pattern": form.pattern, "examples": form.examples});
    match form.numbers {
        Numbers::None => text,
        Numbers::Natural => json!({"anyOf": [text, {"type": "integer", "minimum": 0}]}),
        Numbers::All => json!({"anyOf": [text, {"type": "number"}]}),
    }
}

fn map(named: &Named, definitions: &mut Definitions) -> Value {
    let value = match named.filled {
        Some(_) => kind(&named.value, definitions),
        None => nullable(&named.value, definitions),
    };
    json!({"type": "object", "additionalProperties": value})
}

fn reference(shape: &'static Object, definitions: &mut Definitions) -> Value {
    if !definitions.contains_key(shape.name) {
        // Before its fields, which may hold it again.
        definitions.insert(shape.name, Value::Null);
        let schema = object(shape, definitions);
        definitions.insert(shape.name, schema);
    }
    json!({"$ref": format!("#/$defs/{}", shape.name)})
}

fn object(shape: &'static Object, definitions: &mut Definitions) -> Value {
    let mut properties = Map::new();
    for field in shape.fields {
        properties.insert(field.key.to_owned(), property(field, definitions));
    }
    let mut schema = json!({
        "description": shape.doc,
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    let required: Vec<&str> = shape.fields.iter().filter(|field| field.required).map(|field| field.key).collect();
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    let there = |key: &&str| json!({"required": [key], "properties": {*key: {"not": {"enum": [null, ""]}}}});
    match shape.rule {
        Rule::Any => {}
        Rule::One(keys) => schema["oneOf"] = keys.iter().map(there).collect(),
        Rule::AtMostOne(keys) => schema["not"] = json!({"allOf": keys.iter().map(there).collect::<Vec<_>>()}),
    }
    schema
}

fn property(field: &'static Field, definitions: &mut Definitions) -> Value {
    let mut schema = kind(&field.kind, definitions);
    if field.required {
        filled(&mut schema);
    } else {
        schema = or_null(schema);
    }
    if let Value::Object(schema) = &mut schema {
        schema.insert("description".to_owned(), json!(field.doc));
        if field.doc.contains("Deprecated.") {
            schema.insert("deprecated".to_owned(), json!(true));
        }
    }
    schema
}

/// A value that must not be empty.
fn filled(schema: &mut Value) {
    let Value::Object(schema) = schema else { return };
    match schema.get("type") {
        Some(Value::Array(_)) => {
            schema.insert("pattern".to_owned(), json!("\\S"));
        }
        Some(Value::String(kind)) if kind == "array" => {
            schema.insert("minItems".to_owned(), json!(1));
        }
        _ => {}
    }
}
