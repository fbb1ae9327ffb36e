//! Mistral as a provider: a bearer token, and batches. Its format is [`penstock_dialects::mistral`].

mod batch;

use super::Adapter;
use penstock_dialects::mistral::Mistral;

pub(super) use batch::MistralBatch;

impl Adapter for Mistral {
    fn listing(&self) -> Option<&'static str> {
        Some("models")
    }
}
