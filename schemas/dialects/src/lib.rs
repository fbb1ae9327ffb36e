//! The wire formats of language-model APIs, each in one folder: how a provider's request is written and its answer, stream
//! and error are read. Pure: no sockets, clocks or tasks; knows no address, no key and no plan.
//!
//! A format is chosen here by name. What it reads and writes is the agnostic form of [`penstock_schemas::chat`], unless both
//! sides speak the same dialect: then bytes stay as they are.

use bytes::Bytes;
use penstock_schemas::envelope::{Dialect, Operation};
use penstock_schemas::failure::Failure;
use provider::{Ask, Form, ProviderFormat, Spelled};
use tool_map::ToolMap;

pub mod anthropic;
pub mod bedrock;
mod chat_rules;
mod claude;
mod closed_schema;
pub mod cohere;
mod data_url;
pub mod error_details;
pub mod errors;
mod fit;
pub mod framing;
pub mod google;
pub mod json;
pub mod media_kind;
pub mod mistral;
pub mod openai;
mod opening;
pub mod provider;
pub mod responses;
mod settle;
pub mod strike;
pub mod surrogates;
pub mod texts;
mod tool_ids;
pub mod tool_map;
mod tool_schema;

/// The format in which a provider of this dialect speaks. Azure's is OpenAI's, at addresses of its own.
pub fn format_of(dialect: Dialect) -> &'static dyn ProviderFormat {
    match dialect {
        Dialect::Openai | Dialect::Azure => &openai::provider::Openai,
        Dialect::Responses => &responses::provider::Responses,
        Dialect::Google => &google::provider::Gemini,
        Dialect::Vertex => &google::provider::Vertex,
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
pub fn spell(format: &dyn ProviderFormat, ask: &Ask<'_>) -> Result<(Spelled, Option<ToolMap>), Failure> {
    let is_chat = matches!(ask.wanted.operation, Operation::Chat | Operation::CountTokens);
    if !is_chat || ask.wanted.form == Form::Own {
        return Ok((format.spell(ask)?, None));
    }
    let settled: Option<Bytes> = settle::settle(ask.body);
    let body = settled.as_ref().unwrap_or(ask.body);
    match tool_map::fit(body, &format.tools(ask.settings)) {
        Some((body, tools)) => {
            let mut spelled = format.spell(&Ask { body: &body, ..*ask })?;
            spelled.dropped.extend_from_slice(&tools.dropped);
            Ok((spelled, Some(tools)))
        }
        None => Ok((format.spell(&Ask { body, ..*ask })?, None)),
    }
}
