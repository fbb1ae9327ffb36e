//! The messages of a session as bytes, which travel in pieces of any length: each is its length (4 bytes, big endian) and its
//! text. Knows nothing of what they say.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The longest message of a session, in either direction, in bytes.
pub const MESSAGE_BYTES: usize = 2 * 1024 * 1024;

/// The bytes of one message.
pub fn framed(message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(4 + message.len());
    out.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    out.put_slice(message);
    out.freeze()
}

/// Puts messages together again.
#[derive(Debug, Default)]
pub struct MessageJoiner(BytesMut);

/// That a message is longer than [`MESSAGE_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message is longer than {MESSAGE_BYTES} bytes")]
pub struct MessageTooLong;

impl MessageJoiner {
    /// Adds what has come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next message that is whole.
    ///
    /// # Errors
    /// When it is too long: before it is held.
    pub fn next_message(&mut self) -> Result<Option<Bytes>, MessageTooLong> {
        let Some(&length) = self.0.first_chunk() else { return Ok(None) };
        let length = u32::from_be_bytes(length) as usize;
        if length > MESSAGE_BYTES {
            return Err(MessageTooLong);
        }
        if self.0.len() < 4 + length {
            return Ok(None);
        }
        self.0.advance(4);
        Ok(Some(self.0.split_to(length).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_together_from_pieces_of_any_length() {
        let whole = [framed(b"{}"), framed(b""), framed("{\"a\":\"\u{e4}\"}".as_bytes())].concat();
        for size in 1..=whole.len() {
            let mut joiner = MessageJoiner::default();
            let mut found = Vec::new();
            for piece in whole.chunks(size) {
                joiner.push(piece);
                while let Some(message) = joiner.next_message().unwrap() {
                    found.push(message);
                }
            }
            assert_eq!(found, [&b"{}"[..], b"", "{\"a\":\"\u{e4}\"}".as_bytes()], "{size}");
        }
        let mut joiner = MessageJoiner::default();
        joiner.push(&u32::try_from(MESSAGE_BYTES + 1).unwrap().to_be_bytes());
        assert_eq!(joiner.next_message(), Err(MessageTooLong));
    }
}
