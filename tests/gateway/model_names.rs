//! What a caller names as a model, on its way into a provider's address: it is one name there, or it is refused.

use penstock_tests::{Ask, Reply, Upstream, World};
use serde_json::{Value, json};
use std::fmt::Write;

/// Each provider's dialect: its section, and where its base URL ends.
const PROVIDERS: [(&str, &str, &str); 10] = [
    ("openai", "", "/v1"),
    ("responses", "", "/v1"),
    ("azure", "", ""),
    ("azure", "api_version = \"2024-10-21\"", ""),
    ("anthropic", "", ""),
    ("google", "", "/v1beta"),
    ("vertex", "", "/v1/projects/p/locations/l"),
    ("bedrock", "region = \"us-east-1\"", ""),
    ("mistral", "", "/v1"),
    ("cohere", "", "/v2"),
];

/// Names that would be somewhere else, had they a meaning in a path.
const TRIES: [&str; 53] = [
    "..",
    ".",
    "../files",
    "gemini-2.5-flash/../gemini-2.5-pro",
    "gemini-2.5-flash/./x",
    "gemini-2.5-flash/..",
    "gemini-2.5-flash/../../cachedContents",
    "gemini-2.5-flash/../../tunedModels/x",
    "gemini-2.5-flash/../../../upload/v1beta/files",
    "gemini-2.5-flash%2f..%2fgemini-2.5-pro",
    "gemini-2.5-flash%2F..%2Fgemini-2.5-pro",
    "gemini-2.5-flash/%2e%2e/gemini-2.5-pro",
    "gemini-2.5-flash/%2E%2E/gemini-2.5-pro",
    "gemini-2.5-flash/.%2e/gemini-2.5-pro",
    "gemini-2.5-flash/%2e./gemini-2.5-pro",
    "gemini-2.5-flash/%252e%252e/gemini-2.5-pro",
    "%2e%2e",
    "%2e%2e/files",
    "..%2ffiles",
    "..%5cfiles",
    "gemini-2.5-flash\\..\\gemini-2.5-pro",
    "..\\files",
    "gemini-2.5-flash?key=mine",
    "gemini-2.5-flash?alt=sse",
    "gemini-2.5-pro:generateContent?x=",
    "gemini-2.5-flash&model=gemini-2.5-pro",
    "gemini-2.5-flash#",
    "gemini-2.5-pro:generateContent#",
    "gemini-2.5-flash%23",
    "gemini-2.5-flash%3fx",
    "gemini-2.5-flash%00",
    "gemini-2.5-flash\u{0}",
    "gemini-2.5-flash\r\nx: y",
    "gemini-2.5-flash\n",
    "gemini-2.5-flash\t",
    " gemini-2.5-flash",
    "gemini-2.5-flash ",
    "gemini 2.5 flash",
    "/gemini-2.5-flash",
    "//evil.example/x",
    "gemini-2.5-flash/",
    "gemini-2.5-flash//x",
    "http://evil.example/",
    "gemini-2.5-flash;x=y",
    "gemini-2.5-flash,gemini-2.5-pro",
    "gemini-2.5-flash\"",
    "gemini-2.5-flash'",
    "{gemini-2.5-pro}",
    "gemini-2.5-flash|x",
    "gemini-2.5-flash\u{ff0f}\u{ff0e}\u{ff0e}",
    "gemini\u{2024}\u{2024}",
    "gemini-2.5-flash*",
    "*",
];

/// The same for Google's resources alone, where a slash and a colon have a meaning.
const GOOGLES: [&str; 8] = [
    "cachedContents/x",
    "models/gemini-2.5-pro",
    "gemini-2.5-flash/operations/x",
    "gemini-2.5-flash:batchGenerateContent",
    "gemini-2.5-flash:streamGenerateContent",
    "tunedModels/x/operations",
    "publishers/google",
    "projects/other/locations/l/publishers/google/models/gemini-2.5-pro",
];

/// A world whose providers p0, p1 … are the table's, all at one server.
async fn world() -> (World, Upstream) {
    let (tokens, upstream) = (Upstream::start("tokens").await, Upstream::start("all").await);
    let token = r#"{"access_token":"ya29.secret-token","expires_in":3599,"token_type":"Bearer"}"#;
    tokens.replies(Reply::whole(200, token)).always();
    let mut account: Value =
        serde_json::from_str(include_str!("../../workers/tests/service_account.json")).expect("the account is JSON");
    account["token_uri"] = format!("{}/token", tokens.url()).into();
    let host = upstream.url().replace("/v1", "");
    let mut config = String::new();
    for (at, (dialect, more, base)) in PROVIDERS.iter().enumerate() {
        let key = if *dialect == "vertex" { "env:ACCOUNT" } else { "a-key" };
        let section = format!("dialect = \"{dialect}\"\nbase_url = \"{host}{base}\"\nkeys = [\"{key}\"]\n");
        writeln!(config, "[providers.p{at}]\n{section}probe = false\n{more}").expect("a String can be written to");
    }
    (World::setup().config(&config).env("ACCOUNT", &account.to_string()).start().await, upstream)
}

