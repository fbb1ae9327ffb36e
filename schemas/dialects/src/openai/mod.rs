//! OpenAI's chat completions and the endpoints beside it.

pub mod client;
pub mod provider;
