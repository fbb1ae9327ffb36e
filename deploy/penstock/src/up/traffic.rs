//! `penstock up --demo-traffic`: some requests to the simulator, for as long as it runs, so that there is something to see on
//! the dashboard: several projects and users, streams, an agent's sessions, answers from the cache, failures, scores. It is a
//! client like any other, over HTTP; its keys, projects and budget stay when it ends.

use anyhow::Context;
use penstock_runtime::{Life, Secret};
use penstock_workers::demo;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{interval, sleep};
use tracing::warn;

/// Between two requests: two a second.
const PACE: Duration = Duration::from_millis(500);

/// Requests that are under way at once.
const AT_ONCE: usize = 8;

/// What a request may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The projects, and their users.
const PROJECTS: [(&str, [&str; 2]); 3] =
    [("search", ["ann", "bob"]), ("support", ["chen", "dora"]), ("agents", ["eve", "finn"])];

/// Calls of an agent's session.
const TURNS: u64 = 9;

const QUESTIONS: [&str; 6] = [
    "How do I reset my password?",
    "Where is my parcel?",
    "What does the large plan cost?",
    "Sum up this page in two sentences.",
    "Which of these results answers the question best?",
    "Write a friendly reply to this customer.",
];

/// Who sends it, and with which keys.
struct Traffic {
    client: Client,
    url: String,
    keys: Vec<String>,
}

/// Sends requests until the process stops.
pub(super) async fn run(url: String, admin: Secret, life: Life) {
    let sent = async {
        let traffic = Arc::new(Traffic::prepare(url, &admin).await?);
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut pace = interval(PACE);
        for number in 0_u64.. {
            pace.tick().await;
            let Ok(place) = places.clone().try_acquire_owned() else { continue };
            let traffic = traffic.clone();
            life.work(async move {
                let _place = place;
                // What fails is to be seen on the dashboard, not here.
                drop(traffic.send(number).await);
            });
        }
        anyhow::Ok(())
    };
    tokio::select! {
        () = life.stopping() => {}
        sent = sent => if let Err(error) = sent { warn!(%error, "there is no demo traffic") }
    }
}

impl Traffic {
    async fn prepare(url: String, admin: &Secret) -> anyhow::Result<Self> {
        let client = Client::builder().timeout(PATIENCE).no_proxy().build()?;
        let post = |path: &str, body: Value| {
            with(client.post(format!("{url}/admin/v1/{path}")).bearer_auth(admin.reveal()), &body).send()
        };
        let mut keys = Vec::new();
        for (project, _) in PROJECTS {
            // What is there already stays as it is; a key that is there gets a new secret, because only its hash was kept.
            post("projects", json!({ "name": project, "description": "demo traffic" })).await?;
            let id = format!("demo-{project}");
            let cache = if project == "support" { json!({ "mode": "exact" }) } else { json!({}) };
            let mut made = post("keys", json!({ "id": id, "project": project, "cache": cache })).await?;
            if !made.status().is_success() {
                made = post(&format!("keys/{id}/rotate"), Value::Null).await?;
            }
            let made: Value = serde_json::from_slice(&made.bytes().await?)?;
            keys.push(made["key"].as_str().with_context(|| format!("no key for {project}: {made}"))?.to_owned());
        }
        let budget =
            json!({ "name": "demo-search", "match": { "project": "search" }, "limit_usd": "0.05", "cycle": "daily" });
        post("budgets", budget).await?;
        sleep(Duration::from_secs(1)).await;
        Ok(Self { client, url, keys })
    }

    fn ask(&self, project: usize, path: &str) -> RequestBuilder {
        self.client.request(Method::POST, format!("{}{path}", self.url)).bearer_auth(&self.keys[project])
    }

