//! OpenAI's chat completions, the dialect that most providers copy; also the provider-agnostic form, so that bytes pass
//! through untouched in both directions. Knows the copies' differences by their fields, never by their names.
//! Source: <https://platform.openai.com/docs/api-reference/chat>.

mod answer;
mod errors;
mod glance;
mod refusal;
mod request;
mod retry_after;
mod stream;
mod usage;
mod whole;

pub(super) use refusal::refuse;
pub(super) use request::spell;
pub use stream::StreamReader;
pub(super) use whole::read_whole;
