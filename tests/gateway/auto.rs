//! The strategy `auto`: each question goes to the target whose answer to it is worth its cost, by what is known of such questions;
//! and it learns from scores.

use penstock_tests::{Answer, Ask, World, address_in, tool, until};
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

/// The heads of the only model, by the admin API.
async fn heads(world: &World) -> Value {
    let answer = world.get("/admin/v1/heads").key(world.admin_key()).await;
    assert_eq!(answer.status, 200, "{}", answer.raw());
    answer.json()["data"][0].clone()
}

/// Asks so often, and then scores each answer so, at this address: what is learnt of the first scores moves no question elsewhere.
async fn ask_and_score(world: &World, address: &str, count: u32, value: f64) {
    let mut answers = Vec::new();
    for number in 0..count {
        answers.push(ask(world, &format!("Who wrote the book number {number}?")).await);
    }
    for answer in answers {
        let score = json!({ "request_id": answer.header("x-penstock-request-id"), "name": "quality", "value": value });
        let is_taken = async || (world.post("/v1/feedback", &score).at(address).await.status == 200).then_some(());
        until("the score to be taken", is_taken).await;
    }
}

#[tokio::test]
async fn two_ingresses_come_to_the_same_heads_and_a_score_given_to_one_changes_what_the_other_decides() {
    let mut world = world("cost_quality = 1", "", false).await;
    let (_other, line) = world.role("ingress").await;
    let other = address_in(&line);
    let target = async |address: &str| ask(&world, EASY).at(address).await.header("x-penstock-target").to_owned();
    let both = [world.address().to_owned(), other.clone()];
    for address in &both {
        assert_eq!(target(address).await, "alpha/m", "nothing was learnt yet");
    }
    // All are asked of the first, and scored at the second.
    ask_and_score(&world, &other, 14, 0.0).await;
    let known = async |address: &str| {
        let answer = world.get("/admin/v1/heads").at(address).key(world.admin_key()).await;
        Some(answer.json()["data"][0].clone()).filter(|heads| heads["labels"] == json!(14))
    };
    let mut heads = Vec::new();
    for address in &both {
        heads.push(until("all scores to be learnt", async || known(address).await).await);
        until("what was learnt to decide", async || (target(address).await == "beta/m").then_some(())).await;
    }
    assert_eq!(heads[0], heads[1]);
}

#[tokio::test]
async fn heads_learn_from_scores_survive_a_crash_and_can_be_frozen_and_thrown_away() {
    let mut world = world("cost_quality = 1", "", false).await;
    let target = async |world: &World| ask(world, EASY).await.header("x-penstock-target").to_owned();
    assert_eq!(target(&world).await, "alpha/m", "the dearer is taken for the better");
    assert_eq!(heads(&world).await["heads"], json!([]));
    ask_and_score(&world, world.address(), 14, 0.0).await;
    let has_all = async || Some(heads(&world).await).filter(|known| known["labels"] == json!(14));
    let learnt = until("all scores to be learnt", has_all).await;
    assert_eq!(target(&world).await, "beta/m", "{learnt}");
    let head = &learnt["heads"][0];
    assert_eq!((&head["target"], head["labels"].as_u64()), (&json!("alpha/m"), Some(14)), "{learnt}");
    assert!(head["level"].as_f64() < Some(0.5), "{learnt}");

    world.crash().await;
    world.again().await;
    until("what was learnt to be known again", async || (target(&world).await == "beta/m").then_some(())).await;

    let shown = world.run(&["route", "heads", "pick", "--freeze"]).await;
    assert!(shown.out.contains("pick is frozen") && shown.out.contains("alpha/m"), "{}", shown.out);
    until("it to be frozen", async || heads(&world).await["is_frozen"].as_bool().filter(|is| *is)).await;
    ask_and_score(&world, world.address(), 3, 0.0).await;
    assert_eq!(heads(&world).await["labels"], learnt["labels"], "frozen heads learn nothing");
    let change = json!({ "model": "pick", "action": "thaw" });
    assert_eq!(world.post("/admin/v1/heads", &change).key(world.admin_key()).await.json()["is_frozen"], json!(false));
    until("it to learn again", async || heads(&world).await["labels"].as_u64().filter(|labels| *labels == 17)).await;

    let shown = world.run(&["route", "heads", "pick", "--reset", "--format", "json"]).await;
    let shown: Value = serde_json::from_str(&shown.out).unwrap_or_else(|error| panic!("{error}: {}", shown.out));
    assert_eq!(shown["data"][0]["heads"], json!([]));
    until("what was learnt to be gone", async || (target(&world).await == "alpha/m").then_some(())).await;
    let audit = world.get("/admin/v1/audit").key(world.admin_key()).await.json().to_string();
    assert!(audit.contains("thaw"), "{audit}");
    let wrong = json!({ "model": "alpha/m", "action": "reset" });
    let refused = world.post("/admin/v1/heads", &wrong).key(world.admin_key()).await;
    assert_eq!(refused.error(), "422 invalid_request_error invalid_value (model)");
}
