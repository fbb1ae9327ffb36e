//! How providers are spoken to: one folder per dialect, chosen here by name. Spells requests and reads answers; has no
//! sockets, clocks or retries, and knows nothing of plans, pools or money.
//!
//! A new dialect is a folder beside `openai`, and its line in [`of`]; a provider that copies a dialect is a row of the
//! catalogue.

use batch_api::{BatchApi, BatchDialect};
use bytes::Bytes;
use framing::Framing;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::{Delivery, Dialect, Operation, Unsupported};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::model::ModelCard;
use penstock_schemas::name::{ModelId, ProviderId};
use penstock_schemas::sse;
use penstock_schemas::usage::Usage;
use std::collections::BTreeMap;
use std::fmt::Debug;

pub mod anthropic;
pub mod azure;
pub mod batch_api;
pub mod bedrock;
mod chat_rules;
mod claude;
mod closed_schema;
pub mod cohere;
mod data_url;
pub mod demo;
pub(crate) mod edit;
mod error_details;
mod errors;
mod fit;
pub mod framing;
pub mod google;
pub mod local;
pub(crate) mod media_kind;
pub mod mistral;
pub mod openai;
mod opening;
mod path;
mod quirk;
pub mod quota;
mod refusal;
pub mod responses;
mod retry_after;
mod settle;
mod strike;
pub mod surrogates;
pub mod telemetry;
mod texts;
mod tool_ids;
pub mod tool_map;
mod tool_schema;

pub use path::RequestPath;
pub use quirk::Quirk;
use texts::Texts;
pub use tool_map::{Search, ToolMap, ToolRule};

/// The adapter for a dialect; `None` when this worker does not speak it yet.
pub fn of(dialect: Dialect) -> Option<&'static dyn Adapter> {
    match dialect {
        Dialect::Openai => Some(&openai::Openai),
        Dialect::Responses => Some(&responses::Responses),
        Dialect::Google => Some(&google::Gemini),
        Dialect::Vertex => Some(&google::Vertex),
        Dialect::Bedrock => Some(&bedrock::Bedrock),
        Dialect::Anthropic => Some(&anthropic::Anthropic),
        Dialect::Mistral => Some(&mistral::Mistral),
        Dialect::Azure => Some(&azure::Azure),
        Dialect::Cohere => Some(&cohere::Cohere),
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

/// The request as the provider wants it, with its tools as it takes them, and what stands in its answer for which tool.
///
/// # Errors
/// As [`Adapter::spell`].
pub fn spell(adapter: &dyn Adapter, ask: &Ask<'_>) -> Result<(Spelled, Option<ToolMap>), Failure> {
    let is_chat = matches!(ask.wanted.operation, Operation::Chat | Operation::CountTokens);
    if !is_chat || ask.wanted.form == Form::Own {
        return Ok((adapter.spell(ask)?, None));
    }
    let settled = settle::settle(ask.body);
    let body = settled.as_ref().unwrap_or(ask.body);
    match tool_map::fit(body, &adapter.tools(ask.settings)) {
        Some((body, tools)) => {
            let mut spelled = adapter.spell(&Ask { body: &body, ..*ask })?;
            spelled.dropped.extend_from_slice(&tools.dropped);
            Ok((spelled, Some(tools)))
        }
        None => Ok((adapter.spell(&Ask { body, ..*ask })?, None)),
    }
}

/// The adapter for a dialect at a provider whose usual one is `usual`: addresses and keys are the provider's.
pub fn at(usual: Dialect, dialect: Dialect) -> Option<&'static dyn Adapter> {
    match (usual, dialect) {
        (Dialect::Azure, Dialect::Responses) => Some(&azure::AzureResponses),
        _ => of(dialect),
    }
}

/// The adapter for completions of a text in front of a provider that only chats; `None`: it has an endpoint for them.
pub fn completing(usual: Dialect, dialect: Dialect) -> Option<&'static dyn Adapter> {
    static RESPONSES: Texts = Texts(&responses::Responses);
    static AZURE_RESPONSES: Texts = Texts(&azure::AzureResponses);
    static GEMINI: Texts = Texts(&google::Gemini);
    static VERTEX: Texts = Texts(&google::Vertex);
    static BEDROCK: Texts = Texts(&bedrock::Bedrock);
    static ANTHROPIC: Texts = Texts(&anthropic::Anthropic);
    static MISTRAL: Texts = Texts(&mistral::Mistral);
    static COHERE: Texts = Texts(&cohere::Cohere);
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

/// One way to speak to a provider.
pub trait Adapter: Debug + Send + Sync {
    /// The request as the provider wants it.
    ///
    /// # Errors
    /// When the request cannot be read, or holds something that the provider cannot express; the failure names the field.
    fn spell(&self, ask: &Ask<'_>) -> Result<Spelled, Failure>;

    /// Puts the key into a request that is otherwise complete; as a bearer token, unless the dialect has another way.
    ///
    /// # Errors
    /// When the key holds characters that no header can hold, or is not of the form that the dialect needs.
    fn authorize(
        &self,
        request: &mut Outgoing,
        key: &str,
        _settings: &Settings,
        _now: UnixMicros,
    ) -> Result<(), Failure> {
        request.secret(AUTHORIZATION, &format!("Bearer {key}"))
    }

    /// Where the provider lists its models, relative to its base URL; `None` when it has no list that costs nothing.
    fn listing(&self) -> Option<&'static str> {
        None
    }

    /// Whether its keys are credentials that are exchanged for tokens first; `authorize` then gets the token.
    fn takes_tokens(&self) -> bool {
        false
    }

    /// Whether the provider fetches images and documents from their addresses itself. Else the worker does, and `spell`
    /// sees data URLs only.
    fn takes_urls(&self) -> bool {
        true
    }

