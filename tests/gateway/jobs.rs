//! Requests whose callers come back for the answer: taken with 202, answered by whichever process is there, kept by project.

use crate::made;
use http::Method;
use penstock_tests::{Ask, Gate, Reply, World, until};
use serde_json::{Value, json};

fn later(world: &World, model: &str) -> Ask {
    world.ask(model).header("prefer", "respond-async")
}

/// The job, as soon as it is over.
async fn over(world: &World, job: &Value) -> Value {
    let path = format!("/v1/jobs/{}?wait=10s", job["id"].as_str().unwrap_or_else(|| panic!("{job}")));
    until("the job to be over", async || {
        let shown = world.get(&path).key(world.key()).await.json();
        (!matches!(shown["status"].as_str(), Some("queued" | "in_progress"))).then_some(shown)
    })
    .await
}

#[tokio::test]
async fn a_caller_who_does_not_wait_finds_the_answer_under_the_id_of_the_request() {
    let world = World::start().await;
    world.upstream("alpha").answers("hello").always();
    let taken = later(&world, "alpha/m").await;
    assert_eq!(taken.status, 202, "{}", taken.raw());
    let job = taken.json();
    assert_eq!(taken.header("location"), format!("/v1/jobs/{}", job["id"].as_str().unwrap()));
    assert_eq!((&job["object"], &job["status"], &job["response"]), (&json!("job"), &json!("queued"), &Value::Null));
    let job = over(&world, &job).await;
    assert_eq!((&job["status"], &job["response"]["status_code"]), (&json!("completed"), &json!(200)), "{job}");
    assert_eq!(job["response"]["body"]["choices"][0]["message"]["content"], "hello");
    let id = job["request_id"].as_str().unwrap();
    let statement = format!("SELECT outcome FROM requests WHERE request_id = '{id}'");
    world.sql_until(&statement, |rows| rows == [json!({ "outcome": "served" })]).await;
    let events = world.get(&format!("/v1/jobs/{}", job["id"].as_str().unwrap())).key(world.key());
    let events = events.header("accept", "text/event-stream").await.raw();
    assert!(events.starts_with("event: job\ndata: {") && events.contains("\"completed\""), "{events}");
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_at_once_and_what_its_provider_refuses_stands_in_the_job() {
    let world = World::start().await;
    world.upstream("alpha").replies(Reply::error(400)).always();
    let refused = later(&world, "alpha/m").body("{").await;
    assert_eq!(refused.status, 400, "{}", refused.raw());
    let job = over(&world, &later(&world, "alpha/m").await.json()).await;
    assert_eq!((&job["status"], &job["response"]["status_code"]), (&json!("failed"), &json!(400)), "{job}");
    assert!(job["response"]["body"]["error"]["message"].is_string(), "{job}");
}

#[tokio::test]
async fn a_job_is_its_projects_alone_and_can_be_cancelled_and_forgotten() {
    let world = World::start().await;
    let (alpha, gate) = (world.upstream("alpha"), Gate::new());
    alpha.replies(Reply::answer("late").held(&gate)).always();
    let job = later(&world, "alpha/m").await.json();
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    until("it to be under way", async || (alpha.calls().len() == 1).then_some(())).await;
    let stranger = made::key(&world, &json!({ "id": "other", "project": "elsewhere" })).await;
    for (method, path) in
        [(Method::GET, path.clone()), (Method::DELETE, path.clone()), (Method::POST, format!("{path}/cancel"))]
    {
        let answer = world.get(&path).method(method.clone()).key(&stranger).await;
        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.raw());
    }
    let cancelled = world.get(&format!("{path}/cancel")).method(Method::POST).key(world.key()).await.json();
    assert_eq!(cancelled["status"], "cancelled", "{cancelled}");
    until("the call to be given up", async || alpha.calls()[0].end().map(drop)).await;
    let gone = world.get(&path).method(Method::DELETE).key(world.key()).await;
    assert_eq!(gone.status, 200, "{}", gone.raw());
    assert_eq!(world.get(&path).key(world.key()).await.status, 404);
}

