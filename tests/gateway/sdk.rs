//! OpenAI's own SDKs against the gateway, in front of a simulator of OpenAI that somebody else wrote: see `tests/sdk`.

use penstock_tests::{Process, World, checkout, tool};
use serde_json::Value;
use std::collections::HashMap;
use tokio::process::Command;

const UPSTREAM_KEY: &str = "sk-the-key-of-the-simulator";

#[tokio::test]
async fn the_official_python_and_node_sdks_work_and_the_provider_gets_what_they_sent() {
    let sdk = checkout().join("tests/sdk");
    let (node, modules) = (tool("PENSTOCK_TEST_NODE"), tool("PENSTOCK_TEST_NODE_MODULES"));
    let folder = penstock_tests::Folder::new();
    let mut command = Command::new(&node);
    command.arg(sdk.join("upstream.mjs")).env("PENSTOCK_TEST_NODE_MODULES", &modules).env("UPSTREAM_KEY", UPSTREAM_KEY);
    let mut upstream = Process::start("upstream", command, folder.path());
    let said: Value = serde_json::from_str(&upstream.says("\"url\"").await).unwrap();
    let url = said["url"].as_str().unwrap();

    let config = format!("[providers.openai]\nbase_url = \"{url}\"\nkeys = [\"env:OPENAI_API_KEY\"]");
    let world = World::setup().config(&config).env("OPENAI_API_KEY", UPSTREAM_KEY).start().await;
    let variables = HashMap::from([
        ("PENSTOCK_URL", world.url()),
        ("PENSTOCK_KEY", world.key()),
        ("UPSTREAM_URL", url),
        ("UPSTREAM_KEY", UPSTREAM_KEY),
        ("PENSTOCK_TEST_NODE_MODULES", &modules),
    ]);
    for (program, script) in [(tool("PENSTOCK_TEST_PYTHON"), "drive.py"), (node, "drive.mjs")] {
        let output = Command::new(program).arg(sdk.join(script)).envs(&variables).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{script}:\n{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.lines().count() >= 12 && said.lines().all(|line| line.starts_with("ok ")), "{script}:\n{said}");
    }
}

#[tokio::test]
async fn the_official_sdks_keep_files() {
    let sdk = checkout().join("tests/sdk");
    let (node, modules) = (tool("PENSTOCK_TEST_NODE"), tool("PENSTOCK_TEST_NODE_MODULES"));
    let world = World::start().await;
    let variables = HashMap::from([
        ("PENSTOCK_URL", world.url()),
        ("PENSTOCK_KEY", world.key()),
        ("PENSTOCK_TEST_NODE_MODULES", &modules),
    ]);
    for (program, script, checks) in [(tool("PENSTOCK_TEST_PYTHON"), "files.py", 6), (node, "files.mjs", 3)] {
        let output = Command::new(program).arg(sdk.join(script)).envs(&variables).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{script}:\n{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(
            said.lines().count() == checks && said.lines().all(|line| line.starts_with("ok ")),
            "{script}:\n{said}"
        );
    }
}

#[tokio::test]
async fn the_official_sdks_work_with_every_other_endpoint() {
    let sdk = checkout().join("tests/sdk");
    let (node, modules) = (tool("PENSTOCK_TEST_NODE"), tool("PENSTOCK_TEST_NODE_MODULES"));
    let world = World::setup().demo().start().await;
    let variables = HashMap::from([
        ("PENSTOCK_URL", world.url()),
        ("PENSTOCK_KEY", world.key()),
        ("PENSTOCK_TEST_NODE_MODULES", &modules),
    ]);
    for (program, script) in [(tool("PENSTOCK_TEST_PYTHON"), "others.py"), (node, "others.mjs")] {
        let output = Command::new(program).arg(sdk.join(script)).envs(&variables).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{script}:\n{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.lines().count() >= 8 && said.lines().all(|line| line.starts_with("ok ")), "{script}:\n{said}");
    }
}

#[tokio::test]
async fn the_official_sdks_run_their_documented_batches() {
    let sdk = checkout().join("tests/sdk");
    let (node, modules) = (tool("PENSTOCK_TEST_NODE"), tool("PENSTOCK_TEST_NODE_MODULES"));
    let world = World::setup().demo().start().await;
    let variables = HashMap::from([
        ("PENSTOCK_URL", world.url()),
        ("PENSTOCK_KEY", world.key()),
        ("PENSTOCK_TEST_NODE_MODULES", &modules),
    ]);
    let python = tool("PENSTOCK_TEST_PYTHON");
    let scripts = [
        (&python, "batches.py", 6),
        (&node, "batches.mjs", 3),
        (&python, "message_batches.py", 6),
        (&node, "message_batches.mjs", 3),
        (&python, "gemini_batches.py", 9),
        (&node, "gemini_batches.mjs", 3),
        (&python, "abatch.py", 2),
    ];
    for (program, script, steps) in scripts {
        let output = Command::new(program).arg(sdk.join(script)).envs(&variables).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{script}:\n{said}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(said.lines().filter(|line| line.starts_with("ok ")).count(), steps, "{script}:\n{said}");
    }
}
