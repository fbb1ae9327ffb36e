//! The tables: made once, whoever starts when; never from an edited migration; kept as long as the operator says.

mod support;

use penstock_analytics::{Database, Retention, SqlFormat, statements_of};
use penstock_schemas::event::CacheResult;
use std::time::Duration;
use support::events::{now, price, request, requested, start, started};
use support::{World, be_engine};

#[test]
fn engine_process() {
    be_engine();
}

const APPLIED: &str = "SELECT groupArray(number) FROM (SELECT number FROM migrations FINAL ORDER BY number)";

/// The numbers of all migrations that there are, as ClickHouse writes them.
fn all() -> String {
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/schema")).expect("it is there");
    let files = folder.filter(|file| file.as_ref().is_ok_and(|file| file.path().extension() == Some("sql".as_ref())));
    let numbers: Vec<String> = (1..=files.count()).map(|number| number.to_string()).collect();
    format!("[{}]", numbers.join(","))
}

#[tokio::test]
async fn migrations_are_applied_once_even_by_two_at_a_time() {
    let world = World::new().await;
    let (one, two) = tokio::join!(world.start(vec![]), world.start(vec![]));
    let (one, two) = (one.unwrap(), two.unwrap());
    world.until(APPLIED, &all()).await;
    let again = world.start(vec![]).await.unwrap();
    assert_eq!(world.value(APPLIED).await, all());
    for analytics in [one, two, again] {
        assert!(analytics.drain(Duration::from_secs(60)).await);
    }
}

#[tokio::test]
async fn a_database_that_was_made_by_other_migrations_is_refused() {
    let world = World::new().await;
    drop(world.start(vec![]).await.unwrap());
    world.execute("INSERT INTO migrations (number, name, sha256) VALUES (2, 'requests', 'edited')").await;
    let Err(error) = world.start(vec![]).await else { panic!("it was taken") };
    let message = error.to_string();
    assert!(message.contains("migration 2 (requests) of database penstock"), "{message}");
}

#[tokio::test]
async fn the_retention_can_be_set_changed_and_taken_back() {
    let mut world = World::new().await;
    let made = "SELECT extract(create_table_query, 'TTL toDateTime.started_at. . toIntervalDay.([0-9]+)')
        FROM system.tables WHERE database = 'penstock' AND name = 'attempt_log'";
    for (retention, days) in [(Retention::Days(400), "400"), (Retention::Days(30), "30"), (Retention::Off, "")] {
        world.config.retention = retention;
        let analytics = world.start(vec![]).await.unwrap();
        world.until(made, days).await;
        assert!(analytics.drain(Duration::from_secs(60)).await);
    }
}