#[tokio::test]
async fn a_job_that_was_under_way_when_its_process_died_is_made_again() {
    let mut world = World::start().await;
    let gate = Gate::new();
    world.upstream("alpha").replies(Reply::answer("late").held(&gate)).once();
    world.upstream("alpha").answers("again").always();
    let job = later(&world, "alpha/m").await.json();
    until("it to be under way", async || (world.upstream("alpha").calls().len() == 1).then_some(())).await;
    world.crash().await;
    world.again().await;
    // The queue gives it to another process after a minute without a word.
    let path = format!("/v1/jobs/{}?wait=25s", job["id"].as_str().unwrap());
    let mut shown = job;
    for _ in 0..8 {
        shown = world.get(&path).key(world.key()).send().await.json();
        if shown["status"] == "completed" {
            break;
        }
    }
    assert_eq!(shown["response"]["body"]["choices"][0]["message"]["content"], "again", "{shown}");
    assert_eq!(world.upstream("alpha").calls().len(), 2);
}

#[tokio::test]
async fn the_jobs_of_a_project_are_listed_the_newest_first_without_their_answers() {
    let world = World::start().await;
    world.upstream("alpha").answers("a secret").always();
    let mut made = Vec::new();
    for _ in 0..3 {
        let job = over(&world, &later(&world, "alpha/m").await.json()).await;
        made.insert(0, job["id"].as_str().unwrap().to_owned());
    }
    let list = async |query: &str, key: &str| {
        let listed = world.get(&format!("/v1/jobs{query}")).key(key).await;
        assert!(listed.status == 200 && !listed.raw().contains("a secret"), "{}", listed.raw());
        let listed = listed.json();
        let ids = listed["data"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned());
        (ids.collect::<Vec<_>>(), listed["has_more"].clone())
    };
    assert_eq!(list("", world.key()).await, (made.clone(), json!(false)));
    assert_eq!(list("?limit=2", world.key()).await, (made[..2].to_vec(), json!(true)));
    assert_eq!(list(&format!("?limit=2&after={}", made[1]), world.key()).await, (made[2..].to_vec(), json!(false)));
    let stranger = made::key(&world, &json!({ "id": "other", "project": "elsewhere" })).await;
    assert_eq!(list("", &stranger).await, (vec![], json!(false)));
}

#[tokio::test]
async fn a_webhook_of_the_operators_is_told_of_jobs_that_are_over_and_of_no_answer() {
    let (world, gate) = (World::setup().env("HOOK_SECRET", "s3cret").start().await, Gate::new());
    world.upstream("alpha").answers("a secret").once();
    world.upstream("alpha").replies(Reply::answer("late").held(&gate)).always();
    let receiver = world.upstream("beta");
    receiver.replies(Reply::whole(503, "")).once();
    receiver.replies(Reply::whole(204, "")).always();
    let url = format!("{}/hooks/models", receiver.url());
    let hook = json!({ "webhooks": { "mine": { "name": "mine", "url": url, "secret": "env:HOOK_SECRET" } } });
    world.manage(hook, &[world.address()]).await;
    for (ask, why) in [
        (later(&world, "alpha/m").header("x-penstock-webhook", "other"), "no webhook of that name"),
        (world.ask("alpha/m").header("x-penstock-webhook", "mine"), "respond-async"),
    ] {
        let refused = ask.await;
        assert!(refused.status == 400 && refused.raw().contains(why), "{}", refused.raw());
    }
    let job = later(&world, "alpha/m").header("x-penstock-webhook", "mine").await.json();
    receiver.received(2).await;
    for post in receiver.calls() {
        assert_eq!(post.header("x-penstock-job-id"), job["id"].as_str().unwrap());
        assert!(post.header("x-penstock-signature").starts_with("v1="));
        let body = post.json();
        assert_eq!((&body["id"], &body["object"], &body["status"]), (&job["id"], &json!("job"), &json!("completed")));
        assert_eq!(body["response"], Value::Null);
    }
    let job = later(&world, "alpha/m").header("x-penstock-webhook", "mine").await.json();
    until("it to be under way", async || (world.upstream("alpha").calls().len() == 2).then_some(())).await;
    world.get(&format!("/v1/jobs/{}/cancel", job["id"].as_str().unwrap())).method(Method::POST).key(world.key()).await;
    receiver.received(3).await;
    let post = receiver.calls().pop().unwrap().json();
    assert_eq!((&post["id"], &post["status"]), (&job["id"], &json!("cancelled")), "{post}");
}
