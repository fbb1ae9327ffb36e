//! The semantic cache under a mix of questions in which some are asked often and most seldom, in several wordings, and others differ
//! in the one thing that counts, against a provider that knows the right answer to each: how many hits there are, how many of
//! them are wrong, and whether the gateway knows. 400 requests; `PENSTOCK_MIX_REQUESTS=20000` asks so many.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use penstock_tests::{World, tool, words};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const USUAL: usize = 400;

/// Requests at once.
const AT_ONCE: usize = 4;

/// Wordings of one question each, with what it is about in the place of `{}`, and what that may be: each has its own answer.
const QUESTIONS: [(&[&str], &[&str]); 8] = [
    (
        &[
            "How do I reset my {} password?",
            "How can I reset my {} password?",
            "What is the way to reset my {} password?",
        ],
        &["Gmail", "Outlook", "Facebook"],
    ),
    (
        &[
            "How many calories are in {} eggs?",
            "How many calories do {} eggs have?",
            "What is the calorie count of {} eggs?",
        ],
        &["2", "3", "12"],
    ),
    (
        &["What is the capital of {}?", "Which city is the capital of {}?", "What's the capital city of {}?"],
        &["France", "Austria", "Australia", "Germany"],
    ),
    (
        &["How long does it take to drive from {}?", "How much time does it take to drive from {}?"],
        &["Paris to Rome", "Rome to Paris", "Berlin to Munich"],
    ),
    (
        &["How do I {} Python on a Mac?", "How can I {} Python on my Mac?", "What is the way to {} Python on a Mac?"],
        &["install", "uninstall"],
    ),
    (
        &["What are the {} of working from home?", "What are some {} of working from home?"],
        &["advantages", "disadvantages"],
    ),
    (&["Why {} cats like water?", "Why {} most cats like water?"], &["do", "don't"]),
    (
        &["How do I convert {}?", "How can I convert {}?", "What is the way to convert {}?"],
        &["kilograms to pounds", "pounds to kilograms", "5 miles to km", "6 miles to km"],
    ),
];

/// What is put around a question.
const AROUND: [(&str, &str); 6] =
    [("", ""), ("Hi! ", ""), ("", " Thanks!"), ("Please tell me: ", ""), ("Hello, ", ""), ("", " Thank you.")];

/// Every question that is asked, with the answer that is right.
fn questions() -> Vec<Vec<(String, String)>> {
    let mut all = Vec::new();
    for (wordings, values) in QUESTIONS {
        for value in values {
            let answer = format!("The answer to this: {}", wordings[0].replace("{}", value));
            let asked = wordings.iter().flat_map(|wording| {
                AROUND.map(|(before, behind)| format!("{before}{}{behind}", wording.replace("{}", value)))
            });
            all.push(asked.map(|asked| (asked, answer.clone())).collect());
        }
    }
    all
}

