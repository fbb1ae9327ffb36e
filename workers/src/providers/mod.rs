//! How providers are spoken to: a folder for each that needs more than its wire format, which is in `penstock_dialects`.
//! Chosen here by dialect. Knows addresses, keys, quotas and batch APIs; has no sockets, clocks or retries, and knows nothing
//! of plans, pools or money.
//!
//! A provider that copies a dialect is a row of the catalogue.

use batch_api::{BatchApi, BatchDialect};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use penstock_dialects::anthropic::provider::Anthropic;
use penstock_dialects::bedrock::Bedrock;
use penstock_dialects::cohere::Cohere;
use penstock_dialects::google::provider::Service;
use penstock_dialects::mistral::Mistral;
use penstock_dialects::openai::provider::Openai;
use penstock_dialects::provider::{FormatSettings, ProviderFormat};
use penstock_dialects::responses::provider::Responses;
use penstock_dialects::texts::Texts;
use penstock_dialects::vertex::OtherMaker;
use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::{Dialect, Operation};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::name::ProviderId;
use std::collections::BTreeMap;

mod anthropic;
pub mod azure;
pub mod batch_api;
mod bedrock;
pub mod demo;
mod google;
pub mod local;
mod mistral;
mod openai;
pub mod quota;
mod refusal;
mod retry_after;
pub mod telemetry;

/// The adapter for a dialect; `None` when this worker does not speak it yet.
pub fn of(dialect: Dialect) -> Option<&'static dyn Adapter> {
    match dialect {
        Dialect::Openai => Some(&Openai),
        Dialect::Responses => Some(&Responses),
        Dialect::Google => Some(&Service::Gemini),
        Dialect::Vertex => Some(&Service::Vertex),
        Dialect::Bedrock => Some(&Bedrock),
        Dialect::Anthropic => Some(&Anthropic),
        Dialect::Mistral => Some(&Mistral),
        Dialect::Azure => Some(&azure::Azure),
        Dialect::Cohere => Some(&Cohere),
    }
}

/// How a provider's own batch API is spoken to.
pub fn batch_of(dialect: BatchDialect) -> &'static dyn BatchApi {
    match dialect {
        BatchDialect::Openai => &openai::OpenaiBatch,
        BatchDialect::Anthropic => &anthropic::AnthropicBatch,
        BatchDialect::Google => &google::GeminiBatch,
        BatchDialect::Mistral => &mistral::MistralBatch,
    }
}

/// The adapter for a dialect at a provider whose usual one is `usual`: addresses and keys are the provider's.
pub fn at(usual: Dialect, dialect: Dialect) -> Option<&'static dyn Adapter> {
    match (usual, dialect) {
        (Dialect::Azure, Dialect::Responses) => Some(&azure::AzureResponses),
        _ => of(dialect),
    }
}

/// The adapter for a model of another maker's, which a provider of this dialect serves in that one's words; `None`: it is none.
pub fn of_other_maker(usual: Dialect, model: &str, operation: Operation) -> Option<&'static dyn Adapter> {
    static CLAUDE: Texts<dyn Adapter> = Texts(&OtherMaker::Claude);
    static MISTRAL: Texts<dyn Adapter> = Texts(&OtherMaker::Mistral);
    static OPEN: Texts<dyn Adapter> = Texts(&OtherMaker::Open);
    Some(match (OtherMaker::of(usual, model)?, operation) {
        (OtherMaker::Claude, Operation::Completions) => &CLAUDE,
        (OtherMaker::Claude, _) => &OtherMaker::Claude,
        (OtherMaker::Mistral, Operation::Completions) => &MISTRAL,
        (OtherMaker::Mistral, _) => &OtherMaker::Mistral,
        (OtherMaker::Open, Operation::Completions) => &OPEN,
        (OtherMaker::Open, _) => &OtherMaker::Open,
    })
}

