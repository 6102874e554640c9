//! `docs/policy.schema.json`, made from the table of the format, and whether it is what it would be made to be.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::format::{Kind, ROOT, Shape, VERSION};

/// The JSON Schema of the format.
fn schema() -> Value {
    let mut root = table(&ROOT);
    root["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    root["title"] = "The policy of Sonde (policy.toml)".into();
    root
}

fn table(shape: &Shape) -> Value {
    let keys = shape.keys.iter().map(|key| {
        let mut value = kind(&key.kind);
        value["description"] = key.meaning.into();
        (key.name.to_owned(), value)
    });
    let properties: Map<String, Value> = keys.collect();
    let required: Vec<&str> = shape.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let mut table = json!({ "type": "object", "additionalProperties": false, "properties": properties });
    if !required.is_empty() {
        table["required"] = json!(required);
    }
    table
}

fn kind(kind: &Kind) -> Value {
    let texts = json!({ "type": "array", "items": { "type": "string" } });
    match kind {
        Kind::Version => json!({ "const": VERSION }),
        Kind::Word(words) => json!({ "enum": words }),
        Kind::Words(words) => json!({ "type": "array", "items": { "enum": words } }),
        Kind::Text => json!({ "type": "string" }),
        Kind::Texts => texts,
        Kind::Patterns => json!({ "anyOf": [{ "type": "string" }, texts] }),
        Kind::Size => json!({ "anyOf": [
            { "type": "integer", "minimum": 0 },
            { "type": "string", "pattern": "^[0-9]+ *([kMGT]|[KMGT]i)?B$" },
        ] }),
        Kind::Count => json!({ "type": "integer", "minimum": 0 }),
        Kind::Switch => json!({ "type": "boolean" }),
        Kind::Table(shape) => table(shape),
        Kind::Tables(shape) => json!({ "type": "array", "items": table(shape) }),
    }
}

/// Does a value meet a schema? As much of JSON Schema as is used above; of patterns nothing is asked.
fn meets(value: &Value, schema: &Value) -> bool {
    let any = schema["anyOf"].as_array().is_none_or(|some| some.iter().any(|one| meets(value, one)));
    let named = schema["enum"].as_array().is_none_or(|some| some.contains(value));
    let fixed = schema.get("const").is_none_or(|one| one == value);
    let typed = match schema["type"].as_str() {
        Some("object") => value.as_object().is_some_and(|object| {
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            required.into_iter().all(|key| object.contains_key(key))
                && object
                    .iter()
                    .all(|(key, one)| schema["properties"].get(key).is_some_and(|schema| meets(one, schema)))
        }),
        Some("array") => {
            value.as_array().is_some_and(|array| array.iter().all(|one| meets(one, &schema["items"])))
        }
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_u64(),
        _ => true,
    };
    any && named && fixed && typed
}

fn docs() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

#[test]
fn the_schema_in_the_documents_is_that_of_the_table() {
    let path = docs().join("policy.schema.json");
    let current = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if std::env::var_os("SONDE_WRITE_SCHEMA").is_some() {
        fs::write(&path, &current).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == current,
        "the format has changed: `SONDE_WRITE_SCHEMA=1 cargo test -p sonde-policy schema`"
    );
}

#[test]
fn every_example_meets_the_schema_and_a_mistake_does_not() {
    let text = fs::read_to_string(docs().join("policy.md")).unwrap();
    let blocks: Vec<&str> =
        text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() > 5);
    let starter = crate::starter().replace("\n#[", "\n[").replace("\n#", "\n");
    let starter = starter.lines().filter(|line| !line.starts_with(' ')).collect::<Vec<_>>().join("\n");
    for block in blocks.into_iter().chain([crate::starter(), starter.as_str()]) {
        let value: Value = toml::from_str(block).unwrap_or_else(|error| panic!("{error}\n{block}"));
        assert!(meets(&value, &schema()), "{block}");
        let mut wrong = value.clone();
        wrong["defualt"] = "deny".into();
        assert!(!meets(&wrong, &schema()));
    }
}
