//! Bytes as hexadecimal digits. Knows nothing of what they are.

use std::fmt::Write;

/// Two digits for each byte, in lower case.
pub fn write(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_byte_has_two_digits() {
        assert_eq!(super::write(&[0, 0x0a, 0xff]), "000aff");
        assert_eq!(super::write(&[]), "");
    }
}
