//! The wire formats of language-model APIs, each in one folder, in both directions: `client` reads a caller's request and
//! writes its answer, stream and error; `provider` writes a request and reads its answer, stream and error. Pure: no sockets,
//! clocks or tasks; knows no address, no key and no plan.
//!
//! A format is chosen here by name. What it reads and writes is the agnostic form of [`penstock_schemas::chat`], unless both
//! sides speak the same dialect: then bytes stay as they are.

use crate::json::Fields;
use bytes::Bytes;
use client::{ClientRequest, Endpoint, Now, Writer, WrongRequest};
use memchr::memmem;
use penstock_schemas::chat::{ChatRequest, SEAL};
use penstock_schemas::envelope::{Dialect, Operation};
use penstock_schemas::failure::Failure;
use penstock_schemas::name::{self, BadName, RequestId};
use provider::{Form, FormatRequest, ProviderFormat, Quirk, Spelled};
use tool_map::ToolMap;

pub mod account;
pub mod answers;
pub mod anthropic;
pub mod bedrock;
mod braces;
mod call_arguments;
mod chat_input;
mod chat_rules;
mod claude;
pub mod client;
mod closed_schema;
pub mod cohere;
pub mod data_url;
mod effort;
pub mod error_details;
pub mod errors;
mod extra_body;
mod fit;
pub mod framing;
mod gathered;
pub mod google;
pub mod json;
pub mod media_kind;
pub mod mends;
mod message_marks;
pub mod mistral;
mod most;
pub mod ollama;
pub mod openai;
mod opening;
pub mod overflow;
pub mod provider;
#[cfg(test)]
mod recorded;
pub mod responses;
#[cfg(test)]
mod robust;
mod sampling;
mod settle;
mod stale_thoughts;
mod strict_schema;
pub mod strike;
mod surrogates;
pub mod texts;
mod thought_order;
mod tool_ids;
pub mod tool_map;
mod tool_pairs;
mod tool_results;
mod tool_schema;
mod unpaired;
pub mod vertex;

/// The format in which a provider of this dialect speaks. Azure's is OpenAI's, at addresses of its own.
pub fn format_of(dialect: Dialect) -> &'static dyn ProviderFormat {
    match dialect {
        Dialect::Openai | Dialect::Azure => &openai::provider::Openai,
        Dialect::Responses => &responses::provider::Responses,
        Dialect::Google => &google::provider::Service::Gemini,
        Dialect::Vertex => &google::provider::Service::Vertex,
        Dialect::Bedrock => &bedrock::Bedrock,
        Dialect::Anthropic => &anthropic::provider::Anthropic,
        Dialect::Mistral => &mistral::Mistral,
        Dialect::Cohere => &cohere::Cohere,
    }
}

/// The request as the provider wants it, with its tools as it takes them, and what stands in its answer for which tool.
///
/// # Errors
/// As [`ProviderFormat::spell`].
pub fn spell(format: &dyn ProviderFormat, ask: &FormatRequest<'_>) -> Result<(Spelled, Option<ToolMap>), Failure> {
    let is_chat = matches!(ask.wanted.operation, Operation::Chat | Operation::CountTokens);
    if !is_chat || ask.wanted.form == Form::Own {
        let mixes = ask.wanted.operation == Operation::Chat && format.takes_chats();
        let settled = mixes.then(|| settle::settle_calls(ask.body)).flatten();
        let body = settled.as_ref().unwrap_or(ask.body);
        // OpenAI itself knows its older words for tools; copies pass over them.
        let knows_functions = !mixes || ask.settings.has(Quirk::CustomTools);
        let functions = (!knows_functions).then(|| settle::settle_functions(body)).flatten();
        let body = functions.as_ref().map_or(body, |settled| &settled.body);
        let tools = functions.as_ref().filter(|settled| settled.is_old).map(|_| ToolMap::of_functions());
        return Ok((format.spell(&FormatRequest { body, ..*ask })?, tools));
    }
    let settled = settle::settle(ask.body);
    let body = settled.as_ref().map_or(ask.body, |settled| &settled.body);
    let (mut spelled, mut tools) = match tool_map::fit(body, &format.tools(ask.settings)) {
        Some((body, tools)) => {
            let mut spelled = format.spell(&FormatRequest { body: &body, ..*ask })?;
            spelled.dropped.extend_from_slice(&tools.dropped);
            (spelled, Some(tools))
        }
        None => (format.spell(&FormatRequest { body, ..*ask })?, None),
    };
    if settled.is_some_and(|settled| settled.is_old) {
        // Whether a provider was told so or not: there is a place for one call.
        spelled.dropped.retain(|field| field != "parallel_tool_calls");
        tools.get_or_insert_default().answer_with_functions();
    }
    Ok((spelled, tools))
}

