//! Which target of a virtual model answers: by cost, wait, turns, load and quality, under conditions and hard rules, the same
//! one for a conversation, and always with its reasons.

use crate::made::post;
use penstock_tests::{Answer, Ask, Part, Reply, World, until, words};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const BOTH: &str = "targets = [{ model = \"alpha/m\" }, { model = \"beta/m\" }]\n";

/// A world with the virtual model `pick`, of `alpha/m` and `beta/m`.
async fn world(settings: &str) -> World {
    let world = World::setup().config(&format!("[models.pick]\n{settings}\n{BOTH}")).start().await;
    world.upstream("alpha").answers("a").always();
    world.upstream("beta").answers("b").always();
    world
}

async fn target(ask: Ask) -> String {
    let answer = ask.await;
    assert_eq!(answer.status, 200, "{}", answer.raw());
    answer.header("x-penstock-target").to_owned()
}

fn route(answer: &Answer) -> Value {
    serde_json::from_str(answer.header("x-penstock-route")).unwrap_or_else(|error| panic!("{error}: {}", answer.raw()))
}

async fn dry_run(world: &World, question: &Value) -> Value {
    let answer = world.post("/admin/v1/route", question).key(world.admin_key()).await;
    assert_eq!(answer.status, 200, "{}", answer.raw());
    answer.json()
}

fn tools() -> Value {
    json!([{ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } }])
}

#[tokio::test]
async fn the_cheapest_target_answers_and_every_place_says_why() {
    let world = world("strategy = \"cost\"\nexplore = \"0%\"").await;
    let answer = world.ask("pick").header("x-penstock-explain", "true").await;
    assert_eq!(answer.header("x-penstock-target"), "beta/m");
    let told = route(&answer);
    assert_eq!((&told["strategy"], &told["candidates"][0]["target"]), (&json!("cost"), &json!("beta/m")));
    assert!(told["candidates"][1]["usd"].as_f64() > told["candidates"][0]["usd"].as_f64(), "{told}");
    assert!(told["reason"].as_str().is_some_and(|reason| reason.contains("cost least")), "{told}");
    let silent = world.ask("pick").await;
    assert_eq!(silent.header("x-penstock-route"), "", "only who asks is told");

    let calls = world.upstream("beta").calls().len();
    let request = json!({ "model": "pick", "messages": [{ "role": "user", "content": "Hello!" }] });
    let plan = dry_run(&world, &json!({ "dialect": "openai", "request": request })).await;
    assert_eq!((&plan["plan"], &plan["strategy"]), (&json!(["beta/m", "alpha/m"]), &json!("cost")));
    let google = json!({ "contents": [{ "role": "user", "parts": [{ "text": "Hello!" }] }] });
    let plan = dry_run(&world, &json!({ "dialect": "google", "model": "pick", "request": google })).await;
    assert_eq!(plan["plan"], json!(["beta/m", "alpha/m"]));
    let named = json!({ "model": "alpha/m", "messages": [{ "role": "user", "content": "Hello!" }] });
    assert_eq!(dry_run(&world, &json!({ "request": named })).await["strategy"], json!("none"));
    assert_eq!(world.upstream("beta").calls().len(), calls, "no call was made");

    world.requests(2).await;
    let rows = world.sql("SELECT strategy, propensity, JSONExtractString(route, 'candidates', 1, 'target') AS first, target FROM requests").await;
    for row in &rows {
        assert_eq!(
            (&row["strategy"], &row["first"], &row["target"]),
            (&json!("cost"), &json!("beta/m"), &json!("beta/m"))
        );
        assert!(row["propensity"].as_f64().is_some_and(|chance| chance > 0.9), "{row}");
    }
    let shown = world.run(&["show", answer.header("x-penstock-request-id")]).await.out;
    assert!(shown.contains("strategy") && shown.contains("cost least") && shown.contains("alpha/m"), "{shown}");
}