/// The adapter for completions of a text in front of a provider that only chats; `None`: it has an endpoint for them.
pub fn completing(usual: Dialect, dialect: Dialect) -> Option<&'static dyn Adapter> {
    static RESPONSES: Texts<dyn Adapter> = Texts(&Responses);
    static AZURE_RESPONSES: Texts<dyn Adapter> = Texts(&azure::AzureResponses);
    static GEMINI: Texts<dyn Adapter> = Texts(&Service::Gemini);
    static VERTEX: Texts<dyn Adapter> = Texts(&Service::Vertex);
    static BEDROCK: Texts<dyn Adapter> = Texts(&Bedrock);
    static ANTHROPIC: Texts<dyn Adapter> = Texts(&Anthropic);
    static MISTRAL: Texts<dyn Adapter> = Texts(&Mistral);
    static COHERE: Texts<dyn Adapter> = Texts(&Cohere);
    match (usual, dialect) {
        (Dialect::Azure, Dialect::Responses) => Some(&AZURE_RESPONSES),
        (_, Dialect::Openai | Dialect::Azure) => None,
        (_, Dialect::Responses) => Some(&RESPONSES),
        (_, Dialect::Google) => Some(&GEMINI),
        (_, Dialect::Vertex) => Some(&VERTEX),
        (_, Dialect::Bedrock) => Some(&BEDROCK),
        (_, Dialect::Anthropic) => Some(&ANTHROPIC),
        (_, Dialect::Mistral) => Some(&MISTRAL),
        (_, Dialect::Cohere) => Some(&COHERE),
    }
}

/// One way to speak to a provider: its wire format, and what of it is not the format.
pub trait Adapter: ProviderFormat {
    /// Puts the key into a request that is otherwise complete; as a bearer token, unless the dialect has another way.
    ///
    /// # Errors
    /// When the key holds characters that no header can hold, or is not of the form that the dialect needs.
    fn authorize(
        &self,
        request: &mut Outgoing,
        key: &str,
        _settings: &FormatSettings,
        _now: UnixMicros,
    ) -> Result<(), Failure> {
        request.bearer(key)
    }

    /// Where the provider lists its models, relative to its base URL; `None` when it has no list that costs nothing.
    fn listing(&self) -> Option<&'static str> {
        None
    }

    /// Whether its keys are credentials that are exchanged for tokens first; `authorize` then gets the token.
    fn takes_tokens(&self) -> bool {
        false
    }

    /// Why the provider refused, from an answer of another status than 200.
    fn refuse(&self, refusal: &ErrorResponse<'_>) -> Failure {
        refusal::refuse_by(refusal, |status, parts| self.kind_of_error(status, parts))
    }
}

/// A bearer token, and nothing else that is not the format.
impl Adapter for Responses {}

/// A bearer token, and nothing else that is not the format.
impl Adapter for Cohere {}

/// Completions of a text are asked for where chats are.
impl Adapter for Texts<dyn Adapter> {
    fn authorize(
        &self,
        request: &mut Outgoing,
        key: &str,
        settings: &FormatSettings,
        now: UnixMicros,
    ) -> Result<(), Failure> {
        self.0.authorize(request, key, settings, now)
    }

    fn listing(&self) -> Option<&'static str> {
        self.0.listing()
    }

    fn takes_tokens(&self) -> bool {
        self.0.takes_tokens()
    }

    fn refuse(&self, refusal: &ErrorResponse<'_>) -> Failure {
        self.0.refuse(refusal)
    }
}

/// A request on its way out.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The whole address.
    pub url: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// An answer that is not a success, and what is needed to understand it.
#[derive(Clone, Copy, Debug)]
pub struct ErrorResponse<'a> {
    /// Who refused.
    pub provider: &'a ProviderId,
    /// The key that was used: it is struck out of what the provider says.
    pub key: Option<&'a str>,
    /// The HTTP status.
    pub status: u16,
    /// The answer's headers.
    pub headers: &'a HeaderMap,
    /// The answer's body, or the beginning of it.
    pub body: &'a [u8],
    /// Now: a `Retry-After` may be a date.
    pub now: UnixMicros,
}

impl Outgoing {
    /// Adds a header that is never logged.
    ///
    /// # Errors
    /// When `value` holds characters that no header can hold.
    pub fn secret(&mut self, name: HeaderName, value: &str) -> Result<(), Failure> {
        let mut value = HeaderValue::from_str(value).map_err(|_| {
            Failure::gateway(FailureKind::ProviderAuth, "the provider's key holds characters that no header can hold")
        })?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(())
    }

    /// Adds the usual credential: a bearer's token.
    ///
    /// # Errors
    /// When it holds characters that no header can hold.
    pub fn bearer(&mut self, token: &str) -> Result<(), Failure> {
        self.secret(AUTHORIZATION, &format!("Bearer {token}"))
    }

    /// Adds what the caller has said beside its request to a provider of its own dialect; the ingress has chosen and checked
    /// it.
    pub fn carry(&mut self, query: &BTreeMap<String, String>, headers: &BTreeMap<String, String>) {
        if !query.is_empty() {
            self.url.push(if self.url.contains('?') { '&' } else { '?' });
            self.url.push_str(&form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish());
        }
        for (name, value) in headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
                self.headers.insert(name, value);
            }
        }
    }
}