#[tokio::test]
async fn the_views_have_the_types_that_they_declare() {
    let world = World::new().await;
    let prices = vec![price("openai/gpt-4o", "day1", now(), r#"{"input":"1"}"#)];
    let _analytics = world.start(prices).await.unwrap();
    let one = start("search", "openai/gpt-4o", now());
    world.write([started(&one), requested(request(&one, CacheResult::Off))]).await;
    world.until("SELECT count() FROM requests", "1").await;
    for view in ["attempts", "requests", "prices"] {
        let declared =
            format!("SELECT name, type FROM system.columns WHERE database = 'penstock' AND table = '{view}'");
        for column in world.rows(&declared).await {
            let (name, declared) = (column["name"].as_str().unwrap(), column["type"].as_str().unwrap());
            let found = world.rows(&format!("SELECT toTypeName({name}) AS type FROM {view} LIMIT 1")).await;
            let found = found[0]["type"].as_str().unwrap();
            let plain = |text: &str| text.replace("LowCardinality(", "").replace(['(', ')'], "");
            assert_eq!(plain(found), plain(declared), "{view}.{name}");
        }
    }
}

#[tokio::test]
async fn sql_reads_in_three_formats_and_never_writes() {
    let world = World::new().await;
    let _analytics = world.start(vec![]).await.unwrap();
    let warehouse = world.warehouse();
    let ask = async |text: &str, format| {
        let answer = warehouse.sql(text, format).unwrap().collect().await;
        answer.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).map_err(|error| error.to_string())
    };
    let text = "SELECT 1 AS n, 'a?b' AS t, toDecimal128('0.10', 12) AS d;\n";
    let json: serde_json::Value = serde_json::from_str(&ask(text, SqlFormat::Json).await.unwrap()).unwrap();
    assert_eq!(json, serde_json::json!([{"n": 1, "t": "a?b", "d": 0.1}]));
    assert_eq!(ask(text, SqlFormat::Csv).await.unwrap(), "\"n\",\"t\",\"d\"\n1,\"a?b\",0.1\n");
    assert!(ask(text, SqlFormat::Table).await.unwrap().contains("│ a?b │"));
    assert_eq!(ask("SELECT 1 WHERE 0", SqlFormat::Json).await.unwrap().trim(), "[\n\n]");
    for bad in [
        "TRUNCATE TABLE attempt_log",
        "INSERT INTO price_log SELECT * FROM price_log",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT 1 SETTINGS max_execution_time = 0",
        "SET max_execution_time = 0",
        "CREATE TABLE t (a Int8) ENGINE = Memory",
        "CREATE TEMPORARY TABLE t (a Int8)",
        "SELECT * FROM file('penstock-users.xml', 'RawBLOB')",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
        "SELECT * FROM remote('127.0.0.1:1', 'system.one')",
        "SELECT * FROM s3('http://127.0.0.1:1/b/k', 'LineAsString')",
        "SELECT * FROM executable('true', 'TSV', 'a String')",
        "SELECT 1 INTO OUTFILE '/tmp/penstock-sql'",
        "SYSTEM FLUSH LOGS",
        "KILL QUERY WHERE 1",
        "/* SELECT */ KILL QUERY WHERE 1",
    ] {
        let refused = match warehouse.sql(bad, SqlFormat::Csv) {
            Ok(mut answer) => answer.collect().await.is_err(),
            Err(_) => true,
        };
        assert!(refused, "{bad}");
    }
    let error = ask("SELECT nonsense FROM attempts", SqlFormat::Csv).await.unwrap_err();
    assert!(error.starts_with("Code: 47.") && error.contains("nonsense"), "{error}");
}

/// Each migration writes a view anew as a whole: one that was written beside another may have left its columns out.
#[tokio::test]
async fn the_views_show_every_column_of_their_tables() {
    let world = World::new().await;
    let _analytics = world.start(vec![]).await.unwrap();
    for (view, table) in [("attempts", "attempt_log"), ("requests", "request_log")] {
        let missing = format!(
            "SELECT arrayStringConcat(groupArray(name), ' ') FROM system.columns WHERE table = '{table}' AND name NOT IN
             ('inserted_at', 'version') AND name NOT IN (SELECT name FROM system.columns WHERE table = '{view}')"
        );
        assert_eq!(world.value(&missing).await, "", "columns of {table} that {view} does not show");
    }
}

#[tokio::test]
async fn the_tables_of_a_cluster_are_the_same_statements_with_replicas_and_the_engine_can_read_them() {
    let world = World::new().await;
    let single = Database::parse("penstock").unwrap();
    let cluster = single.clone().on_cluster("main").unwrap();
    let (plain, replicated) = (statements_of(&single), statements_of(&cluster));
    // Makes the database, which even a question of the parser is asked in.
    let _analytics = world.start(vec![]).await.unwrap();
    assert_eq!(plain.len(), replicated.len());
    for (plain, replicated) in plain.iter().zip(&replicated) {
        let back = replicated.replacen(" ON CLUSTER main", "", 1).replace("ReplicatedReplacing", "Replacing");
        assert_eq!(*plain, back, "nothing else differs");
        assert_eq!(replicated.matches(" ON CLUSTER main").count(), 1, "{replicated}");
        assert_eq!(plain.matches("ENGINE = ").count(), replicated.matches("ENGINE = Replicated").count());
        // The engine's own parser: there is no cluster here to carry it out.
        world.execute(&format!("EXPLAIN AST {replicated}")).await;
    }
}

/// What people read are the views over these.
const INNER: &str = "name LIKE '%\\_log' OR name LIKE 'spend\\_%' OR name = 'migrations'";

#[tokio::test]
async fn the_page_of_the_ledger_names_every_column_of_every_table() {
    let world = World::new().await;
    let analytics = world.start(vec![]).await.unwrap();
    let statement = format!(
        "SELECT table, name, type, comment FROM system.columns WHERE database = 'penstock' AND table IN
        (SELECT name FROM system.tables WHERE database = 'penstock' AND NOT ({INNER})) ORDER BY table, position"
    );
    let (mut made, mut last) = (String::new(), String::new());
    for row in world.rows(&statement).await {
        let [table, name, kind, comment] =
            ["table", "name", "type", "comment"].map(|column| row[column].as_str().unwrap());
        if table != last {
            made.push_str(&format!("\n### {table}\n\n| column | type | |\n|---|---|---|\n"));
            table.clone_into(&mut last);
        }
        made.push_str(&format!("| `{name}` | `{kind}` | {comment} |\n"));
    }
    assert!(analytics.drain(Duration::from_secs(60)).await);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/docs/ledger.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, written) = page.split_at(page.find("\n### ").unwrap_or(page.len()));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, format!("{before}{made}")).unwrap();
        return;
    }
    assert_eq!(made, written, "UPDATE_DOCS=1 writes deploy/docs/ledger.md");
}
