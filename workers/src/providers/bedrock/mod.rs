//! Amazon Bedrock's Converse and ConverseStream: one shape for the models of every maker it serves. Requests are signed, and
//! streams come as Amazon's binary messages; both are done by Amazon's own crates.
//! Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>.

mod answer;
mod content;
mod errors;
mod family;
mod format;
mod messages;
mod names;
mod reasoning;
mod request;
mod sign;
mod stream;
mod tools;
mod usage;
mod wire;

use super::framing::Framing;
use super::{Adapter, Ask, ErrorResponse, Outgoing, Settings, Spelled, StreamReader, Wanted, Whole};
use bytes::Bytes;
use penstock_schemas::UnixMicros;
use penstock_schemas::failure::{Failure, FailureKind};

/// Amazon Bedrock.
#[derive(Debug)]
pub struct Bedrock;

impl Adapter for Bedrock {
    fn spell(&self, ask: &Ask<'_>) -> Result<Spelled, Failure> {
        request::spell(ask)
    }

    fn authorize(
        &self,
        request: &mut Outgoing,
        key: &str,
        settings: &Settings,
        now: UnixMicros,
    ) -> Result<(), Failure> {
        sign::authorize(request, key, settings.region.as_deref(), now)
    }

    fn takes_urls(&self) -> bool {
        false
    }

    fn read_whole(&self, wanted: Wanted, body: &Bytes) -> Result<Whole, Failure> {
        answer::read_whole(wanted, body)
    }

    fn framing(&self) -> Framing {
        Framing::AmazonEventStream
    }

    fn stream(&self, wanted: Wanted) -> Box<dyn StreamReader> {
        Box::new(stream::Reader::new(wanted))
    }

    fn refuse(&self, refusal: &ErrorResponse<'_>) -> Failure {
        errors::refuse(refusal)
    }
}

/// That an answer cannot be understood.
fn broken(why: &str) -> Failure {
    Failure::provider(FailureKind::Broken, why)
}
