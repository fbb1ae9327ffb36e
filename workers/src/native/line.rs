//! One line of a group: as its provider's adapter spells it, as the ledger has it, and as what came of it is told. The same
//! line is the same attempt however often it is submitted or read. Knows nothing of the other lines.

use super::Native;
use crate::call::End;
use crate::exchange::{Attempt, Clocks, Exchange, Report};
use crate::limits::Pick;
use crate::media::Media;
use crate::providers::batch_api::LineEnd;
use crate::providers::{Adapter, ErrorResponse};
use bytes::Bytes;
use http::HeaderMap;
use penstock_dialects::provider::{RequestPath, Wanted};
use penstock_runtime::bus::Recorded;
use penstock_runtime::clock;
use penstock_schemas::envelope::{Delivery, Envelope};
use penstock_schemas::event::{AttemptStarted, StartReservation};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::{Failed, Frame, Payload};
use penstock_schemas::money::Picodollars;
use penstock_schemas::name::RequestId;
use penstock_schemas::native_batch::{NativeGroup, NativeLine, NativeLineHead, NativeOutcome, check_line};
use penstock_schemas::reservation::{Amounts, Settled};
use std::time::Duration;
use tokio::time::Instant;

/// A line as the ingress wrote it.
pub(super) struct Line {
    pub(super) envelope: Envelope,
    body: Bytes,
}

/// A line as the provider gets it.
pub(super) struct Ready {
    pub(super) endpoint: RequestPath,
    pub(super) request: Bytes,
    pub(super) start: AttemptStarted,
}

impl Native {
    /// Makes sure that the money for a line is still set aside.
    ///
    /// # Errors
    /// When it is not: the line must not be sent.
    pub(super) async fn afford(&self, line: &Line, start: &AttemptStarted) -> Result<(), Failure> {
        let usd = start.worst_case.and_then(|worst| u64::try_from(worst.0).ok()).unwrap_or(0);
        self.context.afford_line(&line.envelope, Amounts { usd, tokens: start.worst_tokens }).await
    }
}

/// How a line is spoken of.
struct Spoken {
    adapter: &'static dyn Adapter,
    wanted: Wanted,
    body: Bytes,
}

impl Line {
    /// Reads a record of the lines' object.
    pub(super) fn read(record: &Bytes) -> Result<Self, Failure> {
        let (envelope, body) = Envelope::decode(record).map_err(|error| {
            Failure::gateway(FailureKind::Internal, format!("a line of the group cannot be read: {error}"))
        })?;
        Ok(Self { envelope, body })
    }

    /// What it is known by, here and at the provider.
    pub(super) fn call(&self) -> RequestId {
        self.envelope.call_id()
    }

    fn record(&self, outcome: NativeOutcome, spent: Amounts, payload: Payload) -> NativeLine {
        let settled = self.envelope.reservation.clone().map(|mut reservation| {
            reservation.spend(&self.envelope.plan.current().target, spent);
            let spent = reservation.charges.iter().map(|charge| charge.spent).collect();
            Settled { id: reservation.id, spent }
        });
        let head = NativeLineHead { call: self.call(), outcome, settled };
        NativeLine { head, frame: Frame { seq: self.envelope.next_seq, payload } }
    }

    fn failed(&self, failure: Failure, attempts: u32) -> Payload {
        let target = Some(self.envelope.plan.current().target.clone());
        Payload::Failed(Failed { failure, target, attempts, sent: None })
    }

    /// What is told of a line that the provider never ran.
    pub(super) fn unrun(&self, failure: Failure) -> NativeLine {
        let payload = self.failed(failure, self.envelope.attempts);
        self.record(NativeOutcome::Unrun, Amounts::default(), payload)
    }
}

impl Native {
    /// The line in the provider's words.
    ///
    /// # Errors
    /// When it cannot be a line of this group: the reason.
    pub(super) fn ready(&self, line: &Line, group: &NativeGroup) -> Result<Ready, Failure> {
        let spoken = self.speak(line, group)?;
        let call = self.call(line, &spoken, group);
        let spelled = call.words(&mut Report::default())?;
        Ok(Ready { endpoint: spelled.path, request: spelled.body, start: self.start(line, group) })
    }

    fn speak(&self, line: &Line, group: &NativeGroup) -> Result<Spoken, Failure> {
        let unfit = |why: &str| Failure::gateway(FailureKind::Unsupported, format!("no line of a native batch: {why}"));
        let envelope = &line.envelope;
        check_line(envelope, group).map_err(unfit)?;
        if !self.api.takes(envelope.operation) {
            return Err(unfit("the provider's batch API does not take requests of this kind"));
        }
        let card = self.context.provider.model(&group.target.model);
        let spoken = self.context.words(envelope, &line.body, card);
        let (adapter, form, body) = spoken.ok_or_else(|| unfit("it cannot be said in the provider's dialect"))?;
        let wanted = Wanted { operation: envelope.operation, form, delivery: Delivery::Whole };
        let is_fetched = self.context.not_taken(adapter, wanted, envelope.dialect);
        if is_fetched.is_some_and(|addresses| Media::is_named_in(&body, addresses)) {
            return Err(unfit("it names images or documents that are to be fetched"));
        }
        Ok(Spoken { adapter, wanted, body })
    }