#[tokio::test]
async fn conditions_decide_before_strategies_and_hard_rules_say_which_left_nothing() {
    let rules = r#"
        strategy = "cost"
        rules = [
          { name = "gold", match = { tags = { tier = "gold" } }, targets = ["alpha/m"] },
          { name = "residency", match = { tags = { data = "eu" } }, regions = ["eu"] },
          { name = "long", match = { min_tokens = 2000 }, strategy = "fallback" },
        ]"#;
    let world = world(rules).await;
    let ask = || world.ask("pick").header("x-penstock-explain", "true");
    assert_eq!(target(ask()).await, "beta/m");
    assert_eq!(target(ask().header("x-penstock-tags", "tier=gold")).await, "alpha/m");
    let long = json!([{ "role": "user", "content": "x".repeat(9000) }]);
    let answer = ask().field("messages", long).await;
    assert_eq!(answer.header("x-penstock-target"), "alpha/m");
    let told = route(&answer);
    assert_eq!((&told["rule"], &told["strategy"]), (&json!("long"), &json!("fallback")));
    let refused = ask().header("x-penstock-tags", "data=eu").await;
    assert_eq!(refused.error(), "403 permission_error no_target (model)");
    let why = refused.message();
    assert!(why.contains("rule residency: regions") && why.contains("beta/m"), "{why}");
    assert_eq!(world.upstream("alpha").calls().len() + world.upstream("beta").calls().len(), 3);
}

#[tokio::test]
async fn a_target_that_cannot_or_costs_too_much_is_left_out() {
    let world = world("max_usd_per_request = \"0.001\"").await;
    let answer = world.ask("pick").header("x-penstock-explain", "true").await;
    assert_eq!(answer.header("x-penstock-target"), "beta/m", "alpha costs 0.004 USD");
    assert_eq!(route(&answer)["filters"][0]["by"], json!("max_usd_per_request"));
    let answer = world.ask("pick").field("max_tokens", json!(5)).await;
    assert_eq!(answer.header("x-penstock-target"), "alpha/m", "so short an answer is cheap enough");
}

#[tokio::test]
async fn round_robin_gives_each_its_turn_and_quality_the_best_first() {
    let config = format!(
        "[models.turns]\nstrategy = \"round_robin\"\n{BOTH}\n[models.best]\nstrategy = \"quality\"\ntargets = [\
         {{ model = \"beta/m\" }}, {{ model = \"alpha/m\" }}]\n[models.told]\nstrategy = \"quality\"\ntargets = [\
         {{ model = \"alpha/m\", quality = 0.6 }}, {{ model = \"beta/m\", quality = 0.7 }}]"
    );
    let world = World::setup().config(&config).start().await;
    world.upstream("alpha").answers("a").always();
    world.upstream("beta").answers("b").always();
    let mut turns = Vec::new();
    for _ in 0..4 {
        turns.push(target(world.ask("turns")).await);
    }
    assert_eq!(turns, ["alpha/m", "beta/m", "alpha/m", "beta/m"]);
    assert_eq!(target(world.ask("best")).await, "alpha/m", "the dearer one is taken for the better");
    assert_eq!(target(world.ask("told")).await, "beta/m");
    // Scores tell more than prices: once enough of them are there, the other is the best.
    for (model, value) in [("alpha/m", 0.2), ("beta/m", 0.9)] {
        for _ in 0..5 {
            let id = world.ask(model).await.header("x-penstock-request-id").to_owned();
            let score = json!({ "request_id": id, "name": "quality", "value": value });
            let is_taken = async || (world.post("/v1/feedback", &score).await.status == 200).then_some(());
            until("the score to be taken", is_taken).await;
        }
    }
    until("scores to decide", async || (target(world.ask("best")).await == "beta/m").then_some(())).await;
}

