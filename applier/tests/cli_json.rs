//! `--json` is what its documentation says: each field that stands there is there, with the type that stands
//! there, and no other one.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail the test")]

mod common;

use common::{
    PAIR, Target,
    stage::{Stage, is_root, stage},
};
use serde_json::Value;
use std::{fs, path::Path};

/// Fields of one section of docs/reference/upatch-json.md, with their types: the rows of its tables.
fn documented(heading: &str) -> Vec<(String, String)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/upatch-json.md");
    let page = fs::read_to_string(page).unwrap();
    let section = page.split("\n## ").find_map(|s| s.strip_prefix(&format!("{heading}\n"))).unwrap();
    let mut fields = Vec::new();
    for row in section.lines().filter(|l| l.starts_with("| `")) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let types: Vec<_> = cells[2].split(", ").collect();
        for (i, name) in cells[1].split(", ").enumerate() {
            let kind = types.get(i).or(types.last()).unwrap();
            fields.push((name.trim_matches('`').to_owned(), (*kind).to_owned()));
        }
    }
    assert!(!fields.is_empty(), "{heading}");
    fields
}

fn is(kind: &str, value: &Value) -> bool {
    let alone = |kind: &str| match kind {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "array" => value.is_array(),
        "array of strings" => value.as_array().is_some_and(|a| a.iter().all(Value::is_string)),
        "object" => value.is_object(),
        other => panic!("{other} is no type"),
    };
    kind.split(" or ").any(alone)
}

/// Holds an object against its documentation; `others` are fields that stand in another section.
fn check(heading: &str, object: &Value, others: &[&str]) {
    let fields = documented(heading);
    let object = object.as_object().unwrap();
    for (name, kind) in &fields {
        let value = object.get(name).unwrap_or_else(|| panic!("{heading}: no {name} in {object:?}"));
        assert!(is(kind, value), "{heading}: {name} should be {kind}: {value}");
    }
    let known = |name: &str| others.contains(&name) || fields.iter().any(|(f, _)| f == name);
    let more: Vec<_> = object.keys().filter(|name| !known(name)).collect();
    assert!(more.is_empty(), "{heading}: {more:?} are not documented");
}

fn json(stage: &Stage, line: &str, code: i32) -> Value {
    let ran = stage.run(line).exits(code);
    serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{line}: {e}: {ran:?}"))
}

#[test]
fn every_field_is_as_documented() {
    let stage = stage("json", PAIR);
    let uuid = stage.install("HP1", 11, 22).to_string();
    stage.install("HP2", 111, 222);
    let mut target = Target::start(&stage.program);
    stage.run("apply HP1").exits(0);
    assert_eq!(target.ask(), "11 22");
    let service = is_root().then(|| stage.serve());

    let listed = json(&stage, "list --json", 0);
    for patch in listed["patches"].as_array().unwrap() {
        check("`list`", patch, &[]);
        let counts = patch["processes"].as_object().unwrap();
        assert_eq!(counts.keys().collect::<Vec<_>>(), ["patched", "pending", "refused"]);
    }
    assert_eq!(listed["patches"][0]["uuid"], uuid);

    let status = json(&stage, "status HP1 --json", 0);
    let patch = &status["patches"][0];
    let (of_list, of_status) = (documented("`list`"), documented("`status`"));
    for (name, kind) in of_list.iter().filter(|(n, _)| n != "processes") {
        assert!(is(kind, &patch[name]), "{name}: {patch}");
    }
    assert!(patch["counts"].is_object() && patch["processes"].is_array(), "{patch}");
    let process = patch["processes"][0].as_object().unwrap();
    assert_eq!(process["pid"], target.pid());
    // The first table is that of a process, the second that of the service.
    for (name, kind) in &of_status[..4] {
        assert!(is(kind, &process[name]), "{name}: {process:?}");
    }
    assert_eq!(process.len(), 4, "{process:?}");
    match &status["service"] {
        Value::Null => assert!(service.is_none()),
        running => {
            assert_eq!(running["pid"], service.as_ref().unwrap().0.id());
            assert!(running["start"].is_number() && running["files"].is_number(), "{running}");
            assert_eq!(running["way"], "held");
        }
    }

    let info = json(&stage, "info HP1 --json", 0);
    let manifest = stage.root().join(patchfile::paths::PATCHES).join("pair-1-1/HP1/manifest.yaml");
    let manifest: serde_yaml::Value = serde_yaml::from_str(&fs::read_to_string(manifest).unwrap()).unwrap();
    for (name, value) in manifest.as_mapping().unwrap() {
        let said = &info["patches"][0][name.as_str().unwrap()];
        assert_eq!(serde_json::to_value(value).unwrap(), *said, "{name:?}");
    }
    assert_eq!(info["patches"][0]["state"], "ACTIVED");

    let target_of = json(&stage, "target HP1 --json", 0);
    check("`target`", &target_of["patches"][0], &[]);
    check("`check`", &json(&stage, "check HP1 --json", 0)["patches"][0], &[]);
    let checked = json(&stage, "check HP2 --json", 0);
    check("`check`", &checked["patches"][0], &[]);
    let line = checked["patches"][0]["processes"][0].as_object().unwrap();
    assert_eq!(line.keys().collect::<Vec<_>>(), ["comm", "pid", "state", "why"]);
    assert_eq!(line["state"], "ready");

    let log = stage.run("log --json").exits(0).out;
    let events: Vec<Value> = log.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let about_one = events.iter().find(|e| e["pid"] == target.pid()).unwrap();
    for name in ["when", "verb", "patch", "uuid", "outcome", "comm"] {
        assert!(about_one[name].is_string(), "{name}: {about_one}");
    }
    assert_eq!(about_one.as_object().unwrap().len(), 8, "{about_one}");
}