/// One request for the model in each of the clients' dialects.
fn asks(world: &World, model: &str) -> [Ask; 4] {
    let in_path: String = model.bytes().fold(String::new(), |mut path, byte| {
        write!(path, "%{byte:02X}").expect("a String can be written to");
        path
    });
    let googles = json!({ "contents": [{ "parts": [{ "text": "Hello!" }] }] });
    [
        world.ask(model),
        world.ask(model).path("/v1/messages").field("max_tokens", json!(10)),
        world.post("/v1/responses", &json!({ "model": model, "input": "Hello!", "store": false })),
        world.post(&format!("/v1beta/models/{in_path}:generateContent"), &googles),
    ]
}

#[tokio::test]
async fn a_name_that_would_be_another_path_is_refused_in_the_callers_dialect() {
    let (world, upstream) = world().await;
    let all = (0..PROVIDERS.len()).flat_map(|at| TRIES.map(|name| (at, name)));
    let googles = (5..=6).flat_map(|at| GOOGLES.map(|name| (at, name)));
    for (at, name) in all.chain(googles) {
        let model = format!("p{at}/{name}");
        for (dialect, ask) in asks(&world, &model).into_iter().enumerate() {
            let answer = ask.await;
            let (status, body) = (answer.status.as_u16(), answer.json());
            assert!(matches!(status, 400 | 404), "{model:?} {dialect}: {status} {body}");
            let is_own = match dialect {
                1 => body["type"] == "error",
                3 => body["error"]["code"] == status && body["error"]["status"].is_string(),
                _ => body["error"]["param"] == "model",
            };
            assert!(is_own, "{model:?} {dialect}: {body}");
            assert!(answer.body.len() < 1000, "{body}");
        }
    }
    assert_eq!(upstream.targets(), Vec::<String>::new());
}

#[tokio::test]
async fn a_name_is_one_step_of_a_providers_path() {
    let (world, upstream) = world().await;
    let arn = "arn:aws:bedrock:us-east-1:1:inference-profile/us.a-v1:0";
    let mut seen = 0;
    for (at, name, target) in [
        (0, "org/model:free", "/v1/chat/completions"),
        (0, "@cf/meta/llama+x", "/v1/chat/completions"),
        (1, "gpt-5-pro", "/v1/responses"),
        (2, "my/gpt", "/openai/v1/chat/completions"),
        (3, "my/gpt", "/openai/deployments/my%2Fgpt/chat/completions?api-version=2024-10-21"),
        (4, "claude@default", "/v1/messages"),
        (5, "gemini-2.5-flash", "/v1beta/models/gemini-2.5-flash:generateContent"),
        (5, "tunedModels/mine", "/v1beta/tunedModels/mine:generateContent"),
        (6, "a@001", "/v1/projects/p/locations/l/publishers/google/models/a@001:generateContent"),
        (6, "publishers/m/models/l", "/v1/projects/p/locations/l/publishers/m/models/l:generateContent"),
        (7, arn, "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.a-v1%3A0/converse"),
        (8, "magistral", "/v1/chat/completions"),
        (9, "command-a", "/v2/chat"),
    ] {
        upstream.fails(404).always();
        let answer = world.ask(&format!("p{at}/{name}")).await;
        assert_eq!(answer.status, 404, "{name}: {}", answer.raw());
        let targets = upstream.targets();
        assert_eq!(targets[seen..], [target], "{name}");
        seen = targets.len();
    }
}

#[tokio::test]
async fn a_key_for_one_family_reaches_no_other_model() {
    let (world, upstream) = world().await;
    let made = world.tool(&["keys", "create", "--project", "p", "--models", "p5/gemini-2.5-flash*"]).await;
    let key = made["key"].as_str().expect("a new key has a secret").to_owned();
    penstock_tests::until("the new key to be known", async || {
        (world.ask("p0/m").key(&key).await.status != 401).then_some(())
    })
    .await;
    let before = upstream.targets().len();
    for name in TRIES.into_iter().chain(GOOGLES).filter(|name| name.starts_with("gemini")) {
        for ask in asks(&world, &format!("p5/{name}")) {
            let answer = ask.key(&key).await;
            assert!(matches!(answer.status.as_u16(), 400 | 404), "{name:?}: {}", answer.raw());
        }
    }
    let form = "--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\np0/a\r\n--x\r\nContent-Disposition: form-data; \
        name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n--x\r\nContent-Disposition: form-data; name=\"model\"; \
        filename=\"m\"\r\n\r\nb\r\n--x--\r\n";
    let ask = world.ask("x").path("/v1/audio/transcriptions").header("content-type", "multipart/form-data; boundary=x");
    assert_eq!(ask.body(form).await.error(), "400 invalid_request_error invalid_value (model)");
    assert_eq!(upstream.targets().len(), before);

    upstream.fails(404).always();
    world
        .ask("p0/allowed")
        .body(r#"{"model":"p0/allowed","Model":"dear","messages":[{"role":"user","content":"x"}]}"#)
        .await;
    let call = upstream.received(1).await;
    assert_eq!((&call.json()["model"], &call.json()["Model"]), (&json!("allowed"), &json!("allowed")));
}
