//! Files of callers: kept, listed, read and removed, each project its own; and every odd upload refused with its reason.

use super::raw::raw;
use penstock_tests::{Answer, Ask, World, until};
use serde_json::{Value, json};

/// A form: each part with its name, its file's name, and its value.
pub(crate) fn form(parts: &[(&str, Option<&str>, &[u8])]) -> Vec<u8> {
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

pub(crate) fn post(world: &World, path: &str, body: impl Into<bytes::Bytes>) -> Ask {
    world.post(path, &Value::Null).header("content-type", "multipart/form-data; boundary=b0").body(body)
}

/// Keeps a file, and gives its id.
pub(crate) async fn kept(world: &World, purpose: &str, name: &str, content: &[u8]) -> String {
    let body = form(&[("purpose", None, purpose.as_bytes()), ("file", Some(name), content)]);
    let answer = post(world, "/v1/files", body).await;
    assert_eq!(answer.status, 200, "{}", answer.raw());
    answer.json()["id"].as_str().expect("a file has an id").to_owned()
}

pub(crate) fn get(world: &World, path: &str) -> Ask {
    world.get(path).key(world.key())
}

pub(crate) fn delete(world: &World, path: &str) -> Ask {
    get(world, path).method(http::Method::DELETE)
}

pub(crate) async fn ids(world: &World, query: &str) -> (Vec<String>, bool) {
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
    let ok: (&str, Option<&str>, &[u8]) = ("file", Some("a.jsonl"), b"x");
    let purpose: (&str, Option<&str>, &[u8]) = ("purpose", None, b"batch");
    let (long_name, long_field) = ("n".repeat(1 << 20), "p".repeat(5000));
    let name = "n".repeat(501);
    let large = vec![b'x'; (1 << 20) + 1];
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("no file", form(&[purpose]), 400, "file"),
        ("a file that is none", form(&[purpose, ("file", None, b"x")]), 400, "filename"),
        ("an empty file", form(&[purpose, ("file", Some("a.jsonl"), b"")]), 400, "empty"),
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
pub(crate) fn head(world: &World, key: &str, length: u64) -> String {
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
