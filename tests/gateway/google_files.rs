//! Google's way to send files: in pieces, to an address that only the beginner of the upload was given.

use super::files::{delete, get, kept};
use super::made::key;
use http::Method;
use penstock_tests::{Answer, Ask, World};
use serde_json::{Value, json};

const PATH: &str = "/upload/v1beta/files";

/// A request that begins an upload, as Google's SDKs send it.
fn start(world: &World, bytes: usize) -> Ask {
    world
        .post(PATH, &json!({ "file": { "displayName": "my requests", "mimeType": "jsonl", "sizeBytes": bytes } }))
        .header("x-goog-upload-protocol", "resumable")
        .header("x-goog-upload-command", "start")
        .header("x-goog-upload-header-content-length", &bytes.to_string())
}

/// Where the bytes of an upload go.
async fn begun(world: &World, bytes: usize) -> String {
    let answer = start(world, bytes).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-goog-upload-status")), (200, "active"), "{}", answer.raw());
    let url = answer.header("x-goog-upload-url").to_owned();
    let path = url.strip_prefix(world.url()).unwrap_or_else(|| panic!("{url} is not at {}", world.url()));
    assert!(path.starts_with(PATH), "{path}");
    path.to_owned()
}

/// A request to that address, without a key.
async fn send(world: &World, path: &str, command: &str, offset: usize, bytes: &[u8]) -> Answer {
    let ask = world.get(path).method(Method::POST).header("x-goog-upload-command", command);
    ask.header("x-goog-upload-offset", &offset.to_string()).body(bytes.to_vec()).await
}

fn standing(answer: &Answer) -> (u16, &str, &str) {
    (answer.status.as_u16(), answer.header("x-goog-upload-status"), answer.header("x-goog-upload-size-received"))
}

#[tokio::test]
async fn what_googles_client_sends_in_pieces_is_a_file_of_the_project() {
    let world = World::start().await;
    let content: Vec<u8> = (0..700_000_u32).map(|n| n.to_be_bytes()[3]).collect();
    let path = begun(&world, content.len()).await;
    let first = send(&world, &path, "upload", 0, &content[..400_000]).await;
    assert_eq!(standing(&first), (200, "active", ""), "{}", first.raw());
    assert_eq!(standing(&send(&world, &path, "query", 0, b"").await), (200, "active", "400000"));
    let last = send(&world, &path, "upload, finalize", 400_000, &content[400_000..]).await;
    assert_eq!(standing(&last), (200, "final", ""), "{}", last.raw());
    let file = last.json()["file"].clone();
    let expected = json!({ "displayName": "my requests", "mimeType": "jsonl", "sizeBytes": "700000",
        "state": "ACTIVE", "source": "UPLOADED" });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&file[field], value, "{file}");
    }
    let name = file["name"].as_str().unwrap();
    assert_eq!(file["uri"], format!("{}/v1beta/{name}", world.url()));
    assert_eq!(get(&world, &format!("/v1beta/{name}")).await.json(), file);
    let id = name.trim_start_matches("files/");
    assert!(get(&world, &format!("/v1/files/{id}/content")).await.body == content, "every byte is there");
    let again = send(&world, &path, "upload, finalize", 400_000, &content[400_000..]).await;
    assert_eq!(again.json()["file"], file, "the answer was lost, and the bytes came once more");

    let other = kept(&world, "user_data", "b.txt", b"x").await;
    let page = get(&world, "/v1beta/files?pageSize=1").await.json();
    assert_eq!(page["files"][0]["name"], format!("files/{other}"), "{page}");
    let next = format!("/v1/files?pageSize=1&pageToken={}", page["nextPageToken"].as_str().unwrap());
    let page = world.get(&next).header("x-goog-api-key", world.key()).await.json();
    assert_eq!((&page["files"][0], &page["nextPageToken"]), (&file, &Value::Null), "{page}");
    assert_eq!(delete(&world, &format!("/v1beta/{name}")).await.json(), json!({}));
    assert_eq!(get(&world, &format!("/v1beta/{name}")).await.status, 404);
}

