//! Sends comments in streams of events that are silent for long: proxies and load balancers close a silent connection
//! (nginx's and Amazon's after 60 s, Cloudflare's after 100 s). When the first content takes that long, the stream begins without
//! it, and a failure after that is sent as an event. Does not know how an answer is made.
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html#authoring-notes>.

use crate::dialect;
use crate::http::reply;
use crate::refusal::Refusal;
use crate::request::Request;
use crate::state::Shared;
use axum::body::{Body, BodyDataStream, HttpBody};
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use penstock_dialects::responses::client as responses;
use penstock_schemas::envelope::{Dialect, Operation};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::name::RequestId;
use std::time::Duration;
use tokio::time::timeout;

const COMMENT: Bytes = Bytes::from_static(b": waiting\n\n");

/// A response that is on its way, and why it is a refusal, if it is one.
pub(crate) type PendingReply = BoxFuture<'static, (Response, Option<Refusal>)>;

/// To whom they are given, and after which silence.
pub(crate) struct SignsOfLife {
    dialect: Dialect,
    id: RequestId,
    silence: Duration,
}

/// What is waited for.
enum Awaited {
    /// The beginning.
    Answer(PendingReply),
    /// More events; and whether the last one is out as a whole, so that a comment may follow.
    Events(BodyDataStream, bool),
}

type Next = (Result<Bytes, axum::Error>, Option<(SignsOfLife, Awaited)>);

impl SignsOfLife {
    /// `None` where none are wanted or understood: Google's SDK for JavaScript takes a comment for a broken event.
    pub(crate) fn of(request: &Request, ingress: &Shared) -> Option<Self> {
        let silence = ingress.config.keep_alive;
        let asked = &request.asked;
        let is_understood = asked.dialect != Dialect::Google
            && matches!(asked.operation, Operation::Chat | Operation::Completions)
            && asked.delivery.is_stream();
        (is_understood && !silence.is_zero()).then_some(Self { dialect: asked.dialect, id: request.id, silence })
    }

    /// The response, with them.
    pub(crate) async fn among(self, mut answering: PendingReply) -> Response {
        let Ok((response, _)) = timeout(self.silence, &mut answering).await else {
            let id = self.id;
            return reply::events(self.body(Awaited::Answer(answering)), id);
        };
        // What is there as a whole is not silent.
        if !is_events(&response) || response.body().size_hint().exact().is_some() {
            return response;
        }
        let (parts, body) = response.into_parts();
        Response::from_parts(parts, self.body(Awaited::Events(body.into_data_stream(), true)))
    }

    fn body(self, awaited: Awaited) -> Body {
        let events = stream::unfold(Some((self, awaited)), |state| async {
            let (signs, awaited) = state?;
            signs.next(awaited).await
        });
        Body::from_stream(events)
    }

    async fn next(self, mut awaited: Awaited) -> Option<Next> {
        loop {
            match &mut awaited {
                Awaited::Answer(answering) => match timeout(self.silence, answering).await {
                    Err(_) => return Some((Ok(COMMENT), Some((self, awaited)))),
                    Ok((response, None)) if is_events(&response) => {
                        awaited = Awaited::Events(response.into_body().into_data_stream(), true);
                    }
                    Ok((_, refusal)) => return Some((Ok(self.error(refusal)), None)),
                },
                Awaited::Events(events, is_between) => match timeout(self.silence, events.next()).await {
                    Err(_) if *is_between => return Some((Ok(COMMENT), Some((self, awaited)))),
                    Err(_) => {}
                    Ok(next) => {
                        let next = next?;
                        *is_between = next.as_ref().is_ok_and(|bytes| bytes.ends_with(b"\n\n"));
                        return Some((next, Some((self, awaited))));
                    }
                },
            }
        }
    }

    /// A refusal that came too late for a status.
    fn error(&self, refusal: Option<Refusal>) -> Bytes {
        let failure = match refusal {
            Some(Refusal::Failed(failure)) => *failure,
            Some(other) => Failure::gateway(FailureKind::Busy, other.to_string()),
            None => Failure::gateway(FailureKind::Internal, "the answer is no stream"),
        };
        match self.dialect {
            Dialect::Responses => responses::error_event(&failure, self.id, 0),
            dialect => dialect::error_event(dialect, &failure, self.id),
        }
    }
}

fn is_events(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/event-stream"))
}
