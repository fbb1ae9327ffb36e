//! The strategy `auto`: each question goes to the target whose answer to it is worth its cost, by what is known of such questions.

use penstock_tests::{Answer, Ask, World, tool};
use serde_json::{Value, json};

const EASY: &str = "Which city is the capital of France?";
const HARD: &str = "If 3 machines make 7 parts in 4 hours and each part needs 2 screws, calculate how many hours 5 machines need \
    to make at least 210 parts, unless one of the machines is never used after 6 hours, and explain why the total is not less than 60.";

/// A world with the virtual model `pick`, of the dearer `alpha/m` and the cheaper `beta/m`.
async fn world(settings: &str, more: &str, has_model: bool) -> World {
    let config = format!(
        "[models.pick]\nstrategy = \"auto\"\nexplore = \"0%\"\n{settings}\ntargets = [{{ model = \"alpha/m\" }}, {{ model = \"beta/m\" }}]\n{more}"
    );
    let setup = World::setup().config(&config);
    let setup = if has_model { setup.env("PENSTOCK_LOCAL_MODELS", &tool("PENSTOCK_LOCAL_MODELS")) } else { setup };
    let world = setup.start().await;
    world.upstream("alpha").answers("a").always();
    world.upstream("beta").answers("b").always();
    if has_model {
        // The first text takes longer than a request waits.
        let first = world.post("/v1/embeddings", &json!({ "model": "local/all-MiniLM-L6-v2", "input": "first" }));
        assert_eq!(first.header("x-penstock-cache", "off").await.status, 200);
    }
    world
}

fn ask(world: &World, text: &str) -> Ask {
    let messages = json!([{ "role": "user", "content": text }]);
    world.ask("pick").field("messages", messages).field("max_tokens", json!(100)).header("x-penstock-explain", "true")
}

fn route(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.raw());
    serde_json::from_str(answer.header("x-penstock-route")).unwrap_or_else(|error| panic!("{error}: {}", answer.raw()))
}

/// What is expected of a target.
fn candidate<'a>(told: &'a Value, target: &str) -> &'a Value {
    let all = told["candidates"].as_array().expect("candidates");
    all.iter().find(|one| one["target"] == target).unwrap_or_else(|| panic!("{target}: {told}"))
}

fn gain(told: &Value) -> f64 {
    let quality = |target: &str| candidate(told, target)["quality"].as_f64().expect("a quality");
    quality("alpha/m") - quality("beta/m")
}

#[tokio::test]
async fn a_hard_question_goes_to_the_dearer_and_an_easy_one_to_the_cheaper_and_both_say_why() {
    let world = world("", "", true).await;
    let (easy, hard) = (ask(&world, EASY).await, ask(&world, HARD).await);
    let targets = [&easy, &hard].map(|answer| answer.header("x-penstock-target").to_owned());
    let (easy, hard) = (route(&easy), route(&hard));
    assert!(gain(&hard) > gain(&easy), "{easy} {hard}");
    assert_eq!(targets, ["beta/m", "alpha/m"], "{easy} {hard}");
    assert_eq!(hard["strategy"], json!("auto"));
    assert!(hard["reason"].as_str().is_some_and(|reason| reason.contains("words and meaning")), "{hard}");
    assert!(candidate(&hard, "alpha/m")["usd"].as_f64() > candidate(&hard, "beta/m")["usd"].as_f64(), "{hard}");
    assert_eq!(candidate(&hard, "alpha/m")["level"], json!(0.9), "by the order of prices: {hard}");

    let request = json!({ "model": "pick", "max_tokens": 100, "messages": [{ "role": "user", "content": HARD }] });
    let plan = world.post("/admin/v1/route", &json!({ "request": request })).key(world.admin_key()).await.json();
    assert_eq!((&plan["plan"][0], gain(&plan).to_bits()), (&json!("alpha/m"), gain(&hard).to_bits()), "{plan}");

    world.requests(3).await;
    let rows = world.sql("SELECT strategy, length(JSONExtract(route, 'features', 'Array(Float32)')) AS features, propensity FROM requests WHERE model = 'pick'").await;
    for row in &rows {
        assert_eq!((&row["strategy"], &row["features"], &row["propensity"]), (&json!("auto"), &json!(97), &json!(1)));
    }
}

#[tokio::test]
async fn the_dial_and_the_least_quality_decide_between_the_cheapest_and_the_best() {
    let models = ["cheap", "best", "good"].map(|name| {
        let key = match name {
            "cheap" => "cost_quality = 0",
            "best" => "cost_quality = 1",
            _ => "min_quality = 0.8",
        };
        format!("[models.{name}]\nstrategy = \"auto\"\nexplore = \"0%\"\n{key}\ntargets = [{{ model = \"alpha/m\", quality = 0.95 }}, {{ model = \"beta/m\", quality = 0.6 }}]\n")
    });
    let world = world("", &models.concat(), false).await;
    for (model, wanted) in [("cheap", "beta/m"), ("best", "alpha/m"), ("good", "alpha/m")] {
        let answer = ask(&world, HARD).field("model", json!(model)).await;
        assert_eq!(answer.header("x-penstock-target"), wanted, "{model}: {}", route(&answer));
    }
}

#[tokio::test]
async fn without_a_vector_the_words_decide_and_it_is_said() {
    let world = world("", "", false).await;
    let told = route(&ask(&world, HARD).await);
    let says = |told: &Value, words: &str| told["reason"].as_str().is_some_and(|reason| reason.contains(words));
    assert!(says(&told, "its words alone: the built-in model that embeds is not here"), "{told}");
    assert!(gain(&told) > gain(&route(&ask(&world, EASY).await)), "{told}");
    // An image without a word is a question too.
    let image = json!([{ "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA" } }]);
    let told = route(
        &world
            .ask("pick")
            .field("messages", json!([{ "role": "user", "content": image }]))
            .header("x-penstock-explain", "true")
            .await,
    );
    assert!(says(&told, "no question in words"), "{told}");
}

#[tokio::test]
async fn a_request_is_embedded_once_for_the_cache_and_for_the_route() {
    let world = world("", "[cache]\nmode = \"semantic\"\n", true).await;
    let told = route(&ask(&world, HARD).await);
    assert!(told["reason"].as_str().is_some_and(|reason| reason.contains("words and meaning")), "{told}");
    world.requests(2).await;
    let embedded = world.sql("SELECT count() AS n FROM attempts WHERE provider = 'local'").await;
    assert_eq!(embedded[0]["n"], json!(2), "the first text of this test, and the question");
}