    /// One request: which, its number says.
    async fn send(&self, number: u64) -> reqwest::Result<()> {
        let dice = mixed(number);
        let pick = |from: usize| usize::try_from(dice % from as u64).unwrap_or(0);
        let project = pick(PROJECTS.len());
        let user = PROJECTS[project].1[pick(7) % 2];
        let question = QUESTIONS[pick(QUESTIONS.len())];
        let chat = |model: &str, more: Value| {
            let mut body =
                json!({ "model": model, "messages": [{ "role": "user", "content": question }], "max_tokens": 120 });
            merge(&mut body, more);
            with(self.ask(project, "/v1/chat/completions"), &body).header("x-penstock-user", user)
        };
        match dice / 8 % 20 {
            0 => drop(chat(&simulated("fast~s503"), json!({})).send().await?),
            1 => drop(chat("gpt-17", json!({})).send().await?),
            2 | 3 => drop(chat(&simulated("slow"), json!({ "max_tokens": 30 })).send().await?),
            4 => drop(chat(&simulated("reasoner"), json!({ "stream": true })).send().await?.bytes().await?),
            5 | 6 => {
                let body = json!({ "model": simulated("embed"), "input": [question] });
                drop(with(self.ask(project, "/v1/embeddings"), &body).send().await?);
            }
            7..=11 => {
                let request =
                    chat(&simulated("fast"), json!({ "stream": true })).header("x-penstock-tags", "feature=chat");
                self.judge(project, request.send().await?, dice).await?;
            }
            12..=15 => self.turn(number).await?,
            _ => {
                let request = chat(&simulated("fast"), json!({})).header("x-penstock-tags", "feature=answers");
                self.judge(project, request.send().await?, dice).await?;
            }
        }
        Ok(())
    }

    /// A turn of an agent: one session after the other, each a bit longer than the one before.
    async fn turn(&self, number: u64) -> reqwest::Result<()> {
        let agents = PROJECTS.len() - 1;
        let run = number / (TURNS * 5);
        let user = PROJECTS[agents].1[usize::from(run.is_multiple_of(2))];
        let history = "And then? ".repeat(usize::try_from(number % (TURNS * 5)).unwrap_or(0));
        let messages = json!([{ "role": "user", "content": format!("Mend the failing test. {history}") }]);
        let body = json!({ "model": simulated("fast"), "messages": messages, "max_tokens": 150, "stream": true });
        let request =
            self.ask(agents, "/v1/chat/completions").header("x-penstock-session", format!("mend-tests-{run}"));
        with(request.header("x-penstock-user", user), &body).send().await?.bytes().await.map(drop)
    }

    /// Reads an answer, and now and then says what it was worth.
    async fn judge(&self, project: usize, answer: Response, dice: u64) -> reqwest::Result<()> {
        let id = answer.headers().get("x-penstock-request-id").and_then(|id| id.to_str().ok()).map(ToOwned::to_owned);
        drop(answer.bytes().await?);
        let Some(id) = id.filter(|_| dice.is_multiple_of(3)) else { return Ok(()) };
        let body = json!({ "request_id": id, "name": "thumbs_up", "value": !dice.is_multiple_of(7) });
        with(self.ask(project, "/v1/feedback"), &body).send().await.map(drop)
    }
}

/// A model of the simulator.
fn simulated(model: &str) -> String {
    format!("{}/{model}", demo::NAME)
}

fn with(request: RequestBuilder, body: &Value) -> RequestBuilder {
    request.header("content-type", "application/json").body(body.to_string())
}

fn merge(body: &mut Value, more: Value) {
    if let (Value::Object(body), Value::Object(more)) = (body, more) {
        body.extend(more);
    }
}

/// A number that looks like no other: the finalizer of splitmix64.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sort_of_request_comes_within_the_first_minute() {
        let requests = 120;
        let mut sorts: Vec<u64> = (0..requests).map(|number| mixed(number) / 8 % 20).collect();
        sorts.sort_unstable();
        sorts.dedup();
        assert_eq!(sorts, (0..20).collect::<Vec<u64>>());
    }
}
