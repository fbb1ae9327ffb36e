//! Bytes as hexadecimal digits. Knows nothing of what they are.

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

/// Two digits for each byte, in lower case.
pub fn write(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// The bytes that two digits each stand for; `None` when they are no such digits.
pub fn read(text: &str) -> Option<Vec<u8>> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()
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
