//! One turn of Anthropic's as the messages that it comes to. Knows nothing of the request around it.

use super::blocks::Turn;
use crate::client::WrongRequest;
use crate::json::items;
use penstock_schemas::chat::Message;
use serde_json::value::RawValue;

/// The messages of a list of blocks; `place` is the list's.
///
/// # Errors
/// When a block is wrong, or of a type that this role cannot have.
pub(crate) fn of_blocks(content: &RawValue, role: &str, place: &str) -> Result<Vec<Message>, WrongRequest> {
    let mut turn = Turn::default();
    for (at, block) in items(content).into_iter().enumerate() {
        turn.add(block, &format!("{place}[{at}]"), role)?;
    }
    Ok(turn.finish(role.to_owned()))
}
