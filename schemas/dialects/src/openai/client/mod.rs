//! OpenAI's API as a client speaks it: chat completions and the other endpoints. Only what the pipeline must know is read;
//! the body's bytes travel on untouched. Source: <https://platform.openai.com/docs/api-reference>.

mod chat;
pub(crate) mod edits;
pub mod error;
pub mod lists;
mod request;

pub(crate) use request::read;
