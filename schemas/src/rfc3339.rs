//! Times as people write them, `2027-01-01T00:00:00Z`, where a type of the admin API holds one that may be absent.

use crate::UnixMicros;
use jiff::Timestamp;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

/// The text that stands for a time.
pub fn write(time: UnixMicros) -> String {
    let micros = i64::try_from(time.0).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX).to_string()
}

/// The time that a text stands for; everything before 1970 is 1970.
///
/// # Errors
/// When it is not one.
pub fn read(text: &str) -> Result<UnixMicros, String> {
    let moment: Result<Timestamp, _> = text.parse();
    let moment = moment.map_err(|_| format!("`{text}` is no time: write it as 2027-01-01T00:00:00Z"))?;
    Ok(UnixMicros(u64::try_from(moment.as_microsecond()).unwrap_or_default()))
}

pub(crate) fn serialize<S: Serializer>(time: &Option<UnixMicros>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.serialize_str(&write(*time)),
        None => serializer.serialize_none(),
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<UnixMicros>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    text.map(|text| read(&text).map_err(D::Error::custom)).transpose()
}

pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "null"], "format": "date-time" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_it_was_read() {
        assert_eq!(read("2027-01-01T00:00:00Z").map(write).as_deref(), Ok("2027-01-01T00:00:00Z"));
        assert_eq!(read("2027-01-01T02:00:00+02:00").map(write).as_deref(), Ok("2027-01-01T00:00:00Z"));
        assert_eq!(read("0779-10-25T00:59:48.5-17:37"), Ok(UnixMicros(0)));
        for bad in ["", "2027-01-01", "soon"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
