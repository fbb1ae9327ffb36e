//! `GET /admin/v1/activity/stream`: traffic as it changes, as server-sent events for the dashboard's overview. How many are open
//! is limited, and each ends with the token that it was begun with. Who gets none asks `GET /admin/v1/activity` again and again.

use super::{identify, questions};
use crate::http::query::Query;
use crate::http::reply;
use crate::refusal::Refusal;
use crate::state::Shared;
use crate::strangers::Peer;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::stream::{self, Stream};
use penstock_runtime::clock;
use penstock_schemas::activity::ActivityReport;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::name::RequestId;
use serde_json::json;
use std::io;
use std::time::Duration;
use tokio::select;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};

/// Between two questions at the least.
const TICK: Duration = Duration::from_secs(1);

/// How many times as long as a question took the next one waits: all streams together take little of ClickHouse.
const REST: u32 = 20;

/// How long nothing is sent when nothing changes: what lies between would close a silent connection.
const SILENCE: Duration = Duration::from_secs(15);

/// How long a stream goes on; its reader begins another.
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// One stream.
struct Live {
    ingress: Shared,
    headers: HeaderMap,
    since: String,
    until: Instant,
    id: RequestId,
    /// What was sent last.
    last: Option<ActivityReport>,
    /// How long to wait before the next question.
    rest: Duration,
    _place: OwnedSemaphorePermit,
}

/// `GET /admin/v1/activity/stream?since=1h`.
pub(crate) async fn activity(State(ingress): State<Shared>, request: Request) -> Response {
    let id = clock::request_id();
    match begin(ingress, request, id).await {
        Ok(live) => reply::events(Body::from_stream(events(live)), id),
        Err(refusal) => reply::refuse(Dialect::Openai, &refusal, id),
    }
}

async fn begin(ingress: Shared, request: Request, id: RequestId) -> Result<Live, Refusal> {
    let (parts, _) = request.into_parts();
    let actor = Peer::of(&parts).judge(identify(&ingress, &parts.headers, id).await)?;
    let since = Query(parts.uri.query().unwrap_or_default()).get("since").map_or("1h".to_owned(), Into::into);
    questions::activity_query(&actor, Some(&since), None)?;
    let place = ingress.rooms.live.clone().try_acquire_owned();
    let place = place.map_err(|_| Refusal::NotReady("too many live views are open: ask again and again instead"))?;
    let until = Instant::now() + LONGEST;
    Ok(Live { ingress, headers: parts.headers, since, until, id, last: None, rest: Duration::ZERO, _place: place })
}

fn events(live: Live) -> impl Stream<Item = io::Result<String>> + Send {
    stream::unfold(Some(live), |live| async move {
        let mut live = live?;
        match live.next().await {
            Some(event) => Some((Ok(event), Some(live))),
            // The last word: that its reader has to begin anew.
            None => Some((Ok("event: end\ndata: {}\n\n".to_owned()), None)),
        }
    })
}

impl Live {
    /// The next event, or a sign of life; `None`: it is over.
    async fn next(&mut self) -> Option<String> {
        let silent = Instant::now() + SILENCE;
        loop {
            select! {
                () = self.ingress.life.stopping() => return None,
                () = sleep(self.rest) => {}
            }
            if Instant::now() >= self.until {
                return None;
            }
            let actor = identify(&self.ingress, &self.headers, self.id).await.ok()?;
            let query = questions::activity_query(&actor, Some(&self.since), None).ok()?;
            let began = Instant::now();
            let report = questions::answered(self.ingress.bus.ask_activity(&query).await);
            self.rest = (began.elapsed() * REST).clamp(TICK, SILENCE);
            match report {
                Ok(report) if self.last.as_ref().is_none_or(|last| is_other(last, &report)) => {
                    let text = json!(report);
                    self.last = Some(report);
                    return Some(format!("event: activity\ndata: {text}\n\n"));
                }
                Ok(_) | Err(_) if Instant::now() >= silent => return Some(": nothing new\n\n".to_owned()),
                Ok(_) | Err(_) => {}
            }
        }
    }
}

/// Whether there is anything new besides the time.
fn is_other(last: &ActivityReport, now: &ActivityReport) -> bool {
    last.total != now.total || last.steps != now.steps || last.targets != now.targets || last.failures != now.failures
}
