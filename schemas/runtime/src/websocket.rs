//! The two keys of a WebSocket's handshake. Source: <https://www.rfc-editor.org/rfc/rfc6455#section-4>.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use uuid::Uuid;

/// What every server adds to the client's key.
const ADDED: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A client's key: 16 random bytes.
pub fn new_key() -> String {
    BASE64_STANDARD.encode(Uuid::new_v4().as_bytes())
}

/// What a server answers to a client's key.
pub fn accept_key(key: &[u8]) -> String {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key);
    context.update(ADDED);
    BASE64_STANDARD.encode(context.finish())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_answer_to_a_key_is_that_of_the_standards_own_example() {
        assert_eq!(super::accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
