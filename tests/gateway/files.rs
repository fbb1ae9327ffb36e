//! Files of callers: kept, listed, read and removed, each project its own; and every odd upload refused with its reason.

use super::raw::raw;
use penstock_tests::{Answer, Ask, World, until};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// A form: each part with its name, its file's name, and its value.
pub fn form(parts: &[(&str, Option<&str>, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, file, value) in parts {
        let kind = |file: &str| if file.ends_with(".pdf") { "application/pdf" } else { "text/plain" };
        let file = file.map(|file| format!("; filename=\"{file}\"\r\nContent-Type: {}", kind(file)));
        let file = file.unwrap_or_default();
        body.extend(format!("--b0\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").into_bytes());
        body.extend_from_slice(value);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--b0--\r\n");
    body
}

pub fn post(world: &World, path: &str, body: impl Into<bytes::Bytes>) -> Ask {
    world.post(path, &Value::Null).header("content-type", "multipart/form-data; boundary=b0").body(body)
}

/// Keeps a file, and gives its id.
pub async fn kept(world: &World, purpose: &str, name: &str, content: &[u8]) -> String {
    let body = form(&[("purpose", None, purpose.as_bytes()), ("file", Some(name), content)]);
    let answer = post(world, "/v1/files", body).await;
    assert_eq!(answer.status, 200, "{}", answer.raw());
    answer.json()["id"].as_str().expect("a file has an id").to_owned()
}

fn get(world: &World, path: &str) -> Ask {
    world.get(path).key(world.key())
}

fn delete(world: &World, path: &str) -> Ask {
    get(world, path).method(http::Method::DELETE)
}

async fn ids(world: &World, query: &str) -> (Vec<String>, bool) {
    let page = get(world, &format!("/v1/files{query}")).await.json();
    let ids = page["data"].as_array().expect("a list has data").iter();
    let ids: Vec<String> = ids.map(|file| file["id"].as_str().expect("a file has an id").to_owned()).collect();
    let ends = [&page["first_id"], &page["last_id"]].map(|id| id.as_str().map(ToOwned::to_owned));
    assert_eq!(ends, [ids.first().cloned(), ids.last().cloned()]);
    (ids, page["has_more"].as_bool().expect("a list says whether there is more"))
}

#[tokio::test]
async fn a_file_is_kept_and_read_and_removed() {
    let world = World::start().await;
    let content: Vec<u8> = (0..700_000_u32).map(|n| n.to_be_bytes()[3]).collect();
    let id = kept(&world, "user_data", "räin.bin", &content).await;
    let shown = get(&world, &format!("/v1/files/{id}")).await.json();
    let created = shown["created_at"].as_u64().expect("a file says when it was made");
    assert!(created > 1_700_000_000);
    let expected = json!({
        "id": id, "object": "file", "bytes": 700_000, "created_at": created, "filename": "räin.bin",
        "purpose": "user_data", "status": "processed",
    });
    assert_eq!(shown, expected);
    let read = get(&world, &format!("/v1/files/{id}/content")).await;
    assert_eq!((read.status.as_u16(), read.header("content-length")), (200, "700000"));
    assert!(read.body == content, "the content is as it was sent");
    assert_eq!(read.header("content-type"), "application/octet-stream");
    let gone = delete(&world, &format!("/v1/files/{id}")).await.json();
    assert_eq!(gone, json!({ "id": id, "object": "file", "deleted": true }));
    for path in [format!("/v1/files/{id}"), format!("/v1/files/{id}/content")] {
        let answer = get(&world, &path).await;
        assert_eq!((answer.status.as_u16(), answer.json()["error"]["param"].clone()), (404, json!("file_id")));
    }
    assert_eq!(delete(&world, &format!("/v1/files/{id}")).await.status, 404);
    until("no content", async || (world.stream_messages("ps_PIECES").await == 0).then_some(())).await;
}

#[tokio::test]
async fn the_fields_of_a_file_may_come_in_any_order() {
    let world = World::start().await;
    let fields: [(&str, Option<&str>, &[u8]); 4] = [
        ("file", Some("a.jsonl"), b"{}"),
        ("expires_after[seconds]", None, b"3600"),
        ("purpose", None, b"batch"),
        ("expires_after[anchor]", None, b"created_at"),
    ];
    for turn in 0..fields.len() {
        let mut fields = fields;
        fields.rotate_left(turn);
        let file = post(&world, "/v1/files", form(&fields)).await.json();
        let life = file["expires_at"].as_u64().unwrap() - file["created_at"].as_u64().unwrap();
        assert_eq!((&file["bytes"], &file["purpose"], life), (&json!(2), &json!("batch"), 3600), "{file}");
    }
    let id = kept(&world, "batch", "b.jsonl", b"{}").await;
    let file = get(&world, &format!("/v1/files/{id}")).await.json();
    let life = file["expires_at"].as_u64().unwrap() - file["created_at"].as_u64().unwrap();
    assert_eq!(life, 30 * 24 * 3600, "a file of a batch lives as long as at OpenAI");
}

#[tokio::test]
async fn files_are_listed_page_by_page_in_either_order() {
    let world = World::start().await;
    assert_eq!(ids(&world, "").await, (vec![], false));
    let mut made = Vec::new();
    for number in 0..5 {
        let purpose = if number == 2 { "vision" } else { "user_data" };
        made.push(kept(&world, purpose, &format!("{number}.txt"), b"x").await);
    }
    let newest: Vec<String> = made.iter().rev().cloned().collect();
    assert_eq!(ids(&world, "").await, (newest.clone(), false));
    assert_eq!(ids(&world, "?order=asc&limit=2").await, (made[..2].to_vec(), true));
    assert_eq!(ids(&world, &format!("?order=asc&limit=3&after={}", made[1])).await, (made[2..].to_vec(), false));
    assert_eq!(ids(&world, &format!("?limit=2&after={}", made[3])).await, (newest[2..4].to_vec(), true));
    assert_eq!(ids(&world, "?purpose=vision").await, (vec![made[2].clone()], false));
    assert_eq!(ids(&world, "?purpose=batch_output").await, (vec![], false));
    for (query, word) in
        [("?limit=0", "limit"), ("?limit=x", "limit"), ("?order=up", "order"), ("?purpose=p", "purpose")]
    {
        let answer = get(&world, &format!("/v1/files{query}")).await;
        assert!(answer.status == 400 && answer.message().contains(word), "{}", answer.raw());
    }
}

#[tokio::test]
async fn a_file_belongs_to_its_project_alone() {
    let world = World::start().await;
    let id = kept(&world, "user_data", "a.txt", b"secret").await;
    let other = super::made::key(&world, &json!({ "project": "other" })).await;
    let path = format!("/v1/files/{id}");
    for ask in [get(&world, &path), get(&world, &format!("{path}/content")), delete(&world, &path)] {
        assert_eq!(ask.key(&other).await.status, 404);
    }
    let listed = get(&world, "/v1/files").key(&other).await.json();
    assert_eq!(listed["data"], json!([]));
    assert_eq!(get(&world, &format!("/v1/files/{id}")).await.status, 200, "it is still there");
    assert_eq!(world.get(&format!("/v1/files/{id}")).await.status, 401);
}

#[tokio::test]
async fn every_odd_upload_is_refused_with_its_reason() {
    let world = World::setup().env("PENSTOCK_FILES_MAX_BYTES", "1MB").start().await;
    let ok: (&str, Option<&str>, &[u8]) = ("file", Some("a.txt"), b"x");
    let purpose: (&str, Option<&str>, &[u8]) = ("purpose", None, b"batch");
    let (long_name, long_field) = ("n".repeat(1 << 20), "p".repeat(5000));
    let name = "n".repeat(501);
    let large = vec![b'x'; (1 << 20) + 1];
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("no file", form(&[purpose]), 400, "file"),
        ("a file that is none", form(&[purpose, ("file", None, b"x")]), 400, "filename"),
        ("an empty file", form(&[purpose, ("file", Some("a.txt"), b"")]), 400, "empty"),
        ("two files", form(&[purpose, ok, ok]), 400, "twice"),
        ("no purpose", form(&[ok]), 400, "purpose"),
        ("two purposes", form(&[purpose, purpose, ok]), 400, "twice"),
        ("an unknown purpose", form(&[("purpose", None, b"fun"), ok]), 400, "`user_data`"),
        ("a purpose that is ours", form(&[ok, ("purpose", None, b"batch_output")]), 400, "`batch`"),
        ("a purpose that is no text", form(&[ok, ("purpose", None, b"\xff")]), 400, "UTF-8"),
        ("a long field", form(&[ok, ("purpose", None, long_field.as_bytes())]), 400, "4096"),
        ("a name of a megabyte", form(&[purpose, ("file", Some(&long_name), b"x")]), 400, "8192"),
        ("a long name", form(&[purpose, ("file", Some(&name), b"x")]), 400, "500"),
        ("control characters in the name", form(&[purpose, ("file", Some("a\u{7}b"), b"x")]), 400, "control"),
        ("no name", form(&[purpose, ("file", Some(""), b"x")]), 400, "filename"),
        ("a file that is too long", form(&[purpose, ("file", Some("a"), &large)]), 413, "1048576"),
        ("an expiry without an anchor", form(&[purpose, ok, ("expires_after[seconds]", None, b"3600")]), 400, "anchor"),
        (
            "a short life",
            form(&[
                purpose,
                ok,
                ("expires_after[anchor]", None, b"created_at"),
                ("expires_after[seconds]", None, b"1"),
            ]),
            400,
            "3600",
        ),
        ("a body that is cut", form(&[purpose, ok])[..150].to_vec(), 400, "cut short"),
        ("a body that is no form", b"hello".to_vec(), 400, "boundary"),
        ("nothing", Vec::new(), 400, "boundary"),
    ];
    for (what, body, status, word) in cases {
        let answer = post(&world, "/v1/files", body).await;
        assert!(
            answer.status == status && answer.message().contains(word),
            "{what}: {} {}",
            answer.status,
            answer.raw()
        );
    }
    for (kind, status) in
        [("multipart/form-data", 400), ("application/json", 415), ("multipart/form-data; boundary=", 400)]
    {
        let answer = post(&world, "/v1/files", form(&[purpose, ok])).header("content-type", kind).await;
        assert_eq!(answer.status, status, "{kind}: {}", answer.raw());
    }
    let answer = post(&world, "/v1/files", form(&[purpose, ok])).header("content-encoding", "gzip").await;
    assert_eq!(answer.status, 415, "{}", answer.raw());
    for wrong in ["file-1", "x", &"y".repeat(3000)] {
        assert_eq!(get(&world, &format!("/v1/files/{wrong}")).await.status, 404);
    }
    assert_eq!(ids(&world, "").await, (vec![], false), "nothing of it is kept");
    until("no content", async || (world.stream_messages("ps_PIECES").await == 0).then_some(())).await;
}

/// The head of an upload that announces so many bytes, and no byte of its body.
fn head(world: &World, key: &str, length: u64) -> String {
    let address = world.address();
    format!(
        "POST /v1/files HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\ncontent-length: {length}\r\n\
         content-type: multipart/form-data; boundary=b0\r\nconnection: close\r\n\r\n"
    )
}

#[tokio::test]
async fn what_is_not_allowed_is_refused_before_its_first_byte_comes() {
    let world = World::setup().env("PENSTOCK_FILES_PROJECT_BYTES", "2MB").start().await;
    let refused = async |key: &str, length| -> Answer { raw(&world, head(&world, key, length)).await };
    assert_eq!(refused("psk_none", 1000).await.status, 401);
    assert_eq!(refused(world.key(), (512 << 20) + (2 << 20)).await.status, 413);
    let full = refused(world.key(), 3 << 20).await;
    assert_eq!((full.status.as_u16(), full.json()["error"]["code"].clone()), (403, json!("storage_limit_exceeded")));
}

#[tokio::test]
async fn a_project_keeps_no_more_files_and_bytes_than_it_may() {
    let setup = World::setup().env("PENSTOCK_FILES_PROJECT_BYTES", "1MB").env("PENSTOCK_FILES_PROJECT_FILES", "3");
    let world = setup.start().await;
    let content = vec![b'x'; 700 << 10];
    let first = kept(&world, "user_data", "a", &content).await;
    let body = form(&[("purpose", None, b"user_data"), ("file", Some("b"), &content)]);
    let full = post(&world, "/v1/files", body.clone()).await;
    assert!(full.status == 403 && full.message().contains("1048576"), "{}", full.raw());
    assert_eq!(delete(&world, &format!("/v1/files/{first}")).await.status, 200);
    assert_eq!(post(&world, "/v1/files", body).await.status, 200);
    for name in ["c", "d"] {
        kept(&world, "user_data", name, b"x").await;
    }
    let many = post(&world, "/v1/files", form(&[("purpose", None, b"batch"), ("file", Some("e"), b"x")])).await;
    assert!(many.status == 403 && many.message().contains("3 files"), "{}", many.raw());
    let upload = json!({ "bytes": 1, "filename": "f", "mime_type": "text/plain", "purpose": "batch" });
    assert_eq!(world.post("/v1/uploads", &upload).await.status, 403);
}

/// Begins to send a file, and gives the connection once some of it is stored.
async fn half_sent(world: &World, address: &str) -> TcpStream {
    let mut connection = TcpStream::connect(address).await.expect("the gateway takes connections");
    let body = form(&[("purpose", None, b"user_data"), ("file", Some("half"), &vec![b'x'; 1 << 20])]);
    connection.write_all(head(world, world.key(), 2 * body.len() as u64).as_bytes()).await.expect("the head is sent");
    connection.write_all(&body[..body.len() - 20]).await.expect("half of it is sent");
    until("some content", async || (world.stream_messages("ps_PIECES").await > 1).then_some(())).await;
    connection
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing_behind() {
    let world = World::start().await;
    let connection = half_sent(&world, world.address()).await;
    assert_eq!(ids(&world, "").await, (vec![], false), "what is not complete is not listed");
    drop(connection);
    until("no content", async || (world.stream_messages("ps_PIECES").await == 0).then_some(())).await;
    assert_eq!(ids(&world, "").await, (vec![], false));
}

#[tokio::test]
async fn an_ingress_that_is_killed_leaves_nothing_that_is_listed() {
    let mut world = World::start().await;
    let (mut ingress, line) = world.role("ingress").await;
    let address = line.split("\"address\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let address = address.expect("an ingress says where it listens").to_owned();
    let _connection = half_sent(&world, &address).await;
    ingress.kill();
    ingress.ended().await;
    assert_eq!(ids(&world, "").await, (vec![], false));
    let id = kept(&world, "user_data", "a.txt", b"x").await;
    assert_eq!(ids(&world, "").await, (vec![id], false));
}

#[tokio::test]
async fn an_upload_ends_with_its_key() {
    let world = World::start().await;
    let made = super::made::post(&world, "keys", &json!({ "project": "other" })).await.json();
    let (key, id) = (made["key"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned());
    until("the key", async || (get(&world, "/v1/files").key(&key).await.status == 200).then_some(())).await;
    let mut connection = TcpStream::connect(world.address()).await.unwrap();
    let body = form(&[("purpose", None, b"user_data"), ("file", Some("half"), &vec![b'x'; 1 << 20])]);
    connection.write_all(head(&world, &key, 2 * body.len() as u64).as_bytes()).await.unwrap();
    connection.write_all(&body[..body.len() - 20]).await.unwrap();
    until("some content", async || (world.stream_messages("ps_PIECES").await > 1).then_some(())).await;
    assert_eq!(world.run(&["keys", "revoke", &id]).await.code, 0);
    let answer = super::raw::read(&mut connection).await;
    assert_eq!(answer.status, 401, "{}", answer.raw());
    until("no content", async || (world.stream_messages("ps_PIECES").await == 0).then_some(())).await;
}

#[tokio::test]
async fn a_file_that_has_expired_is_gone_and_cleaned_up() {
    let world = World::start().await;
    let id = kept(&world, "user_data", "a.txt", b"x").await;
    let mut entry = world.stored_value("ps_FILES", &format!("default.{id}")).await;
    assert_eq!((&entry["state"], &entry["sha256"].as_str().map(str::len)), (&json!("ready"), &Some(64)));
    entry["expires_at"] = json!(1);
    world.store("ps_FILES", &format!("default.{id}"), &entry).await;
    assert_eq!(get(&world, &format!("/v1/files/{id}")).await.status, 404);
    assert_eq!(get(&world, &format!("/v1/files/{id}/content")).await.status, 404);
    assert_eq!(delete(&world, &format!("/v1/files/{id}")).await.status, 404);
    assert_eq!(ids(&world, "").await, (vec![], false));
    until("no content", async || (world.stream_messages("ps_PIECES").await == 0).then_some(())).await;
}

#[tokio::test]
async fn an_upload_that_was_given_up_is_cleaned_up_by_another_process() {
    let world = World::start().await;
    let id = kept(&world, "user_data", "a.txt", b"x").await;
    let entry = world.stored_value("ps_FILES", &format!("default.{id}")).await;
    let arriving = json!({ "state": "arriving", "content": entry["segments"][0]["content"], "bytes": 1, "until": 1 });
    world.store("ps_FILES", &format!("default.{id}"), &arriving).await;
    assert_eq!(get(&world, &format!("/v1/files/{id}")).await.status, 404);
    until("no content", async || (world.stream_messages("ps_PIECES").await == 0).then_some(())).await;
}

#[tokio::test]
async fn anthropics_clients_have_files_in_their_own_shape() {
    let world = World::start().await;
    let ask = |ask: Ask| ask.header("anthropic-version", "2023-06-01").header("anthropic-beta", "files-api-2025-04-14");
    let file = ask(post(&world, "/v1/files", form(&[("file", Some("a.txt"), b"hello")]))).await.json();
    let id = file["id"].as_str().unwrap();
    let created = file["created_at"].as_str().unwrap();
    assert!(created.starts_with("20") && created.ends_with('Z'), "{created}");
    let expected = json!({
        "id": id, "type": "file", "filename": "a.txt", "mime_type": "text/plain", "size_bytes": 5,
        "created_at": created, "downloadable": true, "expires_at": null,
    });
    assert_eq!(file, expected);
    assert_eq!(ask(get(&world, &format!("/v1/files/{id}"))).await.json(), expected);
    let second = ask(post(&world, "/v1/files", form(&[("file", Some("b.txt"), b"hello")]))).await.json();
    let second = second["id"].as_str().unwrap();
    let page = ask(get(&world, "/v1/files?limit=1")).await.json();
    let next = page["next_page"].as_str().unwrap();
    let next = ask(get(&world, &format!("/v1/files?page={next}"))).await.json();
    assert_eq!((next["first_id"].as_str(), &next["next_page"]), (Some(id), &Value::Null));
    let these = ask(get(&world, &format!("/v1/files?ids[]={id}&ids[]=file-none"))).await.json();
    assert_eq!(these["data"], json!([expected]));
    assert_eq!(
        (page["data"][0]["id"].as_str(), &page["has_more"], &page["object"]),
        (Some(second), &json!(true), &Value::Null)
    );
    let page = ask(get(&world, &format!("/v1/files?after_id={second}"))).await.json();
    assert_eq!((page["first_id"].as_str(), &page["has_more"]), (Some(id), &json!(false)));
    let page = ask(get(&world, &format!("/v1/files?before_id={id}"))).await.json();
    assert_eq!((page["first_id"].as_str(), &page["has_more"]), (Some(second), &json!(false)));
    let gone = ask(delete(&world, &format!("/v1/files/{id}"))).await.json();
    assert_eq!(gone, json!({ "id": id, "type": "file_deleted" }));
    let missing = ask(get(&world, &format!("/v1/files/{id}"))).await;
    assert_eq!((missing.status.as_u16(), &missing.json()["error"]["type"]), (404, &json!("not_found_error")));
    let empty = ask(post(&world, "/v1/files", form(&[("file", Some("a.txt"), b"")]))).await;
    assert_eq!((empty.status.as_u16(), &empty.json()["error"]["type"]), (400, &json!("invalid_request_error")));
}

/// What a process has held at most so far, in bytes.
fn peak_of(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux tells of a running process");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("it tells the peak");
    line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).expect("it is a number") << 10
}

#[tokio::test]
async fn a_file_of_200_megabytes_is_never_held_in_memory() {
    const SIZE: u64 = 200 << 20;
    const MOST: u64 = 64 << 20;
    let mut world = World::start().await;
    let (ingress, line) = world.role("ingress").await;
    let address = line.split("\"address\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let address = address.expect("an ingress says where it listens").to_owned();
    get(&world, "/v1/files").at(&address).await;
    let before = peak_of(ingress.pid());
    let empty = form(&[("purpose", None, b"user_data"), ("file", Some("large.bin"), b"")]);
    let end = empty.len() - "\r\n--b0--\r\n".len();
    let mut connection = TcpStream::connect(&address).await.unwrap();
    let request = head(&world, world.key(), empty.len() as u64 + SIZE);
    connection.write_all(request.as_bytes()).await.unwrap();
    connection.write_all(&empty[..end]).await.unwrap();
    let piece: Vec<u8> = (0..1 << 20_u32).map(|n: u32| n.to_be_bytes()[3] ^ n.to_be_bytes()[1]).collect();
    for _ in 0..SIZE >> 20 {
        connection.write_all(&piece).await.expect("the gateway takes all of it");
    }
    connection.write_all(&empty[end..]).await.unwrap();
    let file = super::raw::read(&mut connection).await;
    assert_eq!(file.status, 200, "{}", file.raw());
    let file = file.json();
    assert_eq!(file["bytes"].as_u64(), Some(SIZE));
    let sent = peak_of(ingress.pid()) - before;
    assert!(sent < MOST, "{} KB more while it came", sent >> 10);
    let mut read =
        get(&world, &format!("/v1/files/{}/content", file["id"].as_str().unwrap())).at(&address).open().await;
    let mut length = 0;
    while let Some(bytes) = read.next().await {
        for (at, byte) in (length..).zip(&bytes[..]).step_by(4099) {
            assert_eq!(*byte, piece[at & 0xf_ffff], "at {at}");
        }
        length += bytes.len();
    }
    assert_eq!(length as u64, SIZE);
    let both = peak_of(ingress.pid()) - before;
    assert!(both < MOST, "{} KB more while it came and went", both >> 10);
}
