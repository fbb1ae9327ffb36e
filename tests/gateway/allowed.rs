//! Which models a caller may use: whatever a request asks for and however it comes to a model or to a kept answer, the lists
//! of its key and of its project hold.

use crate::made::{key, post};
use http::Method;
use penstock_tests::{Answer, Ask, World, until};
use serde_json::{Value, json};

const FORBIDDEN: &str = "403 permission_error model_forbidden (model)";

#[tokio::test]
async fn a_budget_sends_no_request_to_a_model_that_its_project_may_not_use() {
    let world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    let project = post(&world, "projects", &json!({ "name": "one", "models": ["alpha/*"] })).await;
    assert_eq!(project.status, 201, "{}", project.raw());
    let down = json!({
        "name": "own", "limit_usd": "0.00001", "cycle": "total", "match": { "project": "one" },
        "on_exceed": { "downgrade": "beta/m" },
    });
    let key = key(&world, &json!({ "project": "one", "budgets": [down] })).await;
    let ask = world.ask("alpha/m").field("max_tokens", json!(5)).key(&key);
    assert_eq!(ask.await.error(), FORBIDDEN);
    assert_eq!(world.upstream("beta").calls().len(), 0);
}

#[tokio::test]
async fn a_kept_answer_is_not_for_a_key_that_may_not_use_its_model() {
    let world = World::start().await;
    world.upstream("alpha").answers("a secret").always();
    let all = key(&world, &json!({ "project": "one" })).await;
    let few = key(&world, &json!({ "project": "one", "models": ["beta/*"] })).await;
    let ask = world.ask("alpha/m").header("idempotency-key", "once");
    assert_eq!(ask.clone().key(&all).await.text(), "a secret");
    assert_eq!(ask.clone().key(&all).await.header("idempotent-replayed"), "true");
    assert_eq!(ask.key(&few).await.error(), FORBIDDEN);

    let stream = world.ask("alpha/m").stream();
    let first = stream.clone().header("x-penstock-resumable", "true").key(&all).await.raw();
    let id = first.lines().find_map(|line| line.strip_prefix("id: ")).expect("a numbered event").to_owned();
    let resume = stream.header("last-event-id", &id);
    assert_eq!(resume.clone().key(&all).await.status, 200);
    assert_eq!(resume.key(&few).await.error(), FORBIDDEN);
    assert_eq!(world.upstream("alpha").calls().len(), 2);
}

#[tokio::test]
async fn no_field_of_a_request_leads_to_another_model_than_the_one_that_is_checked_and_paid_for() {
    let world = World::start().await;
    world.upstream("alpha").answers("hi").always();
    for (path, field, value) in [
        ("/v1/chat/completions", "models", json!(["beta/m"])),
        ("/v1/chat/completions", "fallbacks", json!([{ "model": "beta/m" }])),
        ("/v1/chat/completions", "preset", json!("dear")),
        ("/v1/messages", "models", json!(["beta/m"])),
        ("/v1/responses", "models", json!(["beta/m"])),
        ("/v1/responses", "tools", json!([{ "type": "image_generation", "model": "dear" }])),
        ("/v1/completions", "models", json!(["beta/m"])),
        ("/v1/completions", "preset", json!("dear")),
        ("/v1/chat/completions", "extra_body", json!({ "model": "beta/m" })),
        ("/v1/chat/completions", "extra_body", json!([{ "models": ["beta/m"] }])),
        ("/v1/chat/completions", "plugins", json!([{ "id": "fusion", "analysis_models": ["beta/m"] }])),
        ("/v1/chat/completions", "tools", json!([{ "type": "a:fusion", "parameters": { "model": "beta/m" } }])),
        (
            "/v1/responses",
            "input",
            json!([{ "type": "tool_search_output", "tools": [{ "type": "image_generation", "model": "dear" }] }]),
        ),
    ] {
        let mut body = json!({ "model": "alpha/m", "max_tokens": 50, "prompt": "Hi", "input": "Hi",
            "messages": [{ "role": "user", "content": "Hi" }] });
        body[field] = value;
        let answer = world.post(path, &body).await;
        assert_eq!(answer.status.as_u16(), 400, "{path} {field}: {}", answer.raw());
        assert!(answer.raw().contains("leads to another model"), "{path} {field}: {}", answer.raw());
    }
    assert_eq!(world.upstream("alpha").calls().len(), 0);
}

/// What there is of the model `alpha/m`.
struct Made {
    response: String,
    job: String,
    output: String,
    message_batch: String,
    gemini_batch: String,
    /// A chat completion that is stored.
    completion: String,
    /// A conversation, and an item of it.
    conversation: (String, String),
}

