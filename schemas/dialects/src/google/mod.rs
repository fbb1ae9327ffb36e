//! Google's Gemini API, and Vertex AI, which speaks the same JSON.

pub mod client;
pub mod provider;
