//! OpenAI and its copies as providers: a bearer token, and batches. Their format is [`penstock_dialects::openai`].

mod batch;

use super::Adapter;
use penstock_dialects::openai::provider::Openai;

pub(super) use batch::OpenaiBatch;

impl Adapter for Openai {
    fn listing(&self) -> Option<&'static str> {
        Some("models")
    }
}
