//! Amazon Bedrock's Converse and ConverseStream: one shape for the models of every maker it serves. Streams
//! come as Amazon's binary messages, read by Amazon's own crate. Knows nothing of signatures.
//! Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>.

mod answer;
mod content;
pub mod errors;
mod family;
mod format;
mod messages;
mod names;
mod reasoning;
mod request;
mod stream;
mod tools;
mod usage;
mod wire;

use crate::framing::Framing;
use crate::provider::{
    FormatRequest, FormatSettings, Observed, ProviderFormat, Spelled, StreamReader, ToolRule, Wanted, Whole,
};
use bytes::Bytes;
use penstock_schemas::failure::{Failure, FailureKind};

/// Amazon Bedrock.
#[derive(Debug)]
pub struct Bedrock;

impl ProviderFormat for Bedrock {
    fn spell(&self, ask: &FormatRequest<'_>) -> Result<Spelled, Failure> {
        request::spell(ask)
    }

    fn takes_urls(&self) -> bool {
        false
    }

    /// Nothing in a `ToolConfiguration` asks for one call at a time.
    /// Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolConfiguration.html>.
    fn tools(&self, _settings: &FormatSettings) -> ToolRule {
        ToolRule { serial: false, ..ToolRule::FUNCTIONS }
    }

    fn read_whole(&self, wanted: Wanted, body: &Bytes) -> Result<Whole, Failure> {
        answer::read_whole(wanted, body)
    }

    fn observe_failed(&self, body: &Bytes) -> Observed {
        answer::observe(body)
    }

    fn framing(&self) -> Framing {
        Framing::AmazonEventStream
    }

    fn stream(&self, wanted: Wanted) -> Box<dyn StreamReader> {
        Box::new(stream::Reader::new(wanted))
    }
}

/// That an answer cannot be understood.
fn broken(why: &str) -> Failure {
    Failure::provider(FailureKind::Broken, why)
}
