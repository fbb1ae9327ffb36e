//! Every provider dialect against golden files: requests as they are sent, and replies, streams and errors as providers
//! give them. Beside each file stands what it must come to; `UPDATE_GOLDEN=1` writes that anew, to be read in the diff.
//!
//! A dialect that translates needs no code here, only its folder under `workers/tests/golden`, named like the dialect:
//! `requests/*.json` are agnostic requests, `replies/*.json`, `streams/*.sse` (or `*.eventstream`) and `errors/*.http` are the provider's. With
//! `own_` in front, a file is a request in the dialect itself, or an answer to one.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its golden files has failed")]

mod crossed;
#[path = "../../../schemas/tests/support/mutate.rs"]
mod mutate;
mod openai;
mod requests;
mod robust;
mod streams;
mod support;
mod translated;
