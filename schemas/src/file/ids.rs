//! The ids of files, uploads and their parts: a word and the digits of a UUID. Knows nothing of what they stand for.

use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident, $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub Uuid);

        impl $name {
            /// The id that `text` spells; `None` when it spells none of ours.
            pub fn parse(text: &str) -> Option<Self> {
                let hex = text.strip_prefix($prefix)?;
                let is_hex = hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                Uuid::parse_str(hex).ok().filter(|_| is_hex).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0.simple())
            }
        }

        impl TryFrom<String> for $name {
            type Error = &'static str;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(&text).ok_or(concat!("is no id that begins with ", $prefix))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    )*};
}

ids! {
    /// A file: `file-` and a UUIDv7, so that the ids of a project are in the order in which its files were made.
    FileId, "file-";
    /// An upload, which becomes a file when its parts are there.
    UploadId, "upload_";
    /// A part of an upload.
    PartId, "part_";
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::from_str;

    #[test]
    fn ids_are_read_as_they_are_written_and_nothing_else_is_one() {
        let id = FileId(Uuid::from_u128(0xabc));
        assert_eq!(id.to_string(), "file-00000000000000000000000000000abc");
        assert_eq!(FileId::parse(&id.to_string()), Some(id));
        let upper = id.to_string().replace("abc", "ABC");
        for wrong in ["", "file-", "file-abc123", "upload_00000000000000000000000000000abc", &upper, "file-a.b.>"] {
            assert_eq!(FileId::parse(wrong), None, "{wrong}");
        }
        assert!(UploadId::parse("upload_00000000000000000000000000000abc").is_some());
        assert!(from_str::<PartId>("\"part_00000000000000000000000000000abc\"").is_ok());
    }
}