/// Routes that name no model and show no answer. The lines of a batch are checked one by one: see `batches`.
fn is_of_no_model(method: &str, path: &str) -> bool {
    let is_file = path.starts_with("/v1/files") && !path.ends_with("/content");
    let is_file = is_file
        || matches!((path, method), ("/v1beta/files" | "/upload/v1beta/files", _) | ("/v1beta/files/{id}", "delete"));
    let is_batch = path.starts_with("/v1/batches") || path.starts_with("/v1/messages/batches");
    let is_gemini = matches!((path, method), ("/v1beta/batches", _) | ("/v1beta/batches/{id}", "post" | "delete"));
    let is_batch = is_batch && !path.ends_with("/results") || is_gemini;
    // What the list of stored completions shows stands in `stored_completions`.
    let is_other = (method, path) == ("get", "/v1/chat/completions");
    // A session is a WebSocket: see `realtime`.
    let is_other = is_other || path.starts_with("/v1/realtime");
    let is_other = is_other || matches!(path, "/v1/jobs" | "/api/ps" | "/v1/feedback" | "/v1/conversations");
    is_file || path.starts_with("/v1/uploads") || is_batch || is_other
}

/// A form that asks the model `alpha/m` about a sound.
const AUDIO: &str = "--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nalpha/m\r\n--x\r\nContent-Disposition: \
    form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n--x--\r\n";

/// The same about an image.
const IMAGE: &str = "--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nalpha/m\r\n--x\r\nContent-Disposition: \
    form-data; name=\"prompt\"\r\n\r\na hat\r\n--x\r\nContent-Disposition: form-data; name=\"image\"; \
    filename=\"a.png\"\r\n\r\nPNG\r\n--x--\r\n";

/// A request of each client route for the model `alpha/m`, or for what was made of it. A new route needs its line here.
fn asks(world: &World, method: &str, path: &str, made: &Made) -> Vec<Ask> {
    let chat = || world.ask("alpha/m").path(path);
    let post = |body: Value| vec![world.post(path, &body)];
    let get = |path: &str| vec![world.get(path)];
    let kept = &made.response;
    let id = match path {
        path if path.starts_with("/v1/jobs") => &made.job,
        path if path.starts_with("/v1/files") => &made.output,
        path if path.starts_with("/v1/messages") => &made.message_batch,
        path if path.starts_with("/v1beta/batches") => &made.gemini_batch,
        path if path.starts_with("/v1/conversations") => &made.conversation.0,
        path if path.starts_with("/v1/chat") => &made.completion,
        _ => kept,
    };
    let filled = path.replace("{id}", id).replace("{item_id}", &made.conversation.1).replace("{model}", "alpha/m");
    match (method, path) {
        ("post", "/v1/chat/completions") => vec![chat(), chat().stream()],
        ("post", "/v1/messages" | "/v1/messages/count_tokens") => vec![chat().field("max_tokens", json!(5))],
        ("post", "/v1/completions" | "/v1/images/generations") => post(json!({ "model": "alpha/m", "prompt": "Hi" })),
        ("post", "/v1/embeddings" | "/v1/moderations" | "/v1/audio/speech") => {
            post(json!({ "model": "alpha/m", "input": "Hi", "voice": "alloy" }))
        }
        ("post", "/v1/rerank" | "/v2/rerank") => post(json!({ "model": "alpha/m", "query": "Hi", "documents": ["a"] })),
        ("post", "/v1/audio/transcriptions" | "/v1/audio/translations") => {
            vec![chat().header("content-type", "multipart/form-data; boundary=x").body(AUDIO)]
        }
        ("post", "/v1/images/edits" | "/v1/images/variations") => {
            vec![chat().header("content-type", "multipart/form-data; boundary=x").body(IMAGE)]
        }
        ("post", "/v1/responses/compact" | "/v1/responses/input_tokens") => {
            post(json!({ "model": "alpha/m", "input": "Hi" }))
        }
        ("post", "/v1/responses") => {
            let previous = json!({ "model": "beta/m", "input": "Hi", "previous_response_id": kept });
            let said = json!({ "model": "beta/m", "input": "Hi", "conversation": made.conversation.0 });
            [post(json!({ "model": "alpha/m", "input": "Hi" })), post(previous), post(said)].concat()
        }
        ("post", "/v1/models/{model}" | "/v1beta/models/{model}") => {
            let body = json!({ "contents": [{ "parts": [{ "text": "Hi" }] }] });
            let methods = ["generateContent", "streamGenerateContent", "countTokens"];
            methods.map(|method| world.post(&format!("{filled}:{method}"), &body)).to_vec()
        }
        ("post", "/api/chat") => {
            let body = json!({ "model": "alpha/m", "messages": [{ "role": "user", "content": "Hi" }] });
            vec![world.post(path, &body), world.post(path, &body).field("stream", json!(false))]
        }
        ("post", "/api/generate" | "/api/embed" | "/api/embeddings" | "/api/show") => {
            post(json!({ "model": "alpha/m", "prompt": "Hi", "input": "Hi" }))
        }
        ("get", path)
            if path.starts_with("/v1/models") || path.starts_with("/v1beta/models") || path == "/api/tags" =>
        {
            get(&filled)
        }
        ("get", "/v1beta/files/{id}") => get(&format!("/v1beta/files/{}:download", made.output)),
        _ => asks_of_kept(world, method, path, &filled),
    }
}

