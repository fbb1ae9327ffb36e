//! The request of an exchange, in its provider's words and complete with its key. Knows nothing of connections and answers.

use super::Exchange;
use super::report::Report;
use crate::providers::Outgoing;
use bytes::Bytes;
use http::HeaderValue;
use penstock_dialects::provider::{Form, FormatRequest, Spelled};
use penstock_runtime::{Secret, clock};
use penstock_schemas::body::{SENT_BYTES, SentBody};
use penstock_schemas::envelope::Dialect;
use penstock_schemas::failure::Failure;
use penstock_schemas::trace::SpanId;

impl Exchange<'_> {
    /// The request in the provider's words.
    pub(crate) fn words(&self, report: &mut Report) -> Result<Spelled, Failure> {
        let (mut spelled, tools) = penstock_dialects::spell(
            self.adapter,
            &FormatRequest {
                wanted: self.wanted,
                body: self.body,
                content_type: self.envelope.content_type.as_deref(),
                headers: &self.envelope.headers,
                model: &self.envelope.plan.current().target.model,
                card: self.card,
                settings: &self.provider.settings,
                unsupported: self.envelope.unsupported,
            },
        )?;
        report.tools = tools;
        report.dropped = std::mem::take(&mut spelled.dropped);
        report.dropped.extend(self.left_out.iter().map(|name| (*name).to_owned()));
        Ok(spelled)
    }

    /// The request, complete with its key.
    pub(super) fn spell(&self, key: Option<&Secret>, report: &mut Report) -> Result<Outgoing, Failure> {
        let spelled = self.words(report)?;
        report.sent_body = self.sent_body(&spelled.body);
        let url = self.provider.url(spelled.path.as_str());
        let mut request = Outgoing { url, headers: spelled.headers, body: spelled.body };
        if self.wanted.form == Form::Own {
            request.carry(&self.envelope.query, &self.envelope.headers);
        }
        // OpenAI's header for the caller's own id; others ignore it. It is what support asks for when figures differ.
        // Source: <https://platform.openai.com/docs/api-reference/debugging-requests>.
        let id = HeaderValue::from_str(&self.id.to_string()).expect("an id is a header value");
        request.headers.insert("x-client-request-id", id);
        let traceparent = self.traceparent();
        if let Some(traceparent) = traceparent.and_then(|text| HeaderValue::from_str(&text).ok()) {
            request.headers.insert("traceparent", traceparent);
        }
        if let Some(key) = key {
            self.adapter.authorize(&mut request, key.reveal(), &self.provider.settings, clock::now())?;
        }
        Ok(request)
    }

    /// The body as the provider gets it, for an ingress that keeps bodies, where it differs from what the caller sent. Forms are
    /// left out: they hold files.
    fn sent_body(&self, sent: &Bytes) -> Option<Box<SentBody>> {
        let wanted = SENT_BYTES.min(self.envelope.keep_sent as usize);
        let is_callers = self.wanted.form == Form::Own || self.envelope.dialect == Dialect::Openai;
        if wanted == 0 || self.envelope.content_type.is_some() || (is_callers && sent == self.body) {
            return None;
        }
        let text = String::from_utf8_lossy(&sent[..sent.len().min(wanted)]).into_owned();
        Some(Box::new(SentBody { text, bytes: sent.len() as u64 }))
    }

    /// What the provider is told of the trace: the attempt is the parent of what it does. The caller's own word where no
    /// trace is made.
    fn traceparent(&self) -> Option<String> {
        let named = self.envelope.trace.as_ref().map(|trace| trace.traceparent(SpanId::of_attempt(self.id)));
        named.or_else(|| self.envelope.traceparent.clone())
    }
}
