//! OpenAI's responses.

pub mod provider;
