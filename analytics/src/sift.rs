//! Inserts rows, and finds those that ClickHouse refuses, by halving. Knows nothing of events.

use crate::rows::Key;
use crate::store::{Stored, insert};
use crate::trouble::Trouble;
use crate::warehouse::Warehouse;

/// So many refused rows before the first good one mean that the fault is not in the rows.
const HOPELESS: usize = 8;

/// Which exceptions are put down to the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Those by which ClickHouse says so.
    Values,
    /// All.
    Any,
}

impl Verdict {
    fn blames_rows(self, trouble: &Trouble) -> bool {
        match self {
            Self::Values => trouble.is_about_content(),
            Self::Any => matches!(trouble, Trouble::Exception { .. }),
        }
    }
}

/// Inserts what can be inserted; gives what cannot, with the reason.
///
/// # Errors
/// When ClickHouse fails, or seems to refuse everything.
pub(crate) async fn sift<R: Stored>(
    warehouse: &Warehouse,
    rows: &[R],
    verdict: Verdict,
) -> Result<Vec<(Key, Trouble)>, Trouble> {
    let mut refused = Vec::new();
    let mut is_any_good = false;
    let mut parts = vec![rows];
    while let Some(part) = parts.pop() {
        match (insert(warehouse, part).await, part) {
            (Ok(()), part) => is_any_good |= !part.is_empty(),
            (Err(trouble), _) if !verdict.blames_rows(&trouble) => return Err(trouble),
            (Err(trouble), [row]) => {
                refused.push((row.key(), trouble.clone()));
                if !is_any_good && refused.len() >= HOPELESS {
                    return Err(trouble);
                }
            }
            (Err(_), part) => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
        }
    }
    Ok(refused)
}
