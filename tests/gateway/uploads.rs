//! Uploads: files that arrive in parts, in the order that is named at the end.

use super::files::{form, post};
use penstock_tests::{World, until};
use serde_json::{Value, json};

async fn begin(world: &World, bytes: u64) -> String {
    let wanted = json!({ "bytes": bytes, "filename": "a.jsonl", "mime_type": "text/jsonl", "purpose": "batch" });
    let upload = world.post("/v1/uploads", &wanted).await.json();
    assert_eq!(
        (&upload["object"], &upload["status"], &upload["file"]),
        (&json!("upload"), &json!("pending"), &Value::Null)
    );
    let at = |name: &str| upload[name].as_u64().expect("an upload says when it was begun and when it ends");
    assert_eq!(at("expires_at") - at("created_at"), 3600);
    upload["id"].as_str().expect("an upload has an id").to_owned()
}

async fn part(world: &World, upload: &str, data: &[u8]) -> String {
    let answer = post(world, &format!("/v1/uploads/{upload}/parts"), form(&[("data", Some("blob"), data)])).await;
    let part = answer.json();
    assert_eq!((&part["object"], part["upload_id"].as_str()), (&json!("upload.part"), Some(upload)), "{part}");
    part["id"].as_str().expect("a part has an id").to_owned()
}

#[tokio::test]
async fn parts_become_a_file_in_the_order_that_is_named() {
    let world = World::start().await;
    let (one, two) = (vec![b'1'; 300_000], vec![b'2'; 200_000]);
    let upload = begin(&world, 500_000).await;
    part(&world, &upload, &two).await;
    part(&world, &upload, b"unused").await;
    let refused = post(&world, &format!("/v1/uploads/{upload}/parts"), form(&[("data", Some("b"), &one)])).await;
    assert_eq!(refused.status, 400, "more than was announced: {}", refused.raw());
    let upload = begin(&world, 500_000).await;
    let second = part(&world, &upload, &two).await;
    let first = part(&world, &upload, &one).await;
    let complete = |body: Value| world.post(&format!("/v1/uploads/{upload}/complete"), &body);
    for (body, word) in [
        (json!({}), "part_ids"),
        (json!({ "part_ids": [first] }), "300000"),
        (json!({ "part_ids": [first, first] }), "twice"),
        (json!({ "part_ids": [first, "part_1"] }), "part_ids[1]"),
        (json!({ "part_ids": [first, second], "md5": "00" }), "MD5"),
    ] {
        let answer = complete(body).await;
        assert!(answer.status == 400 && answer.message().contains(word), "{}", answer.raw());
    }
    // The MD5 of 300,000 times `1` and 200,000 times `2`.
    let md5 = "ba4fb42c701790bb8b290760b89b23ee";
    let done = complete(json!({ "part_ids": [first, second], "md5": md5 })).await;
    let done = done.json();
    assert_eq!((&done["status"], &done["file"]["bytes"]), (&json!("completed"), &json!(500_000)), "{done}");
    let again = complete(json!({ "part_ids": [first, second] })).await.json();
    assert_eq!(again["file"], done["file"], "asked once more, it is the same file");
    let file = done["file"]["id"].as_str().unwrap();
    let content = world.get(&format!("/v1/files/{file}/content")).key(world.key()).await;
    assert!(content.body == [one, two].concat(), "the parts stand in the named order");
    let path = format!("/v1/files/{file}");
    assert_eq!(world.get(&path).method(http::Method::DELETE).key(world.key()).await.status, 200);
    assert_eq!(complete(json!({ "part_ids": [first, second] })).await.json()["status"], "completed");
    assert_eq!(world.get(&path).key(world.key()).await.status, 404, "a file that was removed does not come back");
    for path in ["parts", "cancel"] {
        let answer = post(&world, &format!("/v1/uploads/{upload}/{path}"), form(&[("data", Some("b"), b"x")])).await;
        assert!(answer.status == 400 && answer.message().contains("completed"), "{}", answer.raw());
    }
}

#[tokio::test]
async fn a_cancelled_upload_leaves_nothing() {
    let world = World::start().await;
    let upload = begin(&world, 10).await;
    let id = part(&world, &upload, b"x").await;
    let cancelled = world.post(&format!("/v1/uploads/{upload}/cancel"), &json!({})).await.json();
    assert_eq!(cancelled["status"], "cancelled");
    let refused = world.post(&format!("/v1/uploads/{upload}/complete"), &json!({ "part_ids": [id] })).await;
    assert!(refused.status == 400 && refused.message().contains("cancelled"), "{}", refused.raw());
    until("no content", async || (world.stream_messages("ps_PIECES").await == 0).then_some(())).await;
    for upload in ["upload_1", "upload_00000000000000000000000000000000"] {
        assert_eq!(world.post(&format!("/v1/uploads/{upload}/cancel"), &json!({})).await.status, 404);
    }
}

#[tokio::test]
async fn an_odd_upload_is_refused_with_its_reason() {
    let world = World::start().await;
    let good = json!({ "bytes": 1, "filename": "a", "mime_type": "text/plain", "purpose": "batch" });
    let with = |field: &str, value: Value| {
        let mut upload = good.clone();
        upload[field] = value;
        upload
    };
    for (upload, status, word) in [
        (with("bytes", Value::Null), 400, "bytes"),
        (with("bytes", json!(0)), 400, "bytes"),
        (with("bytes", json!("x")), 400, "bytes"),
        (with("bytes", json!(1_u64 << 40)), 413, "536870912"),
        (with("filename", Value::Null), 400, "filename"),
        (with("filename", json!("a\nb")), 400, "control"),
        (with("purpose", json!("batch_output")), 400, "purpose"),
        (with("mime_type", json!(7)), 400, "mime_type"),
        (with("expires_after", json!({ "anchor": "now", "seconds": 3600 })), 400, "anchor"),
        (with("expires_after", json!({ "anchor": "created_at", "seconds": 1 })), 400, "3600"),
    ] {
        let answer = world.post("/v1/uploads", &upload).await;
        assert!(answer.status == status && answer.message().contains(word), "{upload}: {}", answer.raw());
    }
    let upload = begin(&world, 10).await;
    let parts = format!("/v1/uploads/{upload}/parts");
    for (body, word) in [
        (form(&[("data", Some("b"), b"")]), "empty"),
        (form(&[("other", None, b"x")]), "data"),
        (form(&[("data", Some("b"), b"12345678901")]), "10 bytes"),
    ] {
        let answer = post(&world, &parts, body).await;
        assert!(answer.status == 400 && answer.message().contains(word), "{}", answer.raw());
    }
}
