//! The matrix: official SDKs in front of every provider's dialect, cell by cell, compared with `tests/sdk/MATRIX.md`.
//! `UPDATE_MATRIX=1` writes that file; a cell that failed fails the test either way.

use penstock_tests::{Folder, Process, World, checkout, tool};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::fmt::Write;
use tokio::process::Command;

/// What is tried of every pair, and its column's head.
const FEATURES: [(&str, &str); 9] = [
    ("text", "text"),
    ("stream", "stream"),
    ("tool", "tools"),
    ("parallel", "parallel tools, streamed"),
    ("image", "images"),
    ("structured", "structured output"),
    ("reasoning", "reasoning"),
    ("errors", "errors"),
    ("cut", "cut stream"),
];

/// The clients, as the rows of the matrix follow each other.
const CLIENTS: [&str; 11] = [
    "OpenAI Python, chat",
    "OpenAI Node, chat",
    "OpenAI Python, responses",
    "OpenAI Node, responses",
    "Anthropic Python",
    "Anthropic Node",
    "Google Python",
    "Google Node",
    "Mistral Python",
    "LangChain Python, ChatOpenAI",
    "Vercel AI SDK, OpenAI chat",
];

/// The providers: name, model, base path, and what else their section says.
const PROVIDERS: [(&str, &str, &str, &str); 9] = [
    ("openai", "gpt-5-mini", "/v1", "dialect = \"openai\"\nalso = [\"responses\"]"),
    ("responses", "gpt-5-pro", "/v1", "dialect = \"responses\""),
    ("azure", "gpt-5-mini", "", "dialect = \"azure\"\nalso = [\"responses\"]\napi_version = \"2024-10-21\""),
    ("anthropic", "claude-sonnet-4-5", "", "dialect = \"anthropic\""),
    ("google", "gemini-2.5-flash", "/v1beta", "dialect = \"google\""),
    ("vertex", "gemini-2.5-flash", "/v1/projects/p/locations/l", "dialect = \"vertex\""),
    ("bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0", "", "dialect = \"bedrock\"\nregion = \"us-east-1\""),
    ("mistral", "magistral-medium-latest", "/v1", "dialect = \"mistral\""),
    ("cohere", "command-a-plus-05-2026", "/v2", "dialect = \"cohere\""),
];

/// Cells by client, provider and feature.
type Cells = HashMap<(String, String, String), String>;

/// Every provider twice: one that answers, and one whose errors close nothing of the first.
fn config(front: &str) -> String {
    let mut toml = String::new();
    for (name, _, path, more) in PROVIDERS {
        for name in [name.to_owned(), format!("{name}bad")] {
            let section =
                format!("[providers.{name}]\nbase_url = \"{front}/{name}{path}\"\nkeys = [\"key-of-{name}\"]");
            write!(toml, "{section}\n{more}\n").expect("writing to a String cannot fail");
        }
    }
    toml
}

async fn drive(program: String, script: &str, variables: &[(&str, String)]) -> Vec<Value> {
    let mut command = Command::new(program);
    command.arg(checkout().join("tests/sdk").join(script)).envs(variables.iter().cloned()).kill_on_drop(true);
    let output = command.output().await.expect("the program can be started");
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}:\n{said}{complained}");
    said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn place(lines: &[Value]) -> Cells {
    let text = |line: &Value, name: &str| line[name].as_str().expect("a cell's fields are texts").to_owned();
    let place = |line| (text(line, "client"), text(line, "provider"), text(line, "feature"));
    lines.iter().map(|line| (place(line), text(line, "cell"))).collect()
}

