//! The clients: so many requests at once, whole and streamed, each with words of its own that its answer must hold; and
//! what happens at which of them. A client asks the other ingress when one refuses the connection, and repeats nothing.

use super::cluster::{Cluster, Victim};
use super::{ChaosOptions, Faults};
use anyhow::bail;
use futures_util::stream::{self, StreamExt};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What a request may take: `x-penstock-timeout-ms`. A client waits a little longer.
const DEADLINE: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(25);

/// Requests that may fail before the first is answered: the workers are still coming up.
const WARM_UP: u32 = 600;

/// What breaks with its ingress.
pub(super) const CUT: &str = "connection lost with its ingress";

/// The run to be made.
pub(super) struct Load<'a> {
    pub(super) options: &'a ChaosOptions,
    pub(super) models: &'a [String],
    pub(super) cluster: &'a Cluster,
    /// The provider that has an outage.
    pub(super) first: &'a Faults,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) right: u64,
    /// By what was wrong.
    pub(super) wrong: BTreeMap<String, u64>,
    /// Of right answers at the first attempt, and of those that needed more.
    pub(super) direct: Vec<Duration>,
    pub(super) failovers: Vec<Duration>,
    pub(super) took: Duration,
}

/// One answer that is right: how many attempts it took.
type Answered = Result<u32, String>;

impl Load<'_> {
    /// Sends everything, and kills what is to be killed.
    pub(super) async fn run(&self) -> anyhow::Result<Run> {
        let client = Client::builder().timeout(PATIENCE).no_proxy().build()?;
        self.warm_up(&client).await?;
        let began = Instant::now();
        let mut run = Run::default();
        let asked = stream::iter(0..self.options.requests).map(|number| {
            self.happen(number);
            let client = &client;
            async move {
                let began = Instant::now();
                (self.ask(client, number).await, began.elapsed())
            }
        });
        let mut answers = asked.buffer_unordered(self.options.concurrency.into());
        while let Some((answered, took)) = answers.next().await {
            run.note(answered, took);
            self.progress(&run);
        }
        run.took = began.elapsed();
        Ok(run)
    }

    async fn warm_up(&self, client: &Client) -> anyhow::Result<()> {
        for number in 0..WARM_UP {
            let both = [0, 2].map(|at| self.ask(client, u64::from(number) * 4 + at));
            if futures_util::future::join_all(both).await.iter().all(Result::is_ok) {
                return Ok(());
            }
            sleep(Duration::from_millis(100)).await;
        }
        bail!("no request is answered: see the logs in the temporary folder")
    }

    /// What is due at request `number`.
    fn happen(&self, number: u64) {
        let share = |part: u64, of: u64| number == self.options.requests * part / of;
        if share(1, 4) {
            self.cluster.kill(Victim::Worker);
        }
        if share(1, 3) {
            self.first.begin_outage();
        }
        if share(1, 2) {
            self.cluster.kill(Victim::Ingress);
        }
        if share(2, 3) {
            self.first.end_outage();
        }
        if share(3, 4) {
            self.cluster.kill(Victim::Nats);
        }
    }

    async fn ask(&self, client: &Client, number: u64) -> Answered {
        let words = format!("request {number} of seed {}", self.options.seed);
        let is_stream = number.is_multiple_of(2);
        let model = &self.models[usize::try_from(number).unwrap_or_default() % self.models.len()];
        let body = json!({
            "model": model, "stream": is_stream, "messages": [{ "role": "user", "content": words }],
        });
        let response = self.send(client, number, &body).await?;
        let attempts =
            response.headers().get("x-penstock-attempts").and_then(|count| count.to_str().ok()?.parse().ok());
        let status = response.status();
        let text = response.text().await.map_err(|error| lost(&error))?;
        if !status.is_success() {
            let body: Value = serde_json::from_str(&text).unwrap_or_default();
            return Err(format!("{} {}", status.as_u16(), kind(&body["error"])));
        }
        let said = if is_stream { said_in_stream(&text)? } else { said_whole(&text) };
        match said.strip_suffix(&words) {
            Some(_) => Ok(attempts.unwrap_or(1)),
            None => Err("wrong answer".to_owned()),
        }
    }

    /// At one ingress, and at the other one when the first takes no connections.
    async fn send(&self, client: &Client, number: u64, body: &Value) -> Result<Response, String> {
        let ingresses = self.cluster.ingresses();
        let at = usize::from(!(number / 2).is_multiple_of(2));
        match self.request(client, &ingresses[at], body).send().await {
            Err(error) if error.is_connect() => {
                let other = self.request(client, &ingresses[1 - at], body).send().await;
                other.map_err(|error| lost(&error))
            }
            sent => sent.map_err(|error| lost(&error)),
        }
    }

    fn request(&self, client: &Client, ingress: &str, body: &Value) -> RequestBuilder {
        let request = client.post(format!("http://{ingress}/v1/chat/completions"));
        let request = request.bearer_auth(self.cluster.key().reveal()).header("content-type", "application/json");
        request.header("x-penstock-timeout-ms", DEADLINE.as_millis().to_string()).body(body.to_string())
    }

    #[expect(clippy::print_stderr, reason = "how far it is, for whoever waits at a terminal")]
    fn progress(&self, run: &Run) {
        let done = run.right + run.wrong.values().sum::<u64>();
        if (done.is_multiple_of(100) || done == self.options.requests) && std::io::stderr().is_terminal() {
            let end = if done == self.options.requests { "\n" } else { "" };
            eprint!("\r{done} of {} requests, {} not answered correctly{end}", self.options.requests, done - run.right);
            // What cannot be shown is not missed.
            let _ = std::io::stderr().flush();
        }
    }
}

impl Run {
    fn note(&mut self, answered: Answered, took: Duration) {
        match answered {
            Ok(attempts) => {
                self.right += 1;
                if attempts > 1 { &mut self.failovers } else { &mut self.direct }.push(took);
            }
            Err(wrong) => *self.wrong.entry(wrong).or_default() += 1,
        }
    }
}

fn lost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        format!("no answer in {PATIENCE:?}")
    } else if error.is_connect() {
        "both ingresses refuse connections".to_owned()
    } else {
        CUT.to_owned()
    }
}

/// What an error calls itself.
fn kind(error: &Value) -> String {
    let word = error["code"].as_str().or(error["type"].as_str());
    word.unwrap_or("error").to_owned()
}

fn said_whole(text: &str) -> String {
    let answer: Value = serde_json::from_str(text).unwrap_or_default();
    answer["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
}

/// The text of a stream that ended as it should.
fn said_in_stream(text: &str) -> Result<String, String> {
    let mut said = String::new();
    let mut is_done = false;
    for data in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
        if data == "[DONE]" {
            is_done = true;
            continue;
        }
        let event: Value = serde_json::from_str(data).map_err(|_| "a stream that is not JSON".to_owned())?;
        if !event["error"].is_null() {
            return Err(format!("stream broken off: {}", kind(&event["error"])));
        }
        said += event["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
    }
    if is_done { Ok(said) } else { Err("a stream without an end".to_owned()) }
}