    /// The smallest limit of an answer that the provider takes, in tokens; `spell` raises a smaller one to it. `None`: it
    /// takes any.
    fn least_output(&self) -> Option<u64> {
        None
    }

    /// The most texts that one request for embeddings may hold; longer lists are cut up, and the answers joined. `None`:
    /// there is no limit that we know of. The operator and the catalogue can say otherwise.
    fn most_inputs(&self) -> Option<u32> {
        None
    }

    /// The same for documents alone.
    fn takes_document_urls(&self) -> bool {
        self.takes_urls()
    }

    /// Which tools the provider takes; others are spelt so, and given back as the caller knows them.
    fn tools(&self, _settings: &Settings) -> ToolRule {
        ToolRule::FUNCTIONS
    }

    /// Whether the provider counts a request's tokens itself: [`Operation::CountTokens`]. Else the worker does.
    fn counts_tokens(&self) -> bool {
        false
    }

    /// Reads a complete answer of status 200.
    ///
    /// # Errors
    /// When it holds an error or no answer, or cannot be understood.
    fn read_whole(&self, wanted: Wanted, body: &Bytes) -> Result<Whole, Failure>;

    /// How the events of a stream are told apart.
    fn framing(&self) -> Framing {
        Framing::ServerSentEvents
    }

    /// A reader for one stream of status 200.
    fn stream(&self, wanted: Wanted) -> Box<dyn StreamReader>;

    /// Why the provider refused, from an answer of another status than 200.
    fn refuse(&self, refusal: &ErrorResponse<'_>) -> Failure;
}

/// In which form a request is and its answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The caller's own bytes, in this very dialect: they stay as they are, and so do the provider's.
    Own,
    /// The agnostic form, see [`penstock_schemas::chat`].
    Agnostic,
}

/// What an answer is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What was asked.
    pub operation: Operation,
    /// In which form.
    pub form: Form,
    /// Whole, or as a stream.
    pub delivery: Delivery,
}

/// What is asked of a provider.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// What the answer is to be.
    pub wanted: Wanted,
    /// The request.
    pub body: &'a Bytes,
    /// The media type of a request that is not JSON.
    pub content_type: Option<&'a str>,
    /// The caller's own headers that its dialect passes on, by their names in lower case.
    pub headers: &'a BTreeMap<String, String>,
    /// The model, as the provider spells it.
    pub model: &'a ModelId,
    /// What is known of the model.
    pub card: Option<&'a ModelCard>,
    /// What the operator says of this provider.
    pub settings: &'a Settings,
    /// What to do with what the provider cannot express.
    pub unsupported: Unsupported,
}

/// What the operator says of a provider, besides where it is; each dialect has its own use for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The version of the provider's API: Azure's `api-version`, Anthropic's `anthropic-version`.
    pub api_version: Option<String>,
    /// Where the provider's machines stand: `us-east-1`.
    pub region: Option<String>,
    /// The provider's own project.
    pub project: Option<String>,
    /// In what it differs from the dialect it copies.
    pub quirks: Vec<Quirk>,
}

/// A request as the provider wants it.
#[derive(Clone, Debug)]
pub struct Spelled {
    /// Where to, relative to the provider's base URL.
    pub path: RequestPath,
    /// The headers, save the key's.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The fields that the provider cannot express and that were left out: `messages[0].name`, `seed`.
    pub dropped: Vec<String>,
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

/// A complete answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// In the form that was wanted.
    pub bytes: Bytes,
    /// What it says besides its content.
    pub observed: Observed,
}

/// What an answer says besides its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// What it consumed; `None` when the provider did not say, or said what cannot be read.
    pub usage: Option<Usage>,
    /// Whether the provider's figures contradict each other. Then `usage` holds the totals alone, or the larger reading.
    pub usage_mismatch: bool,
    /// The model as the provider names it.
    pub model_version: Option<String>,
    /// The provider's id of the answer.
    pub provider_request_id: Option<String>,
    /// Why the model stopped, in the provider's word; of the first choice that says so.
    pub finish_reason: Option<String>,
}

/// What to do with a piece of a stream. The bytes are what the client reads, in the form that was wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// No content in it (a role, an empty delta): before the first content it waits for that, after that it goes along.
    Hold(Bytes),
    /// Content: the answer has begun, and can no longer be had from elsewhere.
    Content(Bytes),
    /// Not for the client.
    Hide,
}

/// Reads one stream, event by event.
pub trait StreamReader: Debug + Send {
    /// What to do with the next event.
    ///
    /// # Errors
    /// When the event is an error, or cannot be understood.
    fn read(&mut self, event: &sse::Event) -> Result<Step, Failure>;

    /// Whether the provider's last word came; some never send it.
    fn is_done(&self) -> bool;

    /// The last bytes for the client. Ask once, when the provider's stream has ended.
    ///
    /// # Errors
    /// When it ended before it was complete.
    fn finish(&mut self) -> Result<Bytes, Failure>;

    /// What the stream said so far besides its content, complete or not.
    fn observed(&self) -> &Observed;
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

/// The headers of a JSON request for an answer of this delivery.
pub(crate) fn json_headers(delivery: Delivery) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(4);
    let accept = if delivery.is_stream() { "text/event-stream" } else { "application/json" };
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}

/// That a provider cannot express a field, for a request whose caller would rather be refused.
pub(crate) fn unsupported(field: impl Into<String>, why: &str) -> Failure {
    let field = field.into();
    let mut failure = Failure::gateway(FailureKind::Unsupported, format!("`{field}` is not supported: {why}"));
    failure.param = Some(field);
    failure
}