/// A provider that gives each question its own answer; where it listens, and how often it was asked.
async fn oracle(answers: HashMap<String, String>, server: &mut JoinSet<()>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("the machine has a free port");
    let url = format!("http://{}/v1", listener.local_addr().expect("it is bound"));
    let (answers, calls) = (Arc::new(answers), Arc::new(AtomicUsize::new(0)));
    let counted = calls.clone();
    server.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (answers, calls) = (answers.clone(), counted.clone());
            connections.spawn(async move {
                let service = service_fn(move |request| answer(request, answers.clone(), calls.clone()));
                // A connection that breaks is made anew by who needs it.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (url, calls)
}

async fn answer(
    request: Request<Incoming>,
    answers: Arc<HashMap<String, String>>,
    calls: Arc<AtomicUsize>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    calls.fetch_add(1, Ordering::Relaxed);
    let question = asked["messages"][0]["content"].as_str().unwrap_or_default();
    let said = answers.get(question).map_or("It is not known.", String::as_str);
    let response = Response::builder().header("content-type", "application/json");
    Ok(response.body(Full::new(Bytes::from(words::whole(said)))).expect("it is a response"))
}

/// The place in a list of so many of which the first is asked most, the second half as often, the third a third as often.
fn pick(dice: u64, places: usize) -> usize {
    let weight = |place: usize| 1_000_000 / (place as u64 + 1);
    let mut left = dice % (0..places).map(weight).sum::<u64>();
    (0..places).find(|place| left.checked_sub(weight(*place)).map(|rest| left = rest).is_none()).unwrap_or(0)
}

#[derive(Default)]
struct MixSums {
    exact: usize,
    semantic: usize,
    joined: usize,
    missed: usize,
    wrong: Vec<String>,
}

#[tokio::test]
async fn of_a_mix_of_questions_few_hits_are_wrong_and_the_gateway_knows_how_many() {
    let count = std::env::var("PENSTOCK_MIX_REQUESTS").ok().and_then(|count| count.parse().ok()).unwrap_or(USUAL);
    let questions = questions();
    let answers: HashMap<String, String> = questions.iter().flatten().cloned().collect();
    let mut server = JoinSet::new();
    let (url, calls) = oracle(answers, &mut server).await;
    let config = format!(
        "[cache]\nmode = \"semantic\"\nsample = \"10%\"\n[providers.oracle]\ndialect = \"openai\"\nbase_url = \"{url}\"\n\
         keys = [\"env:ORACLE_KEY\"]\n[[prices]]\nmodel = \"oracle/m\"\ninput_usd_per_million = \"1\"\noutput_usd_per_million = \"1\"\n"
    );
    let models = tool("PENSTOCK_LOCAL_MODELS");
    let world =
        World::setup().config(&config).env("ORACLE_KEY", "sk-1").env("PENSTOCK_LOCAL_MODELS", &models).start().await;
    let first = world.post("/v1/embeddings", &json!({ "model": "local/all-MiniLM-L6-v2", "input": "first" }));
    assert_eq!(first.header("x-penstock-cache", "off").await.status, 200, "the model is read");
    let (mut dice, mut sums, mut running) = (7_u64, MixSums::default(), JoinSet::new());
    for _ in 0..count {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let of = &questions[pick(dice >> 33, questions.len())];
        let (asked, right) = of[pick(dice >> 17, of.len())].clone();
        let ask = world.ask("oracle/m").field("messages", json!([{ "role": "user", "content": asked }]));
        running.spawn(async move { (ask.await, asked, right) });
        if running.len() >= AT_ONCE {
            note(running.join_next().await.expect("some run").expect("it ended well"), &mut sums);
        }
    }
    while let Some(ended) = running.join_next().await {
        note(ended.expect("it ended well"), &mut sums);
    }
    let report = world.get("/admin/v1/cache").key(world.admin_key()).await.json()["caches"][0].clone();
    let MixSums { exact, semantic, joined, missed, wrong } = sums;
    println!(
        "{count} requests: {exact} exact, {joined} joined, {semantic} semantic, {missed} missed; wrong: {wrong:#?}\n{report:#}"
    );
    assert_eq!(calls.load(Ordering::Relaxed), missed, "a hit asks nothing");
    assert!(semantic > missed / 4, "{semantic} hits and {missed} misses");
    assert!(wrong.len() * 200 <= semantic, "of {semantic} semantic hits are wrong: {wrong:#?}");
    let (checks, true_rate) = (&report["false_hits"], wrong.len() as f64 / semantic as f64);
    let bound = |name: &str| checks[name].as_f64().expect("a rate");
    assert!((bound("low")..=bound("high")).contains(&true_rate), "{true_rate}: {checks}");
    assert!(checks["checked"].as_u64() > Some(0), "{checks}");
}

fn note((answer, asked, right): (penstock_tests::Answer, String, String), sums: &mut MixSums) {
    let cache = answer.header("x-penstock-cache").to_owned();
    let is_right = answer.text() == right;
    match cache.as_str() {
        "exact" => sums.exact += 1,
        "joined" => sums.joined += 1,
        "semantic" => sums.semantic += 1,
        _ => sums.missed += 1,
    }
    if !is_right {
        assert_eq!(cache, "semantic", "{asked}: {}", answer.raw());
        sums.wrong.push(format!("{asked} got {}", answer.text()));
    }
}
