//! Anthropic's messages.

pub mod client;
pub mod provider;