#[tokio::test]
async fn a_piece_that_is_not_the_next_one_is_refused_and_the_upload_goes_on() {
    let world = World::start().await;
    let path = begun(&world, 6).await;
    for (command, offset, bytes, word) in [
        ("upload", 1, &b"bc"[..], "offset"),
        ("upload", 0, b"too long", "6 bytes"),
        ("upload, finalize", 0, b"abc", "3 bytes"),
        ("upload", 0, b"abc", "offset"),
        ("start", 0, b"", "x-goog-upload-command"),
    ] {
        let refused = send(&world, &path, command, offset, bytes).await;
        assert_eq!(standing(&refused), (400, "final", ""), "{command} {offset}: {}", refused.raw());
        assert!(refused.message().contains(word), "{command} {offset}: {}", refused.raw());
    }
    assert_eq!(standing(&send(&world, &path, "query", 0, b"").await), (200, "active", "3"));
    assert_eq!(standing(&send(&world, &path, "upload", 3, b"def").await), (200, "active", ""));
    let done = send(&world, &path, "finalize", 6, b"").await.json();
    assert_eq!(done["file"]["sizeBytes"], "6", "{done}");
    let cancelled = begun(&world, 6).await;
    assert_eq!(standing(&send(&world, &cancelled, "cancel", 0, b"").await), (200, "cancelled", ""));
    assert_eq!(send(&world, &cancelled, "upload", 0, b"abc").await.status, 400);
}

#[tokio::test]
async fn the_address_of_an_upload_is_good_for_its_bytes_alone_and_no_longer_than_its_key() {
    let world = World::start().await;
    let path = begun(&world, 3).await;
    let digit = path.split_once("upload_id=").map(|(_, id)| id[..1].to_owned()).unwrap();
    let other = if digit == "0" { "1" } else { "0" };
    let forged = path.replacen(&format!("upload_id={digit}"), &format!("upload_id={other}"), 1);
    for bad in [forged, format!("{PATH}?upload_id=x"), format!("{PATH}?upload_id=a.b.c")] {
        assert_eq!(send(&world, &bad, "query", 0, b"").await.status, 401, "{bad}");
    }
    let ticket = path.split_once('?').map(|(_, query)| query).unwrap();
    assert_eq!(world.get(&format!("/v1beta/files?{ticket}")).await.status, 401);
    assert_eq!(start(&world, 3).header("authorization", "").await.status, 401);

    let short = key(&world, &json!({ "name": "short" })).await;
    let answer = start(&world, 3).key(&short).await;
    let url = answer.header("x-goog-upload-url").strip_prefix(world.url()).unwrap().to_owned();
    let keys = world.get("/admin/v1/keys").key(world.admin_key()).await.json();
    let named = keys["data"].as_array().unwrap().iter().find(|key| key["name"] == "short").unwrap();
    let revoke = format!("/admin/v1/keys/{}", named["id"].as_str().unwrap());
    assert_eq!(world.get(&revoke).method(Method::DELETE).key(world.admin_key()).await.status, 200);
    penstock_tests::until("the key to hold no longer", async || {
        (send(&world, &url, "query", 0, b"").await.status == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_the_beginning_of_an_upload_is_said_in_googles_words() {
    let world = World::setup().env("PENSTOCK_FILES_MAX_BYTES", "1MB").start().await;
    for (ask, status, word) in [
        (start(&world, 3).header("x-goog-upload-protocol", "multipart"), 400, "resumable"),
        (start(&world, 3).header("x-goog-upload-command", "upload"), 400, "start"),
        (start(&world, 0), 400, "x-goog-upload-header-content-length"),
        (start(&world, 2 << 20), 413, "1048576"),
        (start(&world, 3).body(r#"{"file":{"name":"files/mine"}}"#), 400, "file.name"),
        (start(&world, 3).body("{"), 400, "JSON"),
    ] {
        let refused = ask.await;
        assert_eq!(refused.status, status, "{}", refused.raw());
        assert!(refused.message().contains(word), "{}", refused.raw());
        assert_eq!(refused.json()["error"]["code"], status);
    }
    assert_eq!(start(&world, 3).body("").await.status, 200, "nothing needs to be said of a file");
}
