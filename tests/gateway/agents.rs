//! Coding agents as their users run them, in front of every provider's dialect: each reads a file with its shell, writes
//! another with its editor, and says what it read. `tests/sdk/providers.mjs` plays the model.
//!
//! Each run has a home of its own and nothing of the caller's environment; telemetry and updates are off.

use penstock_tests::{Folder, Process, World, checkout, tool};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

/// The providers: name, model, base path, and what else their section says.
const PROVIDERS: [(&str, &str, &str, &str); 8] = [
    ("openai", "gpt-5.5", "/v1", "dialect = \"openai\"\nalso = [\"responses\"]"),
    ("copy", "gpt-5.5", "/v1", "dialect = \"openai\""),
    ("responses", "gpt-5.5", "/v1", "dialect = \"responses\""),
    ("anthropic", "claude-sonnet-4-5", "", "dialect = \"anthropic\""),
    ("google", "gemini-2.5-flash", "/v1beta", "dialect = \"google\""),
    ("bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0", "", "dialect = \"bedrock\"\nregion = \"us-east-1\""),
    ("mistral", "mistral-large-latest", "/v1", "dialect = \"mistral\""),
    ("cohere", "command-a-plus-05-2026", "/v2", "dialect = \"cohere\""),
];

/// The longest that one agent may take: a few seconds here, and a machine may be much slower and busy.
const AGENT_TIME: Duration = Duration::from_secs(240);

/// One agent at work: a home of its own with a repository in it, and where the gateway is.
struct Job<'a> {
    home: &'a Path,
    work: PathBuf,
    url: &'a str,
    key: &'a str,
    model: &'a str,
    task: String,
}

impl Job<'_> {
    fn write(&self, name: &str, text: &str) {
        let file = self.home.join(name);
        std::fs::create_dir_all(file.parent().expect("it is below the home")).expect("the home can be written to");
        std::fs::write(file, text).expect("the home can be written to");
    }

    /// The program at `script` of npm's packages; those that install scripts would put elsewhere are not there.
    fn command(&self, script: &str) -> Command {
        let node = PathBuf::from(tool("PENSTOCK_TEST_NODE"));
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", node.parent().expect("it is in a folder").display());
        let mut command = Command::new(&node);
        command.arg(Path::new(&tool("PENSTOCK_TEST_NODE_MODULES")).join(script));
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.home)
            .env("TMPDIR", self.home)
            .current_dir(&self.work)
            .kill_on_drop(true);
        command.stdin(std::process::Stdio::null());
        command
    }
}

fn claude_code(job: &Job<'_>) -> Command {
    let mut command = job.command("@anthropic-ai/claude-code/cli-wrapper.cjs");
    command.env("ANTHROPIC_BASE_URL", job.url).env("ANTHROPIC_AUTH_TOKEN", job.key).env("IS_SANDBOX", "1");
    for switch in ["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_TELEMETRY", "DISABLE_AUTOUPDATER"] {
        command.env(switch, "1");
    }
    command.args(["--print", &job.task, "--model", job.model, "--dangerously-skip-permissions"]);
    command
}

fn codex(job: &Job<'_>) -> Command {
    let Job { url, model, .. } = job;
    let config = format!(
        "model = \"{model}\"\nmodel_provider = \"penstock\"\n[analytics]\nenabled = false\n[model_providers.penstock]\n\
         name = \"Penstock\"\nbase_url = \"{url}/v1\"\nenv_key = \"PENSTOCK_KEY\"\nwire_api = \"responses\"\n\
         request_max_retries = 0\nstream_max_retries = 0\n"
    );
    job.write(".codex/config.toml", &config);
    let mut command = job.command("@openai/codex/bin/codex.js");
    command.env("PENSTOCK_KEY", job.key);
    command.args(["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", &job.task]);
    command
}

fn gemini_cli(job: &Job<'_>) -> Command {
    let settings = json!({
        "security": { "auth": { "selectedType": "gemini-api-key" } },
        "privacy": { "usageStatisticsEnabled": false },
        "telemetry": { "enabled": false },
        "general": { "disableAutoUpdate": true },
    });
    job.write(".gemini/settings.json", &settings.to_string());
    let mut command = job.command("@google/gemini-cli/bundle/gemini.js");
    command.env("GEMINI_API_KEY", job.key).env("GOOGLE_GEMINI_BASE_URL", job.url);
    command.args(["--yolo", "--skip-trust", "--model", job.model, "--prompt", &job.task]);
    command
}

