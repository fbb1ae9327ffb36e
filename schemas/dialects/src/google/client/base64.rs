//! Base64 in either of its alphabets, padded or not: Google takes both, and its clients send both.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// In the usual alphabet, padded.
pub(super) fn encode(bytes: &[u8]) -> String {
    LENIENT.encode(bytes)
}

/// The bytes; `None` when it is no base64.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    LENIENT.decode(usual(text)).ok()
}

/// The same bytes in the usual alphabet, padded: what every other provider wants.
pub(super) fn usual(text: &str) -> String {
    let mut out = text.replace('-', "+").replace('_', "/");
    while !out.len().is_multiple_of(4) {
        out.push('=');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_alphabets_are_read_and_one_is_written() {
        for (bytes, text, safe) in
            [(&b""[..], "", ""), (b"a", "YQ==", "YQ"), (b"\xfb\xff\xfe", "+//+", "-__-"), (b"\xfb\xff", "+/8=", "-_8=")]
        {
            assert_eq!(encode(bytes), text);
            assert_eq!(decode(text).unwrap(), bytes);
            assert_eq!(decode(safe).unwrap(), bytes);
            assert_eq!(usual(safe), text);
        }
        assert!(decode("Y").is_none() && decode("Y Q=").is_none());
    }
}
