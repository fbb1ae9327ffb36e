//! What an operator manages in a file and on the command line: shown as a diff, applied as a whole, or refused as a whole.

use penstock_tests::{World, until};
use serde_json::{Value, json};

const DECLARED: &str = r#"
[[projects]]
name = "search"
[[budgets]]
name = "search-monthly"
match = { project = "search" }
limit_usd = "50.00"
cycle = "monthly"
[[keys]]
id = "web"
project = "search"
[[keys]]
id = "preset-web"
project = "search"
secret = "env:WEB_KEY"
"#;

/// What is applied by hand. The gateway does not watch it, so it never applies it by itself.
const FILE: &str = "by-hand.toml";

/// Adds to the file, which begins as the gateway's.
fn declare(world: &World, toml: &str) {
    let read = |name: &str| std::fs::read_to_string(world.folder().path().join(name));
    let before = read(FILE).or_else(|_| read("front.toml")).expect("the gateway has a file");
    world.folder().write(FILE, &(before + toml));
}

async fn names(world: &World, sort: &str) -> Vec<String> {
    let list = world.tool(&[sort, "list"]).await;
    let field = if sort == "keys" { "id" } else { "name" };
    list.as_array().expect("a list").iter().map(|one| one[field].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test]
async fn a_file_is_shown_as_a_diff_applied_once_and_pruned_when_asked() {
    let world = World::setup().env("WEB_KEY", "psk_of_the_environment_1").start().await;
    world.tool(&["users", "create", "ann"]).await;
    declare(&world, DECLARED);
    let dry = world.run_reading(FILE, &["apply", "--dry-run"]).await;
    assert_eq!(dry.code, 0, "{}", dry.err);
    let lines =
        ["+ project search: enabled true", "+ budget search-monthly: match", "+ key web: ", "+ key preset-web: "];
    for line in lines {
        assert!(dry.out.lines().any(|found| found.starts_with(line)), "{line}: {}", dry.out);
    }
    assert!(dry.out.ends_with("4 to make, 0 to change, 0 to remove; nothing was changed\n"), "{}", dry.out);
    assert_eq!(names(&world, "budgets").await, Vec::<String>::new());

    let applied = world.run_reading(FILE, &["apply", "--format", "json"]).await;
    assert_eq!(applied.code, 0, "{}", applied.err);
    let applied: Value = serde_json::from_str(&applied.out).expect("JSON");
    let secret = applied["keys"]["web"].as_str().unwrap_or_else(|| panic!("{applied}")).to_owned();
    assert_eq!(applied["keys"].as_object().map(serde_json::Map::len), Some(1), "{applied}");
    for secret in [secret.as_str(), "psk_of_the_environment_1"] {
        until("the key to be known", async || (world.ask("fast").key(secret).await.status == 200).then_some(())).await;
    }
    let again = world.run_reading(FILE, &["apply"]).await;
    assert!(again.out.starts_with("everything is as "), "{}", again.out);

    declare(&world, "[[limits]]\nname = \"l\"\nrates = { requests_per_minute = 9 }\n");
    let changed = world.run(&["budgets", "set", "search-monthly", "limit_usd=60"]).await;
    assert_eq!(changed.code, 0, "{}", changed.err);
    let pruned = world.run_reading(FILE, &["apply", "--prune"]).await;
    for line in [
        "~ budget search-monthly: limit_usd \"60\" → \"50.00\"",
        "+ limit l",
        "- user ann",
        "1 made, 1 changed, 1 removed",
    ] {
        assert!(pruned.out.lines().any(|found| found.starts_with(line)), "{line}: {}", pruned.out);
    }
    assert_eq!(world.ask("fast").await.status, 200, "the first key is never pruned");
    let rows =
        world.sql_until("SELECT action, kind, name, source FROM audit ORDER BY at", |rows| rows.len() >= 9).await;
    let ways: Vec<&str> = rows.iter().filter_map(|row| row["source"].as_str()).collect();
    assert_eq!(ways, ["cli", "apply", "apply", "apply", "apply", "cli", "apply", "apply", "apply"]);
}

#[tokio::test]
async fn a_file_with_mistakes_changes_nothing_and_tells_them_all() {
    let world = World::start().await;
    let wrong = r#"
[[projects]]
name = "search"
[[projects]]
name = "search"
[[budgets]]
name = "Monthly"
limit_usd = "-1"
cycle = "hourly"
time_zone = "Berlin"
colour = "red"
[[budgets]]
name = "down"
limit_usd = "1"
on_exceed = { downgrade = "cheap" }
[[limits]]
name = "l"
rates = { requests_per_minute = 0 }
[[keys]]
id = "k"
secret = "psk_written_here_itself"
"#;
    declare(&world, wrong);
    for command in ["apply", "check"] {
        let output = world.run_reading(FILE, &[command]).await;
        assert_eq!(output.code, 64, "{}", output.err);
        for place in [
            "by-hand.toml: projects[1].name: `search` is there twice",
            "budgets[0].name: ",
            "budgets[0].limit_usd: ",
            "budgets[0].cycle: ",
            "budgets[0].time_zone: ",
            "budgets[0].colour: ",
            "budgets[1].on_exceed: there is no [models.cheap]",
            "limits[0].requests_per_minute: ",
            "keys[0].secret: must not stand here itself",
        ] {
            assert!(output.err.contains(place), "{place}: {}", output.err);
        }
        assert!(output.err.contains("the configuration has 9 mistakes:"), "{}", output.err);
    }
    let list = world.get("/admin/v1/projects").key(world.admin_key()).await.json();
    assert_eq!(list["data"], json!([]));
}

#[tokio::test]
async fn the_secrets_of_the_keys_that_were_made_are_shown_though_a_later_one_fails() {
    let world = World::start().await;
    declare(&world, "[[keys]]\nid = \"first\"\nproject = \"search\"\n");
    assert_eq!(world.run_reading(FILE, &["apply"]).await.code, 0);
    let held = world.stream_bytes("KV_ps_KEYS").await;
    declare(
        &world,
        "[[keys]]\nid = \"second\"\nproject = \"search\"\n[[keys]]\nid = \"third\"\nproject = \"search\"\n",
    );
    // Room for one more key, which takes some 400 bytes.
    world.limit_stream("KV_ps_KEYS", held + 600).await;
    let applied = world.run_reading(FILE, &["apply"]).await;
    assert_ne!(applied.code, 0, "{}", applied.out);
    let line = applied.out.lines().find_map(|line| line.strip_prefix("key second (shown only now): "));
    let secret = line.unwrap_or_else(|| panic!("{} {}", applied.out, applied.err));
    assert!(!applied.out.contains("key third"), "{}", applied.out);
    until("the key to be known", async || (world.ask("fast").key(secret).await.status == 200).then_some(())).await;
    world.limit_stream("KV_ps_KEYS", 1 << 30).await;
    let rest = world.run_reading(FILE, &["apply"]).await;
    assert!(rest.code == 0 && rest.out.contains("key third (shown only now): "), "{} {}", rest.out, rest.err);
    let rows = world.sql_until("SELECT name FROM audit WHERE kind = 'key'", |rows| rows.len() >= 3).await;
    assert_eq!(rows.len(), 3, "each is recorded: {rows:?}");
}

#[tokio::test]
async fn what_a_file_declares_is_there_when_the_gateway_is_ready() {
    let mut world = World::setup().config(DECLARED).env("WEB_KEY", "psk_of_the_environment_1").start().await;
    assert_eq!(names(&world, "budgets").await, ["search-monthly"]);
    assert_eq!(names(&world, "keys").await, ["preset", "preset-web"], "who starts cannot show a secret");
    assert_eq!(world.ask("fast").key("psk_of_the_environment_1").await.status, 200);
    world.tool(&["projects", "create", "other"]).await;
    world.terminate();
    world.up().ended().await;
    world.again().await;
    assert_eq!(names(&world, "projects").await, ["other", "search"], "a start removes nothing");
}

#[tokio::test]
async fn the_command_line_makes_shows_changes_and_removes() {
    let world = World::start().await;
    let made =
        world.tool(&["budgets", "create", "b", "match.project=search", "limit_usd=5", "cycle=total", "per=user"]).await;
    assert_eq!((&made["limit_usd"], &made["per"]), (&json!("5"), &json!(["user"])));
    assert!(made["warnings"][0].as_str().is_some_and(|text| text.contains("no project `search`")), "{made}");
    let told = world.run(&["budgets", "set", "b", "per=", "limit_usd=7"]).await;
    assert!(told.code == 0 && told.err.contains("warning: it matches nothing now"), "{}", told.err);
    let list = world.run(&["budgets", "list"]).await.out;
    assert!(list.contains("settled") && list.contains("never") && list.contains("project=search"), "{list}");
    let csv = world.run(&["budgets", "list", "--format", "csv"]).await.out;
    assert_eq!(csv.lines().nth(1), Some("b,project=search,,total,0,0,7,usd,7,never,reject"));

    let wrong = world.run(&["budgets", "set", "b", "limit_usd=lots", "cycle=hourly"]).await;
    assert!(wrong.code == 1 && wrong.err.contains("limit_usd: ") && wrong.err.contains("cycle: "), "{}", wrong.err);
    let unknown = world.run(&["budgets", "show", "nope"]).await;
    assert!(unknown.code == 1 && unknown.err.contains("penstock budgets list"), "{}", unknown.err);
    let twice = world.run(&["budgets", "create", "b", "limit_usd=1"]).await;
    assert!(twice.code == 1 && twice.err.contains("penstock budgets set"), "{}", twice.err);
    assert_eq!(world.run(&["budgets", "delete", "b"]).await.code, 0);

    let token = world.tool(&["admins", "create", "ann", "role=viewer"]).await["key"].clone();
    until("the token to be known", async || {
        let answer = world.get("/admin/v1/budgets").key(token.as_str().expect("a token")).await;
        (answer.status == 200).then_some(())
    })
    .await;
    let key = world.tool(&["keys", "create", "--project", "search", "rates.requests_per_minute=60"]).await;
    let id = key["id"].as_str().expect("an id").to_owned();
    world.tool(&["keys", "set", &id, "tags.team=red"]).await;
    let shown = world.tool(&["keys", "show", &id]).await;
    assert_eq!((&shown["tags"]["team"], &shown["rates"]["requests_per_minute"]), (&json!("red"), &json!(60)));
    let held = world.run(&["projects", "create", "search"]).await;
    assert_eq!(held.code, 0, "{}", held.err);
    let refused = world.run(&["projects", "delete", "search"]).await;
    assert!(refused.code == 1 && refused.err.contains("--force"), "{}", refused.err);

    let audit = until("the audit", async || {
        let rows = world.tool(&["audit", "--object", "budget"]).await;
        (rows.as_array().is_some_and(|rows| rows.len() == 3)).then_some(rows)
    })
    .await;
    let actions: Vec<&Value> = audit.as_array().expect("rows").iter().map(|row| &row["action"]).collect();
    assert_eq!(actions, ["delete", "update", "create"]);
    assert_eq!(audit[0]["source"], json!("cli"));
}