/// The simulator of the providers, and a gateway in front of it.
async fn world(folder: &Folder) -> (Process, World) {
    let mut command = Command::new(tool("PENSTOCK_TEST_NODE"));
    let modules = tool("PENSTOCK_TEST_NODE_MODULES");
    command.arg(checkout().join("tests/sdk/providers.mjs")).env("PENSTOCK_TEST_NODE_MODULES", modules);
    let mut providers = Process::start("providers", command, folder.path());
    let said: Value = serde_json::from_str(&providers.says("\"url\"").await).expect("the simulator says JSON");
    let mut config = String::new();
    for (name, _, path, more) in PROVIDERS {
        let url = said["url"].as_str().expect("the simulator says its URL");
        let section =
            format!("[providers.{name}]\nbase_url = \"{url}/{name}{path}\"\nkeys = [\"key-of-{name}\"]\n{more}");
        writeln!(config, "{section}").expect("writing to a String cannot fail");
    }
    (providers, World::setup().config(&config).start().await)
}

/// Lets the agent do its task in front of each provider; it edits where `edits` says so. Gives what went wrong.
async fn drive(agent: fn(&Job<'_>) -> Command, edits: impl Fn(&str) -> bool) -> Vec<String> {
    let folder = Folder::new();
    let (_providers, world) = world(&folder).await;
    let mut wrong = Vec::new();
    for (provider, model, ..) in PROVIDERS {
        let home = folder.path().join(provider);
        let work = home.join("work");
        std::fs::create_dir_all(&work).expect("the home can be written to");
        std::fs::write(work.join("note.txt"), "Today I saw a grey heron.\n").expect("the home can be written to");
        let task = format!(
            "Read note.txt with the shell, keep what it tells of, and say it in one sentence. FOLDER={}",
            work.display()
        );
        let model = format!("{provider}/{model}");
        let job = Job { home: &home, work, url: world.url(), key: world.key(), model: &model, task };
        let output = tokio::time::timeout(AGENT_TIME, agent(&job).output()).await;
        let output =
            output.unwrap_or_else(|_| panic!("{model} took more than {AGENT_TIME:?}")).expect("it can be started");
        let said = String::from_utf8_lossy(&output.stdout);
        let kept = std::fs::read_to_string(job.work.join("kept.txt")).unwrap_or_default();
        let is_right = output.status.success()
            && said.contains("The note tells of a heron.")
            && (kept.trim_end() == "heron") == edits(provider);
        if !is_right {
            let complaints = String::from_utf8_lossy(&output.stderr);
            wrong.push(format!("{model}: {}, kept {kept:?}, said: {said}\n{complaints}", output.status));
        }
    }
    if wrong.is_empty() {
        ledger_agrees(&world, edits).await;
    }
    wrong
}

/// Each agent's calls stand in the ledger once, with the tokens that the simulator claimed: 50 for a call that ends with a
/// tool's, 70 for the last.
async fn ledger_agrees(world: &World, edits: impl Fn(&str) -> bool) {
    let mut expected: Vec<(&str, u64)> =
        PROVIDERS.iter().map(|(name, ..)| (*name, if edits(name) { 170 } else { 120 })).collect();
    expected.sort_unstable();
    let sql = "SELECT provider, sum(input_tokens) AS tokens FROM attempts GROUP BY provider ORDER BY provider";
    let is_right = |rows: &[Value]| {
        let tokens = rows.iter().map(|row| (row["provider"].as_str().unwrap_or_default(), row["tokens"].as_u64()));
        tokens.eq(expected.iter().map(|(name, tokens)| (*name, Some(*tokens))))
    };
    world.sql_until(sql, is_right).await;
}

#[tokio::test]
async fn claude_code_reads_and_edits_files_in_front_of_every_dialect() {
    let wrong = drive(claude_code, |_| true).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn codex_reads_files_in_front_of_every_dialect_and_edits_them_by_its_translated_patch_tool() {
    // It has its patch tool for models that it knows by name only, and the simulator makes no calls of freeform tools:
    // so it edits where such a model is had from a copy of OpenAI, for which the tool becomes a function.
    let wrong = drive(codex, |provider| provider == "copy").await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn gemini_cli_reads_and_edits_files_in_front_of_every_dialect() {
    let wrong = drive(gemini_cli, |_| true).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
