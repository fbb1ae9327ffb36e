//! OpenAI's chat completions and the endpoints beside it, and its sessions.

pub mod client;
pub mod provider;
pub mod realtime;
