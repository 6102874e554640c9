//! What `--json` writes is what `docs/trace-schema.json` says, and `docs/trace-schema.md` explains all of it.
//!
//! The few words of JSON Schema that the file uses are checked here, and any other is a mistake: a validator would be forty
//! more crates.

use std::path::Path;

use serde_json::Value;

use super::{loads, traced};
use crate::harness::{Who, fixture};

fn document(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)).unwrap()
}

fn schema() -> Value {
    serde_json::from_str(&document("trace-schema.json")).unwrap()
}

/// What is wrong with a value.
fn faults(root: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    for (word, rule) in schema.as_object().unwrap() {
        let fault = match word.as_str() {
            "$schema" | "$defs" | "title" | "description" => None,
            "$ref" => {
                let target = root.pointer(rule.as_str().unwrap().trim_start_matches('#')).unwrap();
                faults.extend(self::faults(root, target, value));
                None
            }
            "oneOf" => {
                let fitting = rule.as_array().unwrap().iter();
                let fitting = fitting.filter(|one| self::faults(root, one, value).is_empty()).count();
                (fitting != 1).then(|| format!("{fitting} of oneOf fit"))
            }
            "type" => {
                let types = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                let is = |one: &Value| match one.as_str().unwrap() {
                    "string" => value.is_string(),
                    "number" => value.is_number(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "boolean" => value.is_boolean(),
                    "array" => value.is_array(),
                    "object" => value.is_object(),
                    "null" => value.is_null(),
                    other => panic!("no such type: {other}"),
                };
                (!types.iter().any(is)).then(|| format!("is no {rule}"))
            }
            "const" => (value != rule).then(|| format!("is not {rule}")),
            "enum" => (!rule.as_array().unwrap().contains(value)).then(|| format!("is none of {rule}")),
            "minimum" => {
                value.as_f64().filter(|value| *value < rule.as_f64().unwrap()).map(|_| "too small".into())
            }
            "items" => {
                value
                    .as_array()
                    .into_iter()
                    .flatten()
                    .for_each(|one| faults.extend(self::faults(root, rule, one)));
                None
            }
            "required" => {
                let names = rule.as_array().unwrap().iter();
                let missing =
                    names.filter(|name| value.is_object() && value.get(name.as_str().unwrap()).is_none());
                missing.map(|name| format!("lacks {name}")).reduce(|one, next| one + ", " + &next)
            }
            "properties" => {
                for (name, rule) in rule.as_object().unwrap() {
                    let inner = value.get(name).map(|value| self::faults(root, rule, value));
                    faults.extend(inner.into_iter().flatten().map(|fault| format!("{name}: {fault}")));
                }
                None
            }
            "additionalProperties" => {
                let known = schema["properties"].as_object().unwrap();
                let names = value.as_object().into_iter().flatten().map(|(name, _)| name);
                names.filter(|name| !known.contains_key(*name)).map(|name| format!("has {name}")).next()
            }
            other => panic!("the schema uses `{other}`, which is not checked"),
        };
        faults.extend(fault);
    }
    faults
}

/// Each of these lines is as the schema says.
#[track_caller]
pub(super) fn assert_valid(events: &[Value]) {
    let schema = schema();
    for event in events {
        assert_eq!(faults(&schema, &schema, event), Vec::<String>::new(), "{event:#}");
    }
}

#[test]
fn every_line_is_as_the_schema_says() {
    let schema = schema();
    let (_state, cold) = fixture().embedded(Who::Alice, &fixture().server.url());
    let warm = fixture().root(Who::Alice);
    let guest = fixture().guest("load");
    let needy = fixture().guest_that_needs("libschema-absent.so.3");
    let mut seen = Vec::new();
    for (root, line) in [
        (&cold, vec![&*guest, "here", "libexpat.so.1", "libnobody-has-me.so.7"]),
        (&warm, vec!["/opt/programs/curl/usr/bin/curl", "--version"]),
        (&warm, vec![&needy, "exit", "0"]),
    ] {
        let (outcome, events) = traced(root, &line);
        assert!(events.len() > 3, "{outcome}");
        for event in &events {
            let kind = event["event"].as_str().unwrap_or_default();
            let one = schema.pointer(&format!("/$defs/{kind}")).unwrap_or_else(|| panic!("{event}"));
            assert_eq!(faults(&schema, one, event), Vec::<String>::new(), "{event:#}");
            assert!(faults(&schema, &schema, event).is_empty());
            seen.push(kind.to_owned());
        }
        assert_eq!((&events[0]["event"], &events[0]["schema"]), (&"begin".into(), &1.into()));
        assert_eq!(events.last().unwrap()["event"], "end");
    }
    // What is lost is seen by those who watch (`watch.rs`).
    seen.push("lost".to_owned());
    for kind in schema["$defs"].as_object().unwrap().keys() {
        assert!(seen.contains(kind), "no {kind} was seen");
    }
}

#[test]
fn a_line_that_is_not_as_the_schema_says_is_found_out() {
    let schema = schema();
    let (_, events) = traced(&fixture().root(Who::Alice), &["/opt/programs/curl/usr/bin/curl", "--version"]);
    let load = loads(&events).next().unwrap().clone();
    for (field, wrong) in [("outcome", "eaten"), ("took_ms", "long"), ("unheard_of", "x")] {
        let mut load = load.clone();
        load[field] = wrong.into();
        assert!(!faults(&schema, &schema, &load).is_empty(), "{field}");
    }
    let mut load = load;
    load.as_object_mut().unwrap().remove("soname");
    assert!(!faults(&schema, &schema, &load).is_empty());
}

#[test]
fn the_documentation_has_every_field() {
    let text = document("trace-schema.md");
    for (kind, event) in schema()["$defs"].as_object().unwrap() {
        let section = text.split("\n## ").find(|section| section.starts_with(&format!("`{kind}`")));
        let section = section.unwrap_or_else(|| panic!("no section about {kind}"));
        for name in event["properties"].as_object().unwrap().keys().filter(|name| *name != "event") {
            assert!(section.contains(&format!("| `{name}` |")), "{kind}.{name}");
        }
    }
}

#[test]
fn what_was_considered_is_said_where_there_was_a_choice() {
    let (_, events) = traced(&fixture().root(Who::Alice), &["/opt/programs/curl/usr/bin/curl", "--version"]);
    let zlib = super::load_of(&events, "libz.so.1");
    let candidates = zlib["choice"]["candidates"].as_array().unwrap();
    assert!(candidates.len() > 1, "{zlib:#}");
    let chosen: Vec<&Value> = candidates.iter().filter(|one| one["chosen"] == true).collect();
    assert_eq!(chosen.len(), 1, "{zlib:#}");
    assert_eq!(chosen[0]["file"], zlib["path"], "{zlib:#}");
    assert!(candidates.iter().any(|one| one["beaten_by"]["reason"].is_string()), "{zlib:#}");
    // Compared with what the program needs.
    assert_eq!(chosen[0]["coverage"]["share"], 1.0, "{zlib:#}");
    assert!(super::load_of(&events, "libnghttp2.so.14").get("choice").is_none());
}
