//! The words in which a provider's wire format is spoken of: what is asked, what is sent, what is read. Knows no format: each
//! has its own folder and implements [`ProviderFormat`].

use crate::errors::{self, ErrorParts};
use crate::framing::Framing;
use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::header::{ACCEPT, CONTENT_TYPE};
use penstock_schemas::asked_tools::AskedTools;
use penstock_schemas::envelope::{Delivery, Dialect, Operation, Unsupported};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::model::ModelCard;
use penstock_schemas::money::Picodollars;
use penstock_schemas::name::ModelId;
use penstock_schemas::sse;
use penstock_schemas::usage::Usage;
use std::collections::BTreeMap;
use std::fmt::Debug;

mod path;
mod per_model;
mod quirk;
mod tool_rule;

pub use path::RequestPath;
pub(crate) use path::bad_model;
pub use per_model::PerModel;
pub use quirk::Quirk;
pub use tool_rule::{Search, ToolRule};

/// One wire format as a provider speaks it: writes requests, reads answers. Knows nothing of addresses, keys or retries.
pub trait ProviderFormat: Debug + Send + Sync {
    /// The request as the provider wants it.
    ///
    /// # Errors
    /// When the request cannot be read, or holds something that the provider cannot express; the failure names the field.
    fn spell(&self, ask: &FormatRequest<'_>) -> Result<Spelled, Failure>;

    /// Whether the provider fetches images and documents from their addresses itself. Else the worker does, and `spell`
    /// sees data URLs only.
    fn takes_urls(&self) -> bool {
        true
    }

    /// The same for documents alone.
    fn takes_document_urls(&self) -> bool {
        self.takes_urls()
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

    /// Which tools the provider takes; others are spelt so, and given back as the caller knows them.
    fn tools(&self, _settings: &FormatSettings) -> ToolRule {
        ToolRule::FUNCTIONS
    }

    /// Whether its own requests are OpenAI's chats: clients that speak it mix words of other dialects in.
    fn takes_chats(&self) -> bool {
        false
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

    /// What an answer says of itself that [`Self::read_whole`] takes for a failure: the provider may charge for it.
    fn observe_failed(&self, _body: &Bytes) -> Observed {
        Observed::default()
    }

    /// The dialect of its answers to a chat, where some servers that are asked in it answer in another.
    fn answers(&self) -> Option<Dialect> {
        None
    }

    /// How a stream is split into events.
    fn framing(&self) -> Framing {
        Framing::ServerSentEvents
    }

    /// A reader for one stream of status 200.
    fn stream(&self, wanted: Wanted) -> Box<dyn StreamReader>;

    /// The kind of failure that an error of this HTTP status stands for.
    fn kind_of_error(&self, status: u16, parts: &ErrorParts) -> FailureKind {
        errors::kind(status, parts)
    }
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
pub struct FormatRequest<'a> {
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
    pub settings: &'a FormatSettings,
    /// What to do with what the provider cannot express.
    pub unsupported: Unsupported,
}

/// What the operator says of a provider, besides where it is; each dialect has its own use for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FormatSettings {
    /// The version of the provider's API: Azure's `api-version`, Anthropic's `anthropic-version`.
    pub api_version: Option<String>,
    /// Where the provider's machines stand: `us-east-1`.
    pub region: Option<String>,
    /// The provider's own project.
    pub project: Option<String>,
    /// In what it differs from the dialect it copies.
    pub quirks: Vec<Quirk>,
    /// In what some of its models do.
    pub model_quirks: PerModel<Quirk>,
    /// The fields that some of its models refuse: `stop`, `messages.name`. Lists are walked through, and `*` is every field of a
    /// message that OpenAI's have not.
    pub lacks: PerModel<String>,
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
    /// What it costs, as the provider says.
    pub told_cost: Option<Picodollars>,
    /// The model as the provider names it.
    pub model_version: Option<String>,
    /// The provider's id of the answer.
    pub provider_request_id: Option<String>,
    /// Why the model stopped, in the provider's word; of the first choice that says so.
    pub finish_reason: Option<String>,
    /// How the provider runs the model, in its word.
    pub system_fingerprint: Option<String>,
    /// Whether the provider says that it served the answer at the price of its slower tier, which OpenAI calls `flex`.
    pub is_flex: bool,
    /// Whether it says that it served the answer at a dearer service than its usual prices are for; `None`: it does not say.
    pub is_dearer: Option<bool>,
    /// Whether it cites pages of the web.
    pub cites_pages: bool,
    /// The media type of an answer that is none of the provider's own bytes, and not JSON.
    pub media_type: Option<&'static str>,
    /// The tools that the caller is to use, by the names that were sent. Those that the provider used itself are none.
    pub tools: AskedTools,
    /// Whether it came in another dialect than it was asked in: then it is in the agnostic form, whatever was wanted.
    pub is_translated: bool,
}

/// The longest fingerprint that is kept, in bytes; a longer one is no fingerprint. OpenAI's have 13.
const FINGERPRINT_BYTES: usize = 64;

impl Observed {
    /// Notes the tier that OpenAI's dialects say an answer was served at.
    pub(crate) fn note_tier(&mut self, tier: Option<&str>) {
        self.is_flex = tier == Some("flex");
        self.is_dearer = tier.map(|tier| matches!(tier, "priority" | "fast"));
    }

    /// Notes how the provider runs the model, unless it said so before.
    pub(crate) fn note_fingerprint(&mut self, fingerprint: Option<&str>) {
        let is_one =
            |text: &&str| (1..=FINGERPRINT_BYTES).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_graphic());
        if self.system_fingerprint.is_none() {
            self.system_fingerprint = fingerprint.filter(is_one).map(str::to_owned);
        }
    }
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

/// The headers of a JSON request for an answer of this delivery.
pub fn json_headers(delivery: Delivery) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(4);
    let accept = if delivery.is_stream() { "text/event-stream" } else { "application/json" };
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}

/// That a provider cannot express a field, for a request whose caller would rather be refused.
pub fn unsupported(field: impl Into<String>, why: &str) -> Failure {
    let field = field.into();
    let mut failure = Failure::gateway(FailureKind::Unsupported, format!("`{field}` is not supported: {why}"));
    failure.param = Some(field);
    failure
}
