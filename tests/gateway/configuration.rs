//! The configuration as an operator meets it: every mistake at once, with its place, and exit code 64.

use penstock_tests::{Folder, Output, penstock};
use std::process::Command;

fn run(arguments: &[&str], config: &str, variables: &[(&str, &str)]) -> Output {
    let folder = Folder::new();
    folder.write("penstock.toml", config);
    let mut command = Command::new(penstock());
    command.args(arguments).arg("--data").arg(folder.path().join("data")).current_dir(folder.path());
    let output = command.env_clear().envs(variables.iter().copied()).output().expect("penstock can be started");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Output { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}

const WRONG: &str = r#"
[ingress]
listen = "here"
body_limt = "32MB"
drain = "half a minute"

[providers.mine]
base_url = "localhost:8000"
dialect = "openai"

[providers.openai]
keys = ["env:NO_SUCH_VARIABLE"]

[[prices]]
model = "gpt-4o"
input_usd_per_million = "a lot"

[models.chat]
strategy = "best"
targets = [{ model = "openai/gpt-4o" }]

[budgts]
"#;

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    for command in ["check", "up", "ingress", "worker", "analytics"] {
        let output = run(&[command], WRONG, &[("PENSTOCK_KEY", "secret"), ("PENSTOCK_NATS_REPLICAS", "two")]);
        assert_eq!(output.code, 64, "{command}: {}", output.err);
        // Who calls no provider needs no key of one, and may not be able to read it.
        let calls = ["check", "up", "worker"].contains(&command);
        let count = format!("the configuration has {} mistakes:", if calls { 11 } else { 10 });
        assert!(output.err.contains(&count), "{command}: {}", output.err);
        assert_eq!(output.err.contains("providers.openai.keys: "), calls, "{command}: {}", output.err);
        for place in [
            "penstock.toml: ingress.listen: ",
            "penstock.toml: ingress.body_limt: ",
            "penstock.toml: ingress.drain: ",
            "penstock.toml: providers.mine.base_url: ",
            "penstock.toml: prices[0].model: ",
            "penstock.toml: prices[0].input_usd_per_million: ",
            "penstock.toml: models.chat.strategy: ",
            "penstock.toml: budgts: ",
            "PENSTOCK_NATS_REPLICAS: ",
            "PENSTOCK_KEY: ",
        ] {
            assert!(output.err.contains(place), "{command} does not tell of {place}: {}", output.err);
        }
    }
}

#[test]
fn a_file_that_is_not_toml_or_is_not_there_is_told_with_its_place() {
    let output = run(&["check"], "[ingress\n", &[]);
    assert!(
        output.code == 64 && output.err.contains("penstock.toml") && output.err.contains("line 1"),
        "{}",
        output.err
    );
    let output = run(&["check", "--config", "other.toml"], "", &[]);
    assert!(output.code == 64 && output.err.contains("other.toml: cannot be read"), "{}", output.err);
}

#[test]
fn check_tells_what_a_right_configuration_amounts_to() {
    let config = r#"
        [providers.mine]
        dialect = "openai"
        base_url = "http://127.0.0.1:1/v1"
        [models.chat]
        targets = [{ model = "mine/m" }]"#;
    let output = run(&["check"], config, &[("OPENAI_API_KEY", "sk-x"), ("PENSTOCK_INGRESS_LISTEN", "127.0.0.1:1234")]);
    assert_eq!(output.code, 0, "{}", output.err);
    for line in ["listen: 127.0.0.1:1234\n", "providers: mine, openai\n", "virtual models: chat\n", "own prices: 0\n"] {
        assert!(output.out.contains(line), "{}", output.out);
    }
}

#[test]
fn a_role_without_nats_says_where_it_looked() {
    let variables = [("PENSTOCK_NATS_URL", "nats://someone:s3cret@127.0.0.1:1")];
    let output = run(&["ingress"], "", &variables);
    assert_eq!(output.code, 1);
    assert!(output.err.contains("127.0.0.1:1") && !output.err.contains("s3cret"), "{}", output.err);
}

#[test]
fn a_tool_without_a_running_gateway_says_how_to_find_one() {
    for command in [&["keys", "list"][..], &["spend"], &["sql", "SELECT 1"], &["models"]] {
        let output = run(command, "", &[]);
        assert_eq!(output.code, 1, "{command:?}");
        assert!(output.err.contains("--data"), "{command:?}: {}", output.err);
    }
}

#[test]
fn what_up_needs_and_does_not_find_is_named_with_the_command_that_fetches_it() {
    // Where no checkout is around it.
    let folder = Folder::new();
    let binary = folder.path().join("penstock");
    if std::fs::hard_link(penstock(), &binary).is_err() {
        std::fs::copy(penstock(), &binary).expect("the binary can be copied");
    }
    let mut command = Command::new(&binary);
    command.args(["up", "--listen", "127.0.0.1:0"]).arg("--data").arg(folder.path().join("data")).env_clear();
    let output = command.current_dir(folder.path()).output().expect("penstock can be started");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("nats-server is not here"), "{told}");
    assert!(told.contains("`deploy/setup run`") && told.contains("PENSTOCK_NATS_SERVER"), "{told}");
}

#[test]
fn the_engine_alone_says_what_it_wants_and_why_it_ends() {
    let listen = ["clickhouse", "--listen", "127.0.0.1:0", "--files", "files"];
    let (engine, token) = (penstock_tests::tool("PENSTOCK_CHDB"), "PENSTOCK_CLICKHOUSE_TOKEN");
    assert!(run(&["clickhouse", "--help"], "", &[]).out.contains(token));
    let told = run(&listen, "", &[("PENSTOCK_CHDB", &engine)]).err;
    assert!(told.contains(token), "{told}");
    let ended = run(&listen, "", &[("PENSTOCK_CHDB", &engine), (token, "0123456789abcdef")]);
    assert!(ended.code == 0 && ended.err.contains("standard input has ended"), "{}", ended.err);
}
