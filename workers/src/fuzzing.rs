//! Doors to what reads bytes and is not public, for `tests/fuzz`; no other build has them. Knows no fuzzer.

use crate::count::Sent;
use bytes::Bytes;

/// The words of an answer that was sent in these pieces.
pub fn words_sent<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut sent = Sent::default();
    pieces.into_iter().for_each(|piece| sent.push(piece));
    text(sent)
}

/// The words of a whole answer.
pub fn words(answer: &Bytes) -> String {
    text(Sent::whole(answer))
}

fn text(sent: Sent) -> String {
    let mut words = String::new();
    sent.tokens(|text| {
        words.push_str(text);
        0
    });
    words
}

/// A chat request with data in the place of the addresses that it names.
pub fn inlined(request: &str) -> String {
    crate::media::fuzzing::inlined(request)
}

/// Whether a text is credentials of an account, or says which kind it is instead.
pub fn credentials(json: &str) -> Result<(), String> {
    crate::token::check(json)
}