    /// The attempt as the exchange that it is, without its sending.
    fn call<'a>(&'a self, line: &'a Line, spoken: &'a Spoken, group: &NativeGroup) -> Exchange<'a> {
        let never = Duration::ZERO;
        Exchange {
            provider: &self.context.provider,
            memory: &self.context.memory,
            card: self.context.provider.model_in_batch(&group.target.model),
            adapter: spoken.adapter,
            wanted: spoken.wanted,
            envelope: &line.envelope,
            body: &spoken.body,
            left_out: Vec::new(),
            clocks: Clocks { connect: None, first_token: never, idle: never, total: never },
            id: group.attempt_id(line.call()),
            number: line.envelope.attempts + 1,
            key: Pick::NoKey,
            desk: &self.context.desk,
            worker: &self.context.worker,
            life: &self.context.life,
            began: Instant::now(),
        }
    }

    /// What is written of the line before the provider has it. No worker is named: it is not over when that one is gone.
    fn start(&self, line: &Line, group: &NativeGroup) -> AttemptStarted {
        let envelope = &line.envelope;
        let link = envelope.plan.current();
        let card = self.context.provider.model(&link.target.model);
        let worst = self.context.worst((envelope, &line.body), link);
        AttemptStarted {
            attempt_id: group.attempt_id(line.call()),
            request_id: envelope.request_id,
            started_at: group.at,
            deadline: group.deadline,
            caller: envelope.caller.clone(),
            target: link.target.clone(),
            virtual_model: envelope.virtual_model.clone(),
            operation: envelope.operation,
            number: envelope.attempts + 1,
            link: u32::try_from(envelope.plan.position()).unwrap_or(u32::MAX),
            stream: false,
            worst_case: worst.usd.map(|usd| Picodollars(i64::try_from(usd).unwrap_or(i64::MAX))),
            price_id: card.and_then(|card| card.price.as_ref()).map(|price| price.price_id.clone()),
            worst_tokens: worst.tokens,
            worker: None,
            reserved: envelope.reservation.as_ref().map(|reservation| StartReservation {
                id: reservation.id,
                lease: reservation.lease,
                books: reservation.proven(&link.target),
            }),
            batch_id: Some(group.batch.clone()),
            native_batch: true,
            trace: self.context.trace(envelope, link),
        }
    }

    /// What came of a line that the provider has, noted for the ledger.
    ///
    /// # Errors
    /// Never for what the provider says; when the line was none of this group.
    pub(super) async fn end(
        &self,
        line: &Line,
        group: &NativeGroup,
        end: LineEnd,
    ) -> Result<(NativeLine, Recorded), Failure> {
        let spoken = self.speak(line, group)?;
        let call = self.call(line, &spoken, group);
        let mut report = Report { was_sent: true, ..Report::default() };
        call.words(&mut report)?;
        let (attempt, outcome, payload) = match end {
            LineEnd::Answered(200, body) => {
                report.status = Some(200);
                match call.read_whole(&body, &mut report).await {
                    Ok(bytes) => (Attempt::Served, NativeOutcome::Served, call.whole_answer(bytes, &report)),
                    Err(failure) => {
                        let payload = line.failed(failure.clone(), call.number);
                        (Attempt::Refused(failure), NativeOutcome::Refused, payload)
                    }
                }
            }
            LineEnd::Answered(status, body) => {
                report.status = Some(status);
                let (provider, headers) = (&self.context.provider.id, &HeaderMap::new());
                let refusal = ErrorResponse { provider, key: None, status, headers, body: &body, now: clock::now() };
                let failure = spoken.adapter.refuse(&refusal);
                let payload = line.failed(failure.clone(), call.number);
                (Attempt::Refused(failure), NativeOutcome::Refused, payload)
            }
            LineEnd::Unread => {
                let failure =
                    Failure::provider(FailureKind::Broken, "the provider's answer to the line cannot be read");
                let payload = line.failed(failure.clone(), call.number);
                (Attempt::Refused(failure), NativeOutcome::Unrun, payload)
            }
            LineEnd::Unrun(why) => {
                report.was_sent = false;
                let why = format!("the provider's batch API did not run the line: {why}");
                let failure = Failure::provider(FailureKind::Overloaded, why);
                let payload = line.failed(failure.clone(), line.envelope.attempts);
                (Attempt::Refused(failure), NativeOutcome::Unrun, payload)
            }
        };
        let total = clock::now().since(group.at);
        let ended = End::of(&attempt, total, FailureKind::Cancelled);
        let noted = self.context.note(self.start(line, group), ended, report).await;
        Ok((line.record(outcome, noted.amounts, payload), noted.recorded))
    }
}
