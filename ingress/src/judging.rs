//! Judges: models that are asked about answers, after their callers have them. A question to a judge goes through the pipeline
//! like any request, with a key that pays for it. What comes faster than it is judged is left out, and counted.

mod comparisons;
mod scores;

use crate::cache::AnswersToCompare;
use crate::capture::AnswerToJudge;
use crate::http::body::reserve_for;
use crate::pipeline;
use crate::refusal::Refusal;
use crate::request::{Arrival, Request};
use crate::stage::authenticate::{self, Sender};
use crate::state::Shared;
use axum::http::HeaderMap;
use bytes::Bytes;
use penstock_dialects::client::Endpoint;
use penstock_runtime::clock;
use penstock_schemas::envelope::{Dialect, Operation};
use penstock_schemas::money::Picodollars;
use penstock_schemas::name::{KeyId, RequestId};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};
use uuid::Uuid;

/// What waits for a judge, and what is judged at once, of one ingress and one kind.
const QUEUE: usize = 64;
const AT_ONCE: usize = 8;

/// The tokens that a judge may answer with.
const TOKENS: u32 = 1_000;

/// A queue of tasks for judges.
type Queue<T> = (mpsc::Sender<T>, mpsc::Receiver<T>);

/// Where answers wait to be scored, and where to be compared.
pub(crate) fn queues() -> (Queue<AnswerToJudge>, Queue<AnswersToCompare>) {
    (mpsc::channel(QUEUE), mpsc::channel(QUEUE))
}

/// Has judged what comes in the queues, until the role stops.
pub(crate) fn start(
    ingress: &Shared,
    answers: mpsc::Receiver<AnswerToJudge>,
    compared: mpsc::Receiver<AnswersToCompare>,
) {
    ingress.life.service("judges", scores::run(ingress.clone(), answers));
    ingress.life.service("judge of the cache", comparisons::run(ingress.clone(), compared));
}

/// What a judge is asked.
struct Question<'a> {
    /// The model, as a caller would name it.
    model: &'a str,
    /// Whose key asks and pays.
    key: &'a KeyId,
    /// What it is to find, and in what form.
    task: &'a str,
    /// What it is to look at, each with its title. No caller knows the mark between them: what it writes cannot end its own part.
    material: &'a [(&'a str, &'a str)],
    tags: BTreeMap<String, String>,
}

/// What a judge said.
struct Judgement {
    request_id: RequestId,
    /// The object in its answer; `None` when there is none.
    said: Option<Value>,
    cost: Option<Picodollars>,
}

impl Question<'_> {
    /// Asks the model.
    async fn ask(&self, ingress: &Shared) -> Result<Judgement, Refusal> {
        let request = self.request(ingress)?;
        let request_id = request.id;
        let (bytes, summary) = pipeline::answer_line(ingress, request).await?;
        Ok(Judgement { request_id, said: read(&bytes), cost: summary.cost })
    }

    fn request(&self, ingress: &Shared) -> Result<Request, Refusal> {
        let body = Bytes::from(self.body().to_string());
        let caller = authenticate::find_by_id(self.key, ingress)?;
        let memory = reserve_for(&ingress.memory, body.len())?;
        let asked = Endpoint::new(Dialect::Openai, Operation::Chat).read(body, None)?;
        let grant = caller.grant(&asked, Sender { user: None, tags: self.tags.clone() }, ingress)?;
        let (id, at) = (clock::request_id(), clock::now());
        let deadline = at.after(ingress.config.total_timeout);
        let (headers, carried_query) = (HeaderMap::new(), BTreeMap::new());
        let trace = ingress.config.trace(id, None);
        let arrival = Arrival { id, at, deadline, headers, carried_query, known_at: at, trace };
        let mut request = Request::new(grant, arrival, asked, memory);
        request.is_judging = true;
        Ok(request)
    }

    fn body(&self) -> Value {
        let mark = Uuid::new_v4();
        let mut material = String::new();
        for (title, text) in self.material {
            material.push_str(&format!("{mark} {title}\n{text}\n"));
        }
        json!({
            "model": self.model,
            "max_tokens": TOKENS,
            "messages": [
                { "role": "system", "content": self.task },
                { "role": "user", "content": format!("{material}{mark} end") },
            ],
        })
    }
}

/// The first object in the text of a chat completion.
fn read(bytes: &[u8]) -> Option<Value> {
    let answer: Value = serde_json::from_slice(bytes).ok()?;
    let text = answer["choices"][0]["message"]["content"].as_str()?;
    serde_json::from_str(text.get(text.find('{')?..=text.rfind('}')?)?).ok()
}

/// Has each task done that comes, some at once, until the role stops.
async fn each<T, F>(ingress: Shared, mut waiting: mpsc::Receiver<T>, judge: fn(Shared, T) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(AT_ONCE));
    while let Some(task) = waiting.recv().await {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        if ingress.life.is_stopping() {
            return;
        }
        let judged = Box::pin(judge(ingress.clone(), task));
        ingress.life.work(async move {
            judged.await;
            drop(place);
        });
    }
}