/// The same of routes that lead to what is kept.
fn asks_of_kept(world: &World, method: &str, path: &str, filled: &str) -> Vec<Ask> {
    let ask = world.get(filled);
    vec![match (method, path) {
        ("post", "/v1/conversations/{id}" | "/v1/conversations/{id}/items") => {
            world.post(filled, &json!({ "metadata": {}, "items": [] }))
        }
        ("post", "/v1/chat/completions/{id}") => world.post(filled, &json!({ "metadata": { "a": "b" } })),
        ("delete", "/v1/chat/completions/{id}") => ask.method(Method::DELETE),
        ("get", "/v1/chat/completions/{id}" | "/v1/chat/completions/{id}/messages") => ask,
        ("post", "/v1/responses/{id}/cancel" | "/v1/jobs/{id}/cancel") => ask.method(Method::POST),
        ("delete", "/v1/responses/{id}" | "/v1/jobs/{id}") => ask.method(Method::DELETE),
        ("delete", path) if path.starts_with("/v1/conversations/") => ask.method(Method::DELETE),
        ("get", "/v1/responses/{id}" | "/v1/responses/{id}/input_items" | "/v1/jobs/{id}") => ask,
        ("get", "/v1/files/{id}/content" | "/v1/messages/batches/{id}/results" | "/v1beta/batches/{id}") => ask,
        ("get", path) if path.starts_with("/v1/conversations/") => ask,
        _ => panic!("{method} {path} is new: how does it come to a model?"),
    }]
}

/// A conversation in which the model has spoken, and the item that it said.
async fn conversation(world: &World, key: &str) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned();
    let id = text(&world.post("/v1/conversations", &json!({})).key(key).await.json()["id"]);
    let asked = json!({ "model": "alpha/m", "input": "Hi", "conversation": id });
    let said = world.post("/v1/responses", &asked).key(key).await.json();
    (id, text(&said["output"][0]["id"]))
}

fn is_refused(answer: &Answer) -> bool {
    matches!(answer.status.as_u16(), 403 | 404) && !answer.raw().contains("a secret")
}

#[tokio::test]
async fn no_route_leads_to_a_model_or_to_an_answer_of_one_that_the_key_may_not_use() {
    let world = World::start().await;
    for upstream in ["alpha", "beta"] {
        world.upstream(upstream).answers("a secret").always();
    }
    let few = key(&world, &json!({ "project": "one", "models": ["beta/*"] })).await;
    let all = key(&world, &json!({ "project": "one" })).await;
    let made = world.post("/v1/responses", &json!({ "model": "alpha/m", "input": "Hi" })).key(&all).await.json();
    let response = made["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    let job = world.ask("alpha/m").header("prefer", "respond-async").key(&all).await.json();
    let job = job["id"].as_str().unwrap_or_else(|| panic!("{job}")).to_owned();
    let output = super::batches::answers(&world, &all, "alpha/m").await;
    let message_batch = super::message_batches::ended(&world, &all, "alpha/m").await;
    let gemini_batch = super::gemini_batches::ended(&world, &all, "alpha/m").await;
    let conversation = conversation(&world, &all).await;
    let stored = world.ask("alpha/m").field("store", json!(true)).key(&all).await.json();
    let completion = stored["id"].as_str().unwrap_or_else(|| panic!("{stored}")).to_owned();
    let calls = 7;
    until("all to be answered", async || (world.upstream("alpha").calls().len() == calls).then_some(())).await;
    let made = Made { response, job, output, message_batch, gemini_batch, completion, conversation };
    let document = world.get("/openapi.json").key(&all).await.json();
    let mut routes = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            if operation["tags"][0] != "clients" {
                continue;
            }
            if is_of_no_model(method, path) {
                continue;
            }
            routes += 1;
            for ask in asks(&world, method, path, &made) {
                let answer = ask.key(&few).await;
                let is_list = path.ends_with("/models") || path == "/api/tags";
                let lists_none =
                    || answer.status == 200 && !answer.raw().contains("alpha") && answer.raw().contains("beta");
                assert!(if is_list { lists_none() } else { is_refused(&answer) }, "{method} {path}: {}", answer.raw());
            }
        }
    }
    assert!(routes > 20, "{routes}");
    assert_eq!((world.upstream("alpha").calls().len(), world.upstream("beta").calls().len()), (calls, 0));
    let conversation = &made.conversation.0;
    let still = world.get(&format!("/v1/conversations/{conversation}/items")).key(&all).await;
    assert_eq!(still.json()["data"].as_array().map(Vec::len), Some(2), "{}", still.raw());
    let still = world.get(&format!("/v1/responses/{}", made.response)).key(&all).await;
    assert!(still.raw().contains("a secret"), "{}", still.raw());
    for path in [
        format!("/v1/jobs/{}", made.job),
        format!("/v1/chat/completions/{}", made.completion),
        format!("/v1/files/{}/content", made.output),
        format!("/v1/messages/batches/{}/results", made.message_batch),
        format!("/v1beta/batches/{}", made.gemini_batch),
    ] {
        let still = world.get(&path).key(&all).await;
        assert!(still.raw().contains("a secret"), "{path}: {}", still.raw());
    }
}
