//! Anthropic's messages as a client speaks them. Bytes travel on untouched to a provider of the same dialect; for the others
//! there is the agnostic form, and a writer of answers. Source: <https://platform.claude.com/docs/en/api/messages>.

mod agnostic;
mod blocks;
pub(crate) mod choice;
pub mod error;
mod lanes;
pub(crate) mod message;
mod reading;
mod request;
#[cfg(test)]
mod tests;
mod thoughts;
mod writer;

pub(crate) use agnostic::agnostic;
pub(crate) use request::read;
pub(crate) use writer::Messages;
