//! The OpenAPI document and the gateway say the same: schemathesis reads the one and asks the other, some thousand requests
//! that fit the document and that do not.

use penstock_tests::{World, checkout, tool};
use serde_json::Value;
use tokio::process::Command;

#[tokio::test]
async fn schemathesis_finds_no_difference_between_the_document_and_the_admin_api() {
    let world = World::start().await;
    let document = world.get("/openapi.json").key(world.key()).await;
    world.folder().write("openapi.json", &String::from_utf8_lossy(&document.body));
    let mut command = Command::new(tool("PENSTOCK_TEST_PYTHON"));
    command.args(["-m", "schemathesis.cli", "--config-file"]).arg(checkout().join("tests/sdk/schemathesis.toml"));
    command.args(["run", "openapi.json", "--url", world.url(), "--include-path-regex", "^/admin/"]);
    // The same requests each time, and no more than a minute of them.
    command.args(["--max-examples", "10", "--seed", "2", "--workers", "2", "--continue-on-failure", "--no-color"]);
    // Many of them come without a valid key, and an address that sends more than five such a second has to wait: 429.
    command.args(["--rate-limit", "50/s"]);
    command.args(["--header", &format!("Authorization: Bearer {}", world.admin_key())]);
    let output = command.current_dir(world.folder().path()).output().await.expect("schemathesis can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let passed = said.lines().find_map(|line| line.trim().split_once(" generated, ")?.0.parse::<u32>().ok());
    assert!(passed.is_some_and(|passed| passed > 1_000), "{said}");
}

#[tokio::test]
async fn the_document_names_every_type_that_it_uses() {
    let world = World::start().await;
    let document = world.get("/openapi.json").key(world.key()).await.json();
    let mut names = Vec::new();
    collect(&document, &mut names);
    assert!(names.len() > 100, "{}", names.len());
    for name in names {
        let path = name.strip_prefix('#').expect("a place in the document");
        assert!(document.pointer(path).is_some(), "{name}");
    }
}

fn collect(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            names.extend(fields.get("$ref").and_then(Value::as_str).map(ToOwned::to_owned));
            fields.values().for_each(|value| collect(value, names));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, names)),
        _ => {}
    }
}
