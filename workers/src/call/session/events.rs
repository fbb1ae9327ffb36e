//! What is said in a session, event by event: what goes on, what is paid for before it does, and what is asked for in the
//! provider's place. Knows nothing of time and of the end.

use super::{Over, STEERING, Session, Steered};
use crate::sink::FrameSink;
use bytes::Bytes;
use penstock_dialects::openai::realtime::{
    ClientEvent, OWN_EVENT, ServerEvent, Turns, cancel, create, error_event, read_client, read_server, with_turns,
};
use penstock_dialects::strike::strike_bytes;
use penstock_runtime::{Secret, heavy};
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::json;
use tokio::time::Instant;
use tracing::warn;

/// Responses of one session at once; OpenAI has one in the conversation, and others beside it.
const AT_ONCE: usize = 8;

impl<S: FrameSink> Session<'_, S> {
    /// What the client says, as far as it may.
    pub(super) async fn hear_client(&mut self, text: Bytes) -> Result<(), Over> {
        let (own_id, unsupported) = (self.next_id(), self.call.envelope.unsupported);
        let target = &self.link.target;
        let names = [
            target.model.as_str(),
            &target.to_string(),
            self.call.envelope.virtual_model.as_deref().unwrap_or_default(),
        ];
        let read = heavy(text.len(), || read_client(&text, &own_id, &names, unsupported)).await;
        let (event, says) = match read {
            Ok(event) => (event, text),
            Err(wrong) => return self.say_error(wrong.error(), wrong.event_id.as_deref()).await,
        };
        match event {
            ClientEvent::Free => self.tell(says).await,
            ClientEvent::Audio if self.steered == Steered::Unknown => {
                let error = json!({ "type": "invalid_request_error", "code": "unsupported", "param": "audio",
                    "message": "the provider has not said how it finds turns: nothing can be heard in this session" });
                self.say_error(error, None).await
            }
            ClientEvent::Audio => self.tell(says).await,
            ClientEvent::Update { event, turns } => {
                self.turns = turns.unwrap_or(self.turns);
                self.tell(event.into()).await
            }
            ClientEvent::Create { event_id, event } => {
                if self.responses.open() >= AT_ONCE {
                    let error = json!({ "type": "invalid_request_error", "code": "too_many_responses", "param": null,
                        "message": format!("{AT_ONCE} responses of this session are not over: wait for one") });
                    return self.say_error(error, Some(&event_id)).await;
                }
                self.ask(event_id, false, event).await
            }
        }
    }

    /// Asks for a response, when it is paid for and in the ledger.
    async fn ask(&mut self, event_id: String, is_own: bool, event: String) -> Result<(), Over> {
        let count = self.responses.open() as u64 + 1;
        if let Err(failure) = self.call.afford_responses(self.link, count).await {
            return self.close_by(failure);
        }
        let begun = self.call.begin_response(self.link, &self.clocks).await?;
        self.responses.ask(event_id, is_own, begun);
        self.silent = Instant::now();
        self.tell(event.into()).await
    }

    /// It ends when the responses that are paid for are over.
    fn close_by(&mut self, failure: Failure) -> Result<(), Over> {
        if failure.kind == FailureKind::Cancelled {
            return Err(Over::Cancelled);
        }
        self.closing.get_or_insert(failure);
        Ok(())
    }

    /// What the provider says: to its client, as it came, but for what it says of what we told it.
    pub(super) async fn hear_provider(&mut self, text: Bytes) -> Result<(), Over> {
        let text = strike_bytes(text, self.key.as_ref().map(Secret::reveal));
        let mut says = text.clone();
        match heavy(text.len(), || read_server(&text)).await {
            ServerEvent::Session(begun) => {
                self.responses.model_version = begun.model().map(ToOwned::to_owned);
                (self.steered, self.turns) = (Steered::Done, Turns::Unanswered);
                if let Some(event) = begun.switch_off(STEERING) {
                    (self.steered, self.turns) = (Steered::Told, Turns::Answered);
                    self.tell(event.into()).await?;
                }
            }
            ServerEvent::Changed(_) if self.steered == Steered::Told => {
                self.steered = Steered::Done;
                return Ok(());
            }
            ServerEvent::Changed(mut event) => {
                says = with_turns(&mut event, self.turns).map_or(text, Bytes::from);
            }
            ServerEvent::Created(id) => self.begun(id).await?,
            ServerEvent::Done(done) => self.call.response_done(self.link, &mut self.responses, *done).await,
            ServerEvent::Error { event_id: Some(id), code, message } => {
                if !self.refused(&id, code, message).await? {
                    return Ok(());
                }
            }
            ServerEvent::TurnOver(item) => self.last_turn = Some(item),
            ServerEvent::Committed(item) => {
                self.tell_client(says).await?;
                return self.answer_turn(&item).await;
            }
            ServerEvent::Content => self.responses.note_content(),
            ServerEvent::Error { event_id: None, .. } | ServerEvent::Other => {}
        }
        self.tell_client(says).await
    }

    /// The provider has found the end of a turn: where its client wants an answer to it, it is asked for.
    async fn answer_turn(&mut self, item: &str) -> Result<(), Over> {
        let is_turn = self.last_turn.as_deref() == Some(item);
        if !is_turn || self.turns != Turns::Answered || self.closing.is_some() || self.responses.open() >= AT_ONCE {
            return Ok(());
        }
        self.last_turn = None;
        let id = self.next_id();
        let event = create(&id);
        self.ask(id, true, event).await
    }

    /// A response has begun. One that nobody asked for is ended, unless it can be paid for.
    async fn begun(&mut self, id: String) -> Result<(), Over> {
        if self.responses.begin(id.clone()) {
            return Ok(());
        }
        warn!(model = %self.link.target, "a provider begins a response that nobody asked for");
        let count = self.responses.open() as u64 + 1;
        let afforded = self.call.afford_responses(self.link, count).await;
        let begun = self.call.begin_response(self.link, &self.clocks).await?;
        self.responses.begin_unasked(id.clone(), begun);
        let Err(failure) = afforded else { return Ok(()) };
        let event = cancel(&self.next_id(), &id);
        self.tell(event.into()).await?;
        self.close_by(failure)
    }

    /// An event of ours, or one of the client's that asks for a response, is refused. Whether the client is to hear of it.
    pub(super) async fn refused(
        &mut self,
        event_id: &str,
        code: Option<String>,
        message: String,
    ) -> Result<bool, Over> {
        if event_id == STEERING {
            let why = format!("{} does not let its own turns be switched off: {message}", self.link.target);
            return Err(Failure::provider(FailureKind::Unsupported, why).into());
        }
        let Some(asked) = self.responses.refuse(event_id) else { return Ok(!event_id.starts_with(OWN_EVENT)) };
        let is_told = !asked.is_own;
        let mut failure = Failure::provider(FailureKind::BadRequest, message);
        failure.provider_code = code;
        self.call.response_refused(asked, failure).await;
        Ok(is_told)
    }

    pub(super) fn next_id(&mut self) -> String {
        self.ids += 1;
        format!("{OWN_EVENT}{}", self.ids)
    }

    /// An error of ours, as the provider would say it.
    async fn say_error(&mut self, error: serde_json::Value, caused_by: Option<&str>) -> Result<(), Over> {
        let event = error_event(&self.next_id(), error, caused_by);
        self.tell_client(event.into()).await
    }
}
