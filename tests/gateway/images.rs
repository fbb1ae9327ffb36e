//! Images from texts: counted one by one, or by their tokens where the provider tells them.

use penstock_tests::{Gate, Part, Reply, World};
use serde_json::{Value, json};

const PRICES: &str = "[[prices]]\nmodel = \"alpha/dall-e\"\nusd_per_image = \"0.04\"";

#[tokio::test]
async fn images_are_counted_and_charged_each() {
    let world = World::setup().config(PRICES).start().await;
    let body = r#"{ "created":1,"data":[{"url":"https://x/1"},{"b64_json":"AA=="}] }"#;
    world.upstream("alpha").replies(Reply::whole(200, body)).always();
    let request = json!({"model": "alpha/dall-e", "prompt": "A penstock", "n": 2, "size": "1024x1024"});
    let answer = world.post("/v1/images/generations", &request).await;
    assert_eq!((answer.raw().as_str(), answer.header("x-penstock-cost-usd")), (body, "0.08"));
    assert_eq!(world.upstream("alpha").received(1).await.path, "images/generations");
    let sql = "SELECT operation, images, input_tokens FROM attempts WHERE outcome = 'served'";
    let rows = world.sql_until(sql, |rows| rows.len() == 1).await;
    assert_eq!(rows[0], json!({"operation": "images", "images": 2, "input_tokens": null}));
}

#[tokio::test]
async fn images_with_tokens_are_charged_by_these() {
    let world = World::start().await;
    let usage = json!({"input_tokens": 50, "output_tokens": 100, "total_tokens": 150, "input_tokens_details": {"text_tokens": 10, "image_tokens": 40}});
    let body = json!({"created": 1, "data": [{"b64_json": "AA=="}], "usage": usage});
    world.upstream("alpha").replies(Reply::whole(200, body.to_string())).always();
    let answer = world.post("/v1/images/generations", &json!({"model": "alpha/m", "prompt": "A penstock"})).await;
    assert_eq!(answer.header("x-penstock-cost-usd"), "0.00105");
    let sql = "SELECT images, input_tokens, output_image_tokens FROM attempts WHERE outcome = 'served'";
    let rows = world.sql_until(sql, |rows| rows.len() == 1).await;
    assert_eq!((&rows[0]["images"], &rows[0]["output_image_tokens"]), (&json!(1), &json!(100)));
}

#[tokio::test]
async fn images_in_the_making_are_a_stream_that_ends_with_a_whole_one() {
    let world = World::start().await;
    let partial = "event: image_generation.partial_image\ndata: {\"type\":\"image_generation.partial_image\",\"b64_json\":\"AA==\"}\n\n";
    let done = "event: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"b64_json\":\"AA==\",\"usage\":{\"input_tokens\":5,\"output_tokens\":7,\"total_tokens\":12}}\n\n";
    world.upstream("alpha").replies(Reply::stream([partial, done])).once();
    let gate = Gate::new();
    world.upstream("alpha").replies(Reply::stream([partial.into(), Part::Wait(gate.clone())])).always();
    let request = json!({"model": "alpha/m", "prompt": "A penstock", "stream": true, "partial_images": 1});
    assert_eq!(world.post("/v1/images/generations", &request).await.raw(), format!("{partial}{done}"));
    let mut cut = world.post("/v1/images/generations", &request).open().await;
    assert_eq!(cut.until("\n\n").await, partial);
    gate.open();
    assert!(cut.rest().await.raw().contains("\"error\""));
    assert_eq!(world.attempts(2).await, ["alpha 200", "alpha 200 broken"]);
}

#[tokio::test]
async fn a_refused_picture_is_a_refusal_of_content_and_is_not_tried_elsewhere_as_it_is_wrong() {
    let world = World::start().await;
    let error = json!({"error": {"message": "Your request was rejected", "type": "image_generation_user_error", "param": null, "code": "moderation_blocked"}});
    world.upstream("alpha").replies(Reply::whole(400, error.to_string())).always();
    let answer = world.post("/v1/images/generations", &json!({"model": "alpha/m", "prompt": "x"})).await;
    assert_eq!(answer.error(), "400 invalid_request_error moderation_blocked");
    let rows = world
        .sql_until("SELECT failure FROM attempts", |rows| rows.len() == 1 && rows[0]["failure"] != Value::Null)
        .await;
    assert_eq!(rows[0]["failure"], "content_refused");
}

#[tokio::test]
async fn the_demo_paints() {
    let world = World::setup().demo().start().await;
    let answer =
        world.post("/v1/images/generations", &json!({"model": "demo/paint", "prompt": "A river", "n": 2})).await;
    assert!(answer.json()["data"][1]["b64_json"].as_str().unwrap().starts_with("iVBORw0KGgo"), "{}", answer.raw());
    assert_eq!(answer.header("x-penstock-cost-usd"), "0.08");
}

/// A form for images: its fields, and a file of each of these names.
fn form(fields: &[(&str, &str)], files: &[&str]) -> String {
    let part = |head: String, value: &str| format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n");
    let fields = fields.iter().map(|(name, value)| part(format!("name=\"{name}\""), value));
    let file =
        |name: &&str| part(format!("name=\"{name}\"; filename=\"a.png\"\r\nContent-Type: image/png"), "\u{89}PNG");
    fields.chain(files.iter().map(file)).collect::<String>() + "--b--\r\n"
}

#[tokio::test]
async fn images_of_images_pass_as_forms_and_are_charged_by_image() {
    let prices = "[[prices]]\nmodel = \"alpha/draw\"\nusd_per_image = \"0.04\"";
    let world = World::setup().config(prices).start().await;
    let answer = r#"{ "created":1,"data":[{"b64_json":"aGk="},{"b64_json":"aGk="}] }"#;
    world.upstream("alpha").replies(Reply::whole(200, answer)).always();
    let post = |path: &str, form: String| {
        world.ask("x").path(path).header("content-type", "multipart/form-data; boundary=b").body(form)
    };
    let fields = [("model", "alpha/draw"), ("prompt", "a hat"), ("n", "2")];
    for (path, files) in [
        ("/v1/images/edits", &["image[]", "image[]", "mask"][..]),
        ("/v1/images/variations", &["image"][..]),
        ("/openai/deployments/alpha/draw/images/edits", &["image"][..]),
    ] {
        let sent = form(&fields, files);
        let answered = post(path, sent.clone()).await;
        assert_eq!((answered.raw().as_str(), answered.header("x-penstock-cost-usd")), (answer, "0.08"), "{path}");
        let call = world.upstream("alpha").calls().pop().expect("a call");
        assert!(path.ends_with(&call.path), "{path}: {}", call.path);
        assert_eq!(String::from_utf8_lossy(&call.body), sent.replace("alpha/draw", "draw"));
    }
    for (form, error) in [
        (form(&fields[1..], &["image"]), "missing_required_parameter (model)"),
        (form(&fields, &[]), "missing_required_parameter (image)"),
        (form(&fields[..1], &["image"]), "missing_required_parameter (prompt)"),
        (form(&[fields[0], fields[1], ("n", "-1")], &["image"]), "invalid_value (n)"),
    ] {
        assert_eq!(post("/v1/images/edits", form).await.error(), format!("400 invalid_request_error {error}"));
    }
    let sql = "SELECT DISTINCT operation FROM attempts WHERE outcome = 'served' ORDER BY operation";
    let rows = world.sql_until(sql, |rows| rows.len() == 2).await;
    assert_eq!(
        rows.iter().filter_map(|row| row["operation"].as_str()).collect::<Vec<_>>(),
        ["image_edits", "image_variations"]
    );
}
