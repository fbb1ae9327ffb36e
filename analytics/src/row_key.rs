//! What names a row of the ledger's tables, and how it writes times. Knows no table.

use penstock_schemas::{UnixMicros, hex};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// What names an event: the id, and which of an attempt's two events it is.
pub(crate) type RowKey = (Uuid, u8);

/// Names a batch by what it holds, for ClickHouse to recognize it when it is inserted again.
pub(crate) fn token(keys: impl IntoIterator<Item = RowKey>) -> String {
    let mut hash = Sha256::new();
    for (id, version) in keys {
        hash.update(id.as_bytes());
        hash.update([version]);
    }
    hex::write(&hash.finalize())
}

/// A time in microseconds.
pub(crate) fn micros(time: UnixMicros) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}
