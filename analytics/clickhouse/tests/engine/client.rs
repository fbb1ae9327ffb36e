//! The official `clickhouse` crate, unmodified.

use crate::world::{World, shared};
use clickhouse::{Client, Compression, Row};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Row, Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Everything {
    #[serde(with = "clickhouse::serde::uuid")]
    id: Uuid,
    number: u64,
    large: u128,
    small: i8,
    ratio: f64,
    cost: i128,
    at: i64,
    second: u32,
    day: u16,
    model: String,
    text: String,
    code: [u8; 4],
    flag: bool,
    perhaps: Option<u32>,
    perhaps_text: Option<String>,
    list: Vec<String>,
    tags: Vec<(String, String)>,
}

const COLUMNS: &str = "id UUID, number UInt64, large UInt128, small Int8, ratio Float64, cost Decimal(38, 12), \
    at DateTime64(3), second DateTime, day Date, model LowCardinality(String), text String, code FixedString(4), \
    flag Bool, perhaps Nullable(UInt32), perhaps_text LowCardinality(Nullable(String)), list Array(String), \
    tags Map(String, String)";

fn everything(number: u64) -> Everything {
    let text = format!("line\n\nline {number}\0\r\n");
    Everything {
        id: Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 + u128::from(number)),
        number,
        large: u128::MAX - u128::from(number),
        small: -3,
        ratio: 0.5,
        cost: -123_456_789_012_345_678_901_234_567,
        at: 1_700_000_000_123,
        second: 1_700_000_000,
        day: 20_000,
        model: format!("model-{}", number % 5),
        text: text.clone(),
        code: *b"\n\n\0x",
        flag: number.is_multiple_of(2),
        perhaps: number.is_multiple_of(3).then_some(7),
        perhaps_text: number.is_multiple_of(4).then(|| text.clone()),
        list: vec![text.clone(), String::new()],
        tags: vec![("team".to_owned(), text)],
    }
}

async fn insert(client: &Client, table: &str, rows: &[Everything]) -> clickhouse::error::Result<()> {
    let mut insert = client.insert::<Everything>(table).await?;
    for row in rows {
        insert.write(row).await?;
    }
    insert.end().await
}

#[tokio::test]
async fn every_type_survives_the_round_trip_with_and_without_validation_and_compression() {
    let rows: Vec<_> = (0..500).map(everything).collect();
    let plain = shared().client("round_trip").await;
    for validation in [true, false] {
        for (name, compression) in [("lz4", Compression::Lz4), ("none", Compression::None)] {
            let table = format!("{name}_{validation}");
            plain
                .query(&format!("CREATE TABLE {table} ({COLUMNS}) ENGINE = MergeTree ORDER BY number"))
                .execute()
                .await
                .expect("a table");
            let client = plain.clone().with_validation(validation).with_compression(compression);
            insert(&client, &table, &rows).await.expect("inserted");
            let question = format!("SELECT ?fields FROM {table} ORDER BY number");
            let found = client.query(&question).fetch_all::<Everything>().await.expect("selected");
            assert!(found == rows, "{table} changed them");
        }
    }
}

#[tokio::test]
async fn values_are_bound_by_the_client_and_by_the_server() {
    let client = shared().client("bound").await;
    let difficult = "it's \"quoted\"\n\\ and\ttabbed {x:String} ?";
    let bound: String = client.query("SELECT ?").bind(difficult).fetch_one().await.expect("bound");
    assert_eq!(bound, difficult);
    let sent: (String, u64) = client
        .query("SELECT {text:String}, {number:UInt64} + 1")
        .param("text", difficult)
        .param("number", 41_u64)
        .fetch_one()
        .await
        .expect("sent as parameters");
    assert_eq!(sent, (difficult.to_owned(), 42));
}

#[tokio::test]
async fn an_insert_with_a_token_seen_before_is_dropped() {
    let client = shared().client("deduplicated").await;
    let table = format!(
        "CREATE TABLE t ({COLUMNS}) ENGINE = MergeTree ORDER BY number SETTINGS non_replicated_deduplication_window = 100"
    );
    client.query(&table).execute().await.expect("a table");
    for (token, number) in [("one", 1), ("one", 2), ("two", 3)] {
        let client = client.clone().with_setting("insert_deduplication_token", token);
        insert(&client, "t", &[everything(number)]).await.expect("inserted or dropped");
    }
    let numbers: Vec<u64> = client.query("SELECT number FROM t ORDER BY number").fetch_all().await.expect("selected");
    assert_eq!(numbers, [1, 3]);
}

#[tokio::test]
async fn errors_keep_their_text() {
    let client = shared().client("errors").await;
    let error = |result: clickhouse::error::Result<u64>| result.expect_err("an error").to_string();
    let unknown = error(client.query("SELECT a FROM nowhere").fetch_one().await);
    assert!(unknown.contains("Code: 60. DB::Exception: ") && unknown.contains("(UNKNOWN_TABLE)"), "{unknown}");
    client.query("CREATE TABLE t (a UInt8) ENGINE = Memory").execute().await.expect("a table");
    let mismatch =
        insert(&client.clone().with_validation(false), "t", &[everything(1)]).await.expect_err("another table");
    assert!(mismatch.to_string().contains("Code: "), "{mismatch}");
}

#[tokio::test]
async fn an_error_in_the_middle_of_a_result_is_an_error() {
    let client = shared().client("middle").await;
    let mut rows =
        client.query("SELECT number + throwIf(number = 2000000) FROM numbers(3000000)").fetch::<u64>().expect("sent");
    let error = loop {
        match rows.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the result looked complete"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("Code: 395. DB::Exception: "), "{error}");
}

#[tokio::test]
async fn large_results_are_streamed_not_collected() {
    let world = World::start(&crate::world::fresh_folder("large"));
    let client = world.client("large").await;
    let bytes = |rows: u64| {
        let client = client.clone();
        async move {
            let question = format!("SELECT repeat('x', 1000) FROM numbers({rows})");
            let mut cursor = client.query(&question).fetch_bytes("RowBinary").expect("sent");
            let mut total = 0;
            while let Some(bytes) = cursor.next().await.expect("no error") {
                total += bytes.len();
            }
            total
        }
    };
    assert_eq!(bytes(300_000).await, 300_000 * 1002);
    let before = world.peak_memory();
    assert_eq!(bytes(900_000).await, 900_000 * 1002);
    let grown = world.peak_memory() - before;
    assert!(grown < 150, "three times as many rows, 900 MB, took {grown} MiB more");
    assert!(world.stop().success());
}
