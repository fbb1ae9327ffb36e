//! Bytes as hexadecimal digits. Knows nothing of what they are.

use std::fmt::Write;

/// Two digits for each byte, in lower case.
pub fn write(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}

/// The bytes that two digits each stand for; `None` when they are no such digits.
pub fn read(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?));
    if rest.is_empty() { bytes.collect() } else { None }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_byte_has_two_digits() {
        assert_eq!(super::write(&[0, 0x0a, 0xff]), "000aff");
        assert_eq!(super::write(&[]), "");
        assert_eq!(super::read("000aFf"), Some(vec![0, 0x0a, 0xff]));
        assert_eq!((super::read("0"), super::read("0g"), super::read("é")), (None, None, None));
    }
}