/// The matrix as Markdown; what is no `ok` is explained below it, by number.
fn markdown(mut cells: Cells) -> String {
    let heads: Vec<&str> = FEATURES.iter().map(|(_, head)| *head).collect();
    let mut out = format!("| client | provider | {} |\n|---|---|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
    let mut notes: Vec<String> = Vec::new();
    for (client, (provider, ..)) in CLIENTS.iter().flat_map(|client| PROVIDERS.iter().map(move |row| (client, row))) {
        out += &format!("| {client} | {provider} |");
        for (feature, _) in FEATURES {
            let cell = cells.remove(&((*client).to_owned(), (*provider).to_owned(), feature.to_owned()));
            let cell = cell.unwrap_or_else(|| panic!("{client} has not tried {feature} of {provider}"));
            let shown = if cell == "ok" { cell } else { format!("({})", number(&mut notes, &cell)) };
            out += &format!(" {shown} |");
        }
        out.push('\n');
    }
    assert!(cells.is_empty(), "cells that nobody expects: {cells:?}");
    out.push('\n');
    for (at, note) in notes.iter().enumerate() {
        out += &format!("{}. {note}.\n", at + 1);
    }
    out
}

fn number(notes: &mut Vec<String>, cell: &str) -> usize {
    let known = notes.iter().position(|note| note == cell);
    1 + known.unwrap_or_else(|| {
        notes.push(cell.to_owned());
        notes.len() - 1
    })
}

/// The providers, a gateway in front of them, and what scripts need to know.
async fn start() -> (Process, World, Vec<(&'static str, String)>) {
    let (node, modules) = (tool("PENSTOCK_TEST_NODE"), tool("PENSTOCK_TEST_NODE_MODULES"));
    let folder = Folder::new();
    let mut command = Command::new(&node);
    command.arg(checkout().join("tests/sdk/providers.mjs")).env("PENSTOCK_TEST_NODE_MODULES", &modules);
    let mut providers = Process::start("providers", command, folder.path());
    let said: Value = serde_json::from_str(&providers.says("\"url\"").await).expect("a line of JSON");
    let world = World::setup().config(&config(said["url"].as_str().expect("an address"))).start().await;
    let models: Map<String, Value> =
        PROVIDERS.iter().map(|(name, model, ..)| ((*name).to_owned(), json!(model))).collect();
    let variables = vec![
        ("PENSTOCK_URL", world.url().to_owned()),
        ("PENSTOCK_KEY", world.key().to_owned()),
        ("MATRIX", Value::Object(models).to_string()),
        ("PENSTOCK_TEST_NODE_MODULES", modules),
    ];
    (providers, world, variables)
}

#[tokio::test]
async fn openais_sdk_goes_on_with_a_conversation_in_front_of_every_providers_dialect() {
    let (_providers, _world, variables) = start().await;
    let lines = drive(tool("PENSTOCK_TEST_PYTHON"), "conversations.py", &variables).await;
    assert_eq!(lines.len(), 1 + 2 * PROVIDERS.len(), "{lines:#?}");
    assert!(lines.iter().all(|line| line["cell"] == "ok"), "{lines:#?}");
}

#[tokio::test]
async fn every_official_sdk_works_with_every_providers_dialect_as_the_matrix_says() {
    let (_providers, _world, variables) = start().await;
    let (python, javascript) = tokio::join!(
        drive(tool("PENSTOCK_TEST_PYTHON"), "matrix.py", &variables),
        drive(tool("PENSTOCK_TEST_NODE"), "matrix.mjs", &variables),
    );
    let lines = [python, javascript].concat();
    let failed: Vec<&Value> =
        lines.iter().filter(|line| line["cell"].as_str().is_some_and(|cell| cell.starts_with("FAILED"))).collect();
    assert!(failed.is_empty(), "{} of {} cells failed: {failed:#?}", failed.len(), lines.len());

    let (printed, file) = (markdown(place(&lines)), checkout().join("tests/sdk/MATRIX.md"));
    if std::env::var_os("UPDATE_MATRIX").is_some() {
        std::fs::write(&file, &printed).unwrap();
    }
    let written = std::fs::read_to_string(file).unwrap_or_default();
    assert_eq!(printed, written, "UPDATE_MATRIX=1 writes tests/sdk/MATRIX.md");
}
