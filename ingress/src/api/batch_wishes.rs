//! What a new batch is to be that only Penstock knows, in each of the three APIs: in `penstock` of the body, or in the metadata,
//! which every SDK can send. Knows no API.

use crate::refusal::Refusal;
use crate::run_at;
use penstock_dialects::client::WrongRequest;
use penstock_schemas::UnixMicros;
use penstock_schemas::batch::{Batch, BatchPriority};
use penstock_schemas::native_lane::NativeWish;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// `penstock` of the body.
#[derive(Default, Deserialize)]
pub(super) struct OwnFields {
    native_batch: Option<String>,
    run_at: Option<Value>,
    priority: Option<String>,
}

/// The same, read.
pub(super) struct BatchWishes {
    native: NativeWish,
    /// See [`Batch::run_at`].
    pub(super) run_at: Option<UnixMicros>,
    priority: BatchPriority,
}

impl BatchWishes {
    /// Reads them; what the body says counts.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub(super) fn read(
        own: Option<OwnFields>,
        metadata: &BTreeMap<String, String>,
        now: UnixMicros,
    ) -> Result<Self, Refusal> {
        let own = own.unwrap_or_default();
        let run_at = match own.run_at {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(other) => Some(other.to_string()),
        };
        let word = |own: Option<String>, name: &'static str| own.or_else(|| metadata.get(name).cloned());
        let native = Field { name: "penstock.native_batch", word: word(own.native_batch, "penstock.native_batch") };
        let run_at = Field { name: "penstock.run_at", word: word(run_at, "penstock.run_at") };
        let priority = Field { name: "penstock.priority", word: word(own.priority, "penstock.priority") };
        let one_of = |words: &str| format!("it must be {words}");
        Ok(Self {
            native: native
                .read(|word| NativeWish::parse(word).ok_or_else(|| one_of("`auto`, `always` or `never`")))?
                .unwrap_or_default(),
            run_at: run_at.read(|text| run_at::read(text, now))?,
            priority: priority
                .read(|word| BatchPriority::parse(word).ok_or_else(|| one_of("`low`, `normal` or `high`")))?
                .unwrap_or_default(),
        })
    }

    /// The batch as it is to be: its window begins when it does.
    pub(super) fn put_into(self, batch: Batch) -> Batch {
        let later = self.run_at.map(|at| at.since(batch.created_at)).unwrap_or_default();
        let expires_at = batch.expires_at.after(later);
        Batch { native_wish: self.native, run_at: self.run_at, priority: self.priority, expires_at, ..batch }
    }
}

/// A field that may be there.
struct Field {
    name: &'static str,
    word: Option<String>,
}

impl Field {
    fn read<T>(self, read: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>, Refusal> {
        let wrong = |why| Refusal::Wrong(WrongRequest::WrongField { field: self.name, why });
        self.word.as_deref().map(read).transpose().map_err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);

    fn read(own: Value, metadata: &[(&str, &str)]) -> Result<BatchWishes, String> {
        let metadata = metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        BatchWishes::read(from_value(own).unwrap(), &metadata, NOW).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn wishes_stand_in_the_body_or_in_the_metadata_and_the_body_counts() {
        let own = json!({ "run_at": 1_800_000_060, "priority": "high" });
        let wishes = read(own, &[("penstock.priority", "low"), ("penstock.native_batch", "never")]).unwrap();
        assert_eq!((wishes.priority, wishes.native), (BatchPriority::High, NativeWish::Never));
        assert_eq!(wishes.run_at, Some(UnixMicros(1_800_000_060_000_000)));
        let wishes = read(Value::Null, &[("penstock.run_at", "2027-01-15T08:01:00Z")]).unwrap();
        assert_eq!((wishes.run_at, wishes.priority), (Some(UnixMicros(1_800_000_060_000_000)), BatchPriority::Normal));
        for (own, field) in [
            (json!({ "run_at": true }), "penstock.run_at"),
            (json!({ "run_at": "soon" }), "penstock.run_at"),
            (json!({ "priority": "urgent" }), "penstock.priority"),
            (json!({ "native_batch": "perhaps" }), "penstock.native_batch"),
        ] {
            assert!(read(own.clone(), &[]).is_err_and(|why| why.contains(field)), "{own}");
        }
    }
}
