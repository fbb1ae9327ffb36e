//! `penstock chaos`, small: the same schedule as the judged run of 50,000 requests, and what its report must say.

use penstock_tests::{Folder, penstock, tool};
use serde_json::Value;
use std::process::Command;

/// What a client cannot be spared: its ingress was killed while it answered, or what it had begun to read broke off.
const IN_FLIGHT: [&str; 2] = ["connection lost with its ingress", "stream broken off: lost"];

/// At most so many requests are under way when something is killed, and three things are.
const CONCURRENCY: u64 = 4;

/// A chain of the operator's own, with keys that must not be needed.
const CONFIG: &str = r#"
[providers.house]
dialect = "anthropic"
base_url = "https://house.invalid"
keys = ["env:A_KEY_THAT_IS_NOT_SET"]
[models.chat]
targets = [{ model = "house/m", first_token = "5s" }, { model = "openai/m" }, { model = "mistral/m" }]
"#;

#[test]
fn failing_providers_and_killed_processes_cost_no_more_than_what_is_in_flight() {
    let folder = Folder::new();
    folder.write("penstock.toml", CONFIG);
    let mut command = Command::new(penstock());
    command.env_clear().env("PENSTOCK_NATS_SERVER", tool("PENSTOCK_NATS_SERVER"));
    command.env("PENSTOCK_CHDB", tool("PENSTOCK_CHDB")).env("TMPDIR", folder.path()).current_dir(folder.path());
    command.envs(["PATH", "HOME"].into_iter().filter_map(|name| Some((name, std::env::var(name).ok()?))));
    let concurrency = CONCURRENCY.to_string();
    let target = ["--target", "97", "--format", "json"];
    command.args(["chaos", "--requests", "500", "--seed", "7", "--concurrency", &concurrency]).args(target);
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    println!("{report:#}");
    let number = |value: &Value| value.as_u64().unwrap();
    let errors = report["errors"].as_object().unwrap();
    let wrong: u64 = errors.values().map(number).sum();
    assert_eq!(number(&report["answered_correctly"]) + wrong, 500);
    assert!(errors.keys().all(|kind| IN_FLIGHT.contains(&kind.as_str())), "{errors:?}");
    assert!(wrong <= 3 * CONCURRENCY, "{errors:?}");
    assert!(number(&report["failovers"]) > 20, "each link fails calls, and the first has an outage");
    let ledger = &report["ledger"];
    assert_eq!((number(&ledger["lost"]), number(&ledger["doubled"])), (0, 0), "{ledger}");
    assert!(number(&ledger["rows"]) >= number(&ledger["calls"]) && number(&ledger["calls"]) > 500, "{ledger}");
    let left = std::fs::read_dir(folder.path()).unwrap().filter_map(Result::ok).map(|entry| entry.file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["penstock.toml"], "the temporary folder is gone");
}