#[tokio::test]
async fn the_least_busy_target_is_called() {
    let world = world("strategy = \"least_busy\"").await;
    let held = penstock_tests::Gate::new();
    world.upstream("alpha").replies(Reply::answer("a").held(&held)).always();
    let (one, two) = tokio::join!(
        async {
            let answer = world.ask("pick").await;
            answer.header("x-penstock-target").to_owned()
        },
        async {
            world.upstream("alpha").received(1).await;
            for _ in 0..5 {
                assert_eq!(target(world.ask("pick")).await, "beta/m");
            }
            held.open();
        }
    );
    assert_eq!((one.as_str(), two), ("alpha/m", ()));
}

/// A stream that says its first word after so long.
fn slow(wait: u64) -> Reply {
    let mut parts: Vec<Part> = words::stream("word").into_iter().map(Part::from).collect();
    parts.insert(0, Part::Pause(Duration::from_millis(wait)));
    Reply::stream(parts)
}

#[tokio::test]
async fn latency_follows_a_target_that_becomes_slow_and_comes_back() {
    let world = world("strategy = \"latency\"\nexplore = \"10%\"").await;
    world.upstream("alpha").replies(slow(0)).always();
    world.upstream("beta").replies(slow(300)).always();
    let ask = || target(world.ask("pick").stream());
    let share = async |count: u32| {
        let mut alphas = 0;
        for _ in 0..count {
            alphas += u32::from(ask().await == "alpha/m");
        }
        f64::from(alphas) / f64::from(count)
    };
    until("the faster one to be preferred", async || (share(10).await >= 0.7).then_some(())).await;

    // Callers keep coming while the target is slow: from two seconds on, few of them go there.
    world.upstream("alpha").replies(slow(4000)).always();
    let began = Instant::now();
    let mut asked = tokio::task::JoinSet::new();
    let mut late = Vec::new();
    while began.elapsed() < Duration::from_secs(4) {
        let (ask, at) = (world.ask("pick").stream(), began.elapsed());
        asked.spawn(async move { (at, target(ask).await) });
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    while let Some(answered) = asked.join_next().await {
        let (at, target) = answered.expect("it is answered");
        if at > Duration::from_secs(2) {
            late.push(target);
        }
    }
    let betas = late.iter().filter(|target| *target == "beta/m").count();
    assert!(late.len() >= 4 && betas * 10 >= late.len() * 7, "{betas} of {}", late.len());

    world.upstream("alpha").replies(slow(0)).always();
    until("it to be preferred again", async || (share(10).await >= 0.7).then_some(())).await;
}

#[tokio::test]
async fn a_loop_of_tools_stays_where_it_began_through_a_crash() {
    let mut world = world("strategy = \"latency\"\nexplore = \"0%\"").await;
    world.upstream("alpha").replies(slow(0)).always();
    world.upstream("beta").replies(slow(2000)).always();
    let ask = |world: &World, session: &str| {
        target(world.ask("pick").stream().field("tools", tools()).header("x-penstock-session", session))
    };
    // Each is tried once, and then the faster one is known.
    until("the faster one to be known", async || {
        let first = target(world.ask("pick").stream()).await;
        (first == "alpha/m" && !world.upstream("beta").calls().is_empty()).then_some(())
    })
    .await;
    assert_eq!(ask(&world, "run-1").await, "alpha/m");
    world.crash().await;
    world.again().await;
    world.upstream("alpha").replies(slow(2000)).always();
    world.upstream("beta").replies(slow(0)).always();
    until("the other one to be the faster", async || {
        (target(world.ask("pick").stream()).await == "beta/m" && world.upstream("alpha").calls().len() > 2)
            .then_some(())
    })
    .await;
    assert_eq!(ask(&world, "run-2").await, "beta/m", "what begins now goes to the faster one");
    assert_eq!(ask(&world, "run-1").await, "alpha/m", "what began there stays");
    let answer = world.ask("pick").stream().field("tools", tools()).header("x-penstock-session", "run-1");
    let answer = answer.header("x-penstock-explain", "true").await;
    let told = route(&answer);
    assert_eq!(told["sticky"], json!("session"));
    assert!(told["reason"].as_str().is_some_and(|reason| reason.contains("before")), "{told}");
}

#[tokio::test]
async fn a_drawn_arm_is_the_same_in_every_ingress_for_a_user_a_session_and_a_conversation() {
    let settings = "strategy = \"weighted\"\nsticky = \"session\"";
    let mut world = world(settings).await;
    let ask = |world: &World, session: &str| world.ask("pick").header("x-penstock-session", session);
    let mut before = Vec::new();
    for session in 0..8 {
        before.push(target(ask(&world, &format!("s-{session}"))).await);
    }
    assert!(before.contains(&"alpha/m".to_owned()) && before.contains(&"beta/m".to_owned()), "{before:?}");
    world.crash().await;
    world.again().await;
    let (_other, line) = world.role("ingress").await;
    let address = line.split("\"address\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an address");
    for (session, before) in before.iter().enumerate() {
        let name = format!("s-{session}");
        assert_eq!(&target(ask(&world, &name)).await, before);
        assert_eq!(&target(ask(&world, &name).at(address)).await, before);
    }
    // Without a session, a conversation is known by how it begins.
    let say = |text: &str| json!({ "role": "user", "content": text });
    for number in 0..8 {
        let first = say(&format!("question {number}"));
        let begun = target(world.ask("pick").field("messages", json!([first]))).await;
        let more = json!([first, { "role": "assistant", "content": "hi" }, say("and?")]);
        assert_eq!(target(world.ask("pick").field("messages", more)).await, begun);
    }
}

#[tokio::test]
async fn how_long_answers_are_expected_to_be_is_known_again_after_a_restart() {
    let mut world = world("strategy = \"cost\"\nexplore = \"0%\"").await;
    let request = json!({ "model": "pick", "messages": [{ "role": "user", "content": "Hello!" }] });
    let expected = async |world: &World| {
        let told = dry_run(world, &json!({ "request": request })).await;
        let all = told["candidates"].as_array().cloned().unwrap_or_default();
        let own = all.iter().find(|one| one["target"] == "beta/m").map(|one| one["usd"].as_f64());
        own.flatten().unwrap_or_else(|| panic!("{told}"))
    };
    let unknown = expected(&world).await;
    assert_eq!(target(world.ask("pick")).await, "beta/m");
    let known = expected(&world).await;
    assert!(known < unknown / 2.0, "short answers cost less than the usual ones: {known} {unknown}");
    world.attempts(1).await;
    world.crash().await;
    world.again().await;
    until("lengths to be known again", async || (expected(&world).await.to_bits() == known.to_bits()).then_some(()))
        .await;
}

#[tokio::test]
async fn a_dry_run_is_for_who_may_see_the_project() {
    let world = world("strategy = \"cost\"").await;
    let request = json!({ "model": "pick", "messages": [{ "role": "user", "content": "Hello!" }] });
    let owner = json!({ "name": "own", "role": "owner", "projects": ["one"] });
    let token = post(&world, "admins", &owner).await.json()["key"].as_str().expect("a token").to_owned();
    let ask = async |question: Value| world.post("/admin/v1/route", &question).key(&token).await;
    until("the token to be known", async || {
        (ask(json!({ "request": request, "project": "one" })).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(ask(json!({ "request": request, "project": "two" })).await.status, 403);
    assert_eq!(ask(json!({ "request": request })).await.status, 403);
    let admin = async |question: Value| world.post("/admin/v1/route", &question).key(world.admin_key()).await.error();
    assert_eq!(
        admin(json!({ "request": { "messages": [{ "role": "user", "content": "Hello!" }] } })).await,
        "422 invalid_request_error invalid_value (request)"
    );
    assert_eq!(
        admin(json!({ "request": request, "dialect": "bedrock" })).await,
        "400 invalid_request_error invalid_json"
    );
    assert_eq!(
        admin(json!({ "request": { "model": "nothing", "messages": [{ "role": "user", "content": "Hello!" }] } }))
            .await,
        "404 invalid_request_error model_not_found (model)"
    );
}
