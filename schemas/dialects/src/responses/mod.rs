//! OpenAI's responses.

pub mod client;
pub mod provider;