impl Endpoint {
    /// Reads what the pipeline must know of a request.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(self, body: Bytes, content_type: Option<String>) -> Result<ClientRequest, WrongRequest> {
        let body = match self.translate {
            None => body,
            Some(translate) => translate(&body)?,
        };
        let (body, content_type) = match content_type {
            None if self.takes_form() && self.operation == Operation::ImageEdits => {
                openai::client::edits::form_of(&body).map(|(form, kind)| (form, Some(kind)))?
            }
            None => (extra_body::lifted(body), None),
            Some(_) => (body, content_type),
        };
        let asked = match self.dialect {
            Dialect::Openai if self.operation == Operation::Chat => {
                openai::client::read(self, chat_input::as_chat(body)?, content_type)
            }
            Dialect::Openai => openai::client::read(self, body, content_type),
            Dialect::Anthropic => anthropic::client::read(self.operation, body),
            Dialect::Google => google::client::read(self, body),
            Dialect::Responses => responses::client::read(self.operation, self.purpose, body),
            other => unreachable!("no path is of the dialect {other:?}"),
        }?;
        let wrong = |why: BadName| WrongRequest::WrongField { field: "model", why: why.to_string() };
        name::check_model(&asked.model).map_err(wrong)?;
        Ok(asked)
    }
}

impl ClientRequest {
    /// Puts another body in the place of the caller's: the same request with what it refers to.
    ///
    /// # Errors
    /// When that cannot be measured.
    pub fn spell_out(&mut self, body: Bytes) -> Result<(), WrongRequest> {
        self.extent = client::fields::measure(self.dialect, self.operation, &body)?;
        self.body = body;
        Ok(())
    }

    /// The request in its agnostic form, for a provider that does not speak the caller's dialect.
    ///
    /// # Errors
    /// When it holds what no other dialect can say.
    pub fn agnostic(&self) -> Result<Bytes, WrongRequest> {
        let agnostic = match self.dialect {
            Dialect::Openai => return Ok(self.body.clone()),
            Dialect::Anthropic => anthropic::client::agnostic(&self.body),
            Dialect::Google => google::client::agnostic(self),
            Dialect::Responses => responses::client::agnostic(&self.body),
            other => unreachable!("no path is of the dialect {other:?}"),
        }?;
        if self.operation == Operation::Chat {
            settled(&agnostic)?;
        }
        Ok(agnostic)
    }

    /// Whether it is a chat whose completion OpenAI would store: `store` is true.
    pub fn is_stored_chat(&self) -> bool {
        if self.dialect != Dialect::Openai || self.operation != Operation::Chat {
            return false;
        }
        // Most do not name it, and some are large.
        memmem::find(&self.body, b"\"store\"").is_some()
            && std::str::from_utf8(&self.body)
                .ok()
                .and_then(|body| Fields::read(body).ok())
                .is_some_and(|fields| fields.is_true("store"))
    }

    /// Whether the request holds what another provider has sealed: the provider of this dialect would refuse it.
    pub fn holds_seal(&self) -> bool {
        match self.dialect {
            Dialect::Google => google::client::holds_seal(&self.body),
            _ => memmem::find(&self.body, SEAL.as_bytes()).is_some(),
        }
    }

    /// A writer that turns an agnostic answer into the caller's dialect; `None` when that is the agnostic form itself.
    pub fn writer(&self, id: RequestId, now: Now) -> Option<Box<dyn Writer>> {
        match self.dialect {
            Dialect::Openai => None,
            // The agnostic count of tokens is Anthropic's.
            Dialect::Anthropic if self.operation == Operation::CountTokens => None,
            Dialect::Anthropic => Some(Box::new(anthropic::client::Messages::new(id, self.model.clone()))),
            Dialect::Google => Some(google::client::writer(self, id)),
            Dialect::Responses => Some(responses::client::writer(self, id, now)),
            other => unreachable!("no path is of the dialect {other:?}"),
        }
    }
}

/// Fields that the caller's dialect does not know keep their names, and these may be names of the agnostic form's own: then
/// they must be as it has them, and stand there once.
fn settled(agnostic: &[u8]) -> Result<(), WrongRequest> {
    serde_json::from_slice::<ChatRequest>(agnostic).map(drop).map_err(|error| {
        let why = error.to_string();
        let why = why.split(" at line ").next().unwrap_or_default();
        client::fields::wrong(
            "body",
            format!("a field of it that this dialect does not have cannot be passed on: {why}"),
        )
    })
}
