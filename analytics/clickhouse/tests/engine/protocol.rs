//! ClickHouse's HTTP interface, as curl and other clients use it.

use crate::world::shared;
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{Full, StreamBody};
use hyper::body::Frame;
use std::io;
use tokio::sync::mpsc;

#[tokio::test]
async fn get_reads_and_post_changes() {
    let world = shared();
    assert_eq!(world.get("/?query=SELECT+1").await.text(), "1");
    assert_eq!(world.get("/?query=SHOW+DATABASES+LIKE+'system'").await.text(), "system");
    for statement in ["CREATE+DATABASE+by_get", "INSERT+INTO+t+VALUES+(1)", "SYSTEM+FLUSH+LOGS"] {
        let answer = world.get(&format!("/?query={statement}")).await;
        assert_eq!(answer.code(), Some("164"), "{statement}: {}", answer.text());
    }
    assert_eq!(world.ok("SELECT count() FROM system.databases WHERE name = 'by_get'").await, "0");
}

#[tokio::test]
async fn formats_databases_settings_and_headers_are_a_servers() {
    let world = shared();
    let answer = world
        .post(
            "/?default_format=JSONEachRow&database=system&max_threads=1&query_id=mine",
            &[],
            "SELECT getSetting('max_threads') AS n, currentDatabase() AS d",
        )
        .await;
    assert_eq!(answer.text(), "{\"n\":1,\"d\":\"system\"}");
    let header =
        |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    assert_eq!(header("X-ClickHouse-Format"), "JSONEachRow");
    assert_eq!(header("X-ClickHouse-Query-Id"), "mine");
    assert!(header("X-ClickHouse-Summary").contains("\"read_rows\":\"1\""), "{}", header("X-ClickHouse-Summary"));
    assert!(!header("X-ClickHouse-Timezone").is_empty());
    for (path, code, status) in [
        ("/?unheard_of=1", "115", StatusCode::NOT_FOUND),
        ("/?database=nowhere", "81", StatusCode::NOT_FOUND),
        ("/?default_format=Nope", "73", StatusCode::NOT_FOUND),
        ("/?max_threads=many", "27", StatusCode::BAD_REQUEST),
    ] {
        let answer = world.post(path, &[], "SELECT 1").await;
        assert_eq!((answer.code(), answer.status), (Some(code), status), "{path}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_result_in_many_chunks_is_one_document_in_every_format() {
    let world = shared();
    world.ok("CREATE DATABASE IF NOT EXISTS chunks").await;
    world.ok("CREATE TABLE chunks.t (a UInt64, s String) ENGINE = MergeTree ORDER BY a").await;
    for part in 0..3 {
        world.ok(&format!("INSERT INTO chunks.t VALUES ({part}, 'x')")).await;
    }
    let select = "SELECT a, s FROM chunks.t ORDER BY a SETTINGS max_block_size = 1, max_threads = 1";
    for (format, expected) in [
        ("TSV", "0\tx\n1\tx\n2\tx\n"),
        ("CSVWithNames", "\"a\",\"s\"\n0,\"x\"\n1,\"x\"\n2,\"x\"\n"),
        ("JSONEachRow", "{\"a\":0,\"s\":\"x\"}\n{\"a\":1,\"s\":\"x\"}\n{\"a\":2,\"s\":\"x\"}\n"),
        ("JSONCompactColumns", "[\n\t[0, 1, 2],\n\t[\"x\", \"x\", \"x\"]\n]\n"),
        ("Values", "(0,'x'),(1,'x'),(2,'x')"),
        ("RowBinaryWithNames", "\x02\x01a\x01s\0\0\0\0\0\0\0\0\x01x\x01\0\0\0\0\0\0\0\x01x\x02\0\0\0\0\0\0\0\x01x"),
    ] {
        let asked = world.post(&format!("/?default_format={format}"), &[], select).await;
        assert_eq!(asked.body, expected.as_bytes(), "{format}");
        let named = world.ask(format!("{select} FORMAT {format}")).await;
        assert_eq!(named.body, expected.as_bytes(), "FORMAT {format}");
    }
    let array = world.post("/?output_format_json_array_of_rows=1", &[], format!("{select} FORMAT JSONEachRow")).await;
    assert_eq!(array.text().matches('[').count(), 1, "{}", array.text());
}

#[tokio::test]
async fn a_form_sends_the_query_and_its_parameters() {
    let body = "--x\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nSELECT {a:String}\r\n\
                --x\r\nContent-Disposition: form-data; name=\"param_a\"\r\n\r\nit's\r\n--x--\r\n";
    let answer = shared().post("/", &[("Content-Type", "multipart/form-data; boundary=x")], body).await;
    assert_eq!(answer.text(), "it\\'s");
}

#[tokio::test]
async fn data_may_follow_in_the_url_the_body_or_both() {
    let world = shared();
    world.ok("CREATE DATABASE IF NOT EXISTS followed").await;
    world.ok("CREATE TABLE followed.t (a UInt8, s String) ENGINE = MergeTree ORDER BY a").await;
    let binary: &[u8] = b"\x01\x04\n\n\n\n\x02\x02\n\n";
    let insert = "/?query=INSERT+INTO+followed.t+FORMAT+RowBinary";
    assert_eq!(world.post(insert, &[], Bytes::from_static(binary)).await.status, StatusCode::OK);
    let in_body = [&b"INSERT INTO followed.t FORMAT RowBinary\n"[..], b"\x03\x02\n\n"].concat();
    assert_eq!(world.ask(in_body).await.status, StatusCode::OK);
    world.ok("INSERT INTO followed.t VALUES (4, upper('d')), (5, 'e')").await;
    world.ok("INSERT INTO followed.t FORMAT CSV\n6,f\n").await;
    world.ok("INSERT INTO followed.t SELECT 7, 'g'").await;
    let summary = world.post("/?query=INSERT+INTO+followed.t+FORMAT+TSV", &[], "8\th\n9\ti\n").await;
    let summary = summary.headers["X-ClickHouse-Summary"].to_str().expect("text").to_owned();
    assert!(summary.contains("\"written_rows\":\"2\""), "{summary}");
    let found = world.ok("SELECT groupArray((a, s)) FROM (SELECT * FROM followed.t ORDER BY a)").await;
    assert_eq!(found, r"[(1,'\n\n\n\n'),(2,'\n\n'),(3,'\n\n'),(4,'D'),(5,'e'),(6,'f'),(7,'g'),(8,'h'),(9,'i')]");
    let long = format!("INSERT INTO followed.t VALUES {}", "(1,'x')".repeat(200_000));
    assert_eq!(world.ask(long).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let long = format!("INSERT INTO followed.t FORMAT CSV\n{}", "10,x\n".repeat(500_000));
    assert_eq!(world.ask(long).await.status, StatusCode::OK);
    assert_eq!(world.ok("SELECT count() FROM followed.t WHERE a = 10").await, "500000");
}

#[tokio::test]
async fn an_insert_that_breaks_off_commits_nothing() {
    let world = shared();
    world.ok("CREATE DATABASE IF NOT EXISTS broken").await;
    world.ok("CREATE TABLE broken.off (a UInt64) ENGINE = MergeTree ORDER BY a").await;
    let (feed, mut fed) = mpsc::channel::<Result<Frame<Bytes>, io::Error>>(1);
    let body = StreamBody::new(futures_util::stream::poll_fn(move |context| fed.poll_recv(context)));
    let insert = world.send(Method::POST, "/?query=INSERT+INTO+broken.off+FORMAT+RowBinary", &[], body);
    let breaking = async {
        feed.send(Ok(Frame::data(Bytes::from(vec![1; 8_000_000])))).await.expect("taken");
        world.running("broken.off", 1).await;
        feed.send(Err(io::Error::other("the client breaks off"))).await.expect("taken");
    };
    let (answer, ()) = tokio::join!(insert, breaking);
    assert!(answer.is_err(), "there was an answer");
    world.running("broken.off", 0).await;
    assert_eq!(world.ok("SELECT count() FROM broken.off").await, "0");
}

#[tokio::test]
async fn a_select_whose_client_goes_away_is_killed() {
    let world = shared();
    let endless = "SELECT sum(sipHash64(number)) FROM numbers(1000000000000) WHERE 'gone' != ''";
    let mut select = Box::pin(world.send(Method::POST, "/", &[], Full::new(Bytes::from_static(endless.as_bytes()))));
    tokio::select! {
        answer = &mut select => panic!("{:?}", answer.map(|answer| answer.text())),
        () = world.running("gone", 1) => {}
    }
    drop(select);
    world.running("gone", 0).await;
}

#[tokio::test]
async fn a_result_that_breaks_off_never_looks_complete() {
    let world = shared();
    let breaking = "SELECT throwIf(number = 2000000) FROM numbers(3000000)";
    let cut = world.send(Method::POST, "/", &[], Full::new(Bytes::from_static(breaking.as_bytes()))).await;
    assert!(cut.is_err(), "it looked complete");
    let waited = world.post("/?wait_end_of_query=1", &[], breaking).await;
    assert_eq!(waited.code(), Some("395"), "{}", waited.text());
    let short = world.ask("SELECT throwIf(number = 2) FROM numbers(3)").await;
    assert_eq!(short.code(), Some("395"), "{}", short.text());
}

#[tokio::test]
async fn a_session_keeps_its_tables_and_is_one_clients_at_a_time() {
    let world = shared();
    let path = "/?session_id=kept";
    for statement in
        ["CREATE TEMPORARY TABLE kept (a Int8)", "INSERT INTO kept VALUES (1)", "INSERT INTO kept FORMAT TSV\n2\n"]
    {
        let answer = world.post(&format!("{path}&max_threads=1"), &[], statement).await;
        assert_eq!(answer.status, StatusCode::OK, "{statement}: {}", answer.text());
    }
    let found = world.post(path, &[], "SELECT sum(a), getSetting('max_threads') = 1 FROM kept").await;
    assert_eq!(found.text(), "3\t0", "and not the settings of one request");
    assert_eq!(world.post("/?session_id=other", &[], "SELECT * FROM kept").await.code(), Some("60"));
    let slow = world.send(Method::POST, path, &[], Full::new(Bytes::from_static(b"SELECT sleep(3), 'slow'")));
    let meanwhile = async {
        world.running("slow", 1).await;
        world.post(path, &[], "SELECT 1").await
    };
    let (_, locked) = tokio::join!(slow, meanwhile);
    assert_eq!(locked.code(), Some("373"), "{}", locked.text());
}

#[tokio::test]
async fn rows_in_native_blocks_are_what_compress_asks_for() {
    let answer = shared().post("/?compress=1", &[], "SELECT repeat('x', 1000)").await;
    let size = |at: usize| u32::from_le_bytes(answer.body[at..at + 4].try_into().expect("four bytes")) as usize;
    assert_eq!((answer.body[16], size(17) + 16), (0x82, answer.body.len()));
    let plain = lz4_flex::block::decompress(&answer.body[25..], size(21)).expect("lz4");
    assert_eq!(plain, format!("{}\n", "x".repeat(1000)).into_bytes());
}
