//! One request on its way through the stages. It grows: each stage sets what it has found out, once. Knows no stage, and not
//! where a request comes from: over HTTP, or as a line of a batch.

use crate::embedding::Embedding;
use crate::keys::grant::Grant;
use crate::limits::LimitQuery;
use crate::refusal::Refusal;
use axum::http::HeaderMap;
use bytes::Bytes;
use penstock_dialects::client::ClientRequest;
use penstock_runtime::memory::Reserved;
use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::Caller;
use penstock_schemas::key::VirtualKey;
use penstock_schemas::model::ModelCard;
use penstock_schemas::name::{BatchId, RequestId, Target};
use penstock_schemas::session::Session;
use penstock_schemas::trace::TraceContext;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which request it is, when it came, and until when it must be answered.
pub(crate) struct Arrival {
    pub(crate) id: RequestId,
    pub(crate) at: UnixMicros,
    pub(crate) deadline: UnixMicros,
    /// See [`Request::headers`].
    pub(crate) headers: HeaderMap,
    /// See [`Request::carried_query`].
    pub(crate) carried_query: BTreeMap<String, String>,
    /// When its caller was found.
    pub(crate) known_at: UnixMicros,
    /// See [`Request::trace`].
    pub(crate) trace: Option<Box<TraceContext>>,
}

/// A request of a caller who is known. Only [`Request::new`] makes one, and it wants the caller's [`Grant`].
pub(crate) struct Request {
    pub(crate) id: RequestId,
    pub(crate) at: UnixMicros,
    pub(crate) deadline: UnixMicros,
    /// What is asked, and in which dialect.
    pub(crate) asked: ClientRequest,
    /// The headers that it came with; none on a line of a batch.
    pub(crate) headers: HeaderMap,
    /// The parameters of the address that a provider of the caller's dialect is to see.
    pub(crate) carried_query: BTreeMap<String, String>,
    /// Its place in the process's memory, as long as the request lasts.
    pub(crate) memory: Arc<Reserved>,
    /// The same of earlier responses that it goes on from.
    pub(crate) recalled: Option<Reserved>,
    pub(crate) key: Arc<VirtualKey>,
    pub(crate) caller: Caller,
    grant: Grant,
    /// Set by `receive`: whether its caller comes back for the answer.
    pub(crate) is_async: bool,
    /// Set by `receive`: the webhook that is told then, where its caller names one.
    pub(crate) webhook: Option<String>,
    /// Set by `receive`: before when nothing is sent, where its caller comes back for the answer.
    pub(crate) run_at: Option<UnixMicros>,
    /// Set by `repeat`: whether the answer is kept, for a caller who asks again.
    pub(crate) is_kept: bool,
    /// The name of its call, where that is not its own: a job whose stream is kept, and which may be made again. Its answer
    /// comes in the agnostic form.
    pub(crate) call: Option<RequestId>,
    /// When its caller was found.
    pub(crate) known_at: UnixMicros,
    /// The session that it is a part of, as far as it says so itself; `recall` adds that of an earlier response.
    pub(crate) session: Option<Box<Session>>,
    /// The trace that it is a part of; `None`: no traces are made.
    pub(crate) trace: Option<Box<TraceContext>>,
    /// Set by `cache`, where the answer may be kept: the request in its agnostic form, in which the answer must come too.
    pub(crate) agnostic: Option<Bytes>,
    /// Set by the first stage that compares it by its meaning: see `stage::embed`.
    pub(crate) embedding: Option<Embedding>,
    /// The batch that it is a line of; `None`: a client waits for the answer.
    pub(crate) batch: Option<BatchId>,
    /// Whether it asks a judge about the answer to another: it is not judged itself.
    pub(crate) is_judging: bool,
    /// What it is a copy for; `None`: it is a request of its own.
    pub(crate) shadow: Option<ShadowOf>,
}

/// What a copy of a request is for.
#[derive(Clone, Debug)]
pub(crate) struct ShadowOf {
    pub(crate) experiment: String,
    pub(crate) arm: String,
    /// The request that was copied.
    pub(crate) request: RequestId,
}

impl Request {
    /// What this caller asks.
    pub(crate) fn new(grant: Grant, arrival: Arrival, asked: ClientRequest, memory: Reserved) -> Self {
        let Arrival { id, at, deadline, headers, carried_query, known_at, trace } = arrival;
        Self {
            id,
            at,
            deadline,
            asked,
            headers,
            carried_query,
            memory: Arc::new(memory),
            recalled: None,
            key: grant.key().clone(),
            caller: grant.caller().clone(),
            grant,
            is_async: false,
            webhook: None,
            run_at: None,
            is_kept: false,
            call: None,
            known_at,
            session: None,
            trace,
            agnostic: None,
            embedding: None,
            batch: None,
            is_judging: false,
            shadow: None,
        }
    }

    /// The caller's right to ask, which lasts as long as it holds.
    pub(crate) fn grant(&self) -> &Grant {
        &self.grant
    }

    /// From now on the right to ask is that of its session too.
    ///
    /// # Errors
    /// When the session was stopped.
    pub(crate) fn join_session(&mut self) -> Result<(), Refusal> {
        if let Some(session) = &self.session {
            self.grant = self.grant.of_session(&session.id)?;
        }
        Ok(())
    }

    /// What limits look at in it, when it may go to these targets.
    pub(crate) fn limit_query<'a>(
        &'a self,
        targets: &'a [(Target, Option<Arc<ModelCard>>)],
        now: UnixMicros,
    ) -> LimitQuery<'a> {
        LimitQuery {
            caller: &self.caller,
            session: self.session.as_ref().map(|session| session.id.as_str()),
            key: &self.key,
            model: &self.asked.model,
            operation: self.asked.operation,
            extent: &self.asked.extent,
            targets,
            now,
        }
    }
}
