//! Anthropic's messages.

pub mod provider;
