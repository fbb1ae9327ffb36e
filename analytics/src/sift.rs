//! Inserts rows, and finds those that ClickHouse refuses, by halving. Knows nothing of events.

use crate::row_key::RowKey;
use crate::store::{Stored, insert, insert_own};
use crate::trouble::Trouble;
use crate::warehouse::Warehouse;

/// So many refused rows before the first good one may mean that the fault is in the table: a row that it took before must
/// pass then, or nothing is put down to the rows.
const DOUBTFUL: usize = 8;

/// Which exceptions are put down to the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Those by which ClickHouse says so.
    Values,
    /// All that are not about ClickHouse's own state.
    Any,
}

impl Verdict {
    fn blames_rows(self, trouble: &Trouble) -> bool {
        match self {
            Self::Values => trouble.is_about_content(),
            Self::Any => !trouble.is_about_state(),
        }
    }
}

/// Inserts what can be inserted; gives what cannot, with the reason. `known` is a row that the table took before, and
/// then one of these.
///
/// # Errors
/// When ClickHouse fails, or seems to refuse everything.
pub(crate) async fn sift<R: Stored + Clone>(
    warehouse: &Warehouse,
    rows: &[R],
    verdict: Verdict,
    known: &mut Option<R>,
) -> Result<Vec<(RowKey, Trouble)>, Trouble> {
    let mut refused: Vec<(RowKey, Trouble)> = Vec::new();
    let mut is_any_good = rows.is_empty();
    let mut parts = vec![rows];
    while let Some(part) = parts.pop() {
        let Err(trouble) = insert(warehouse, part).await else {
            if let Some(last) = part.last() {
                is_any_good = true;
                *known = Some(last.clone());
            }
            continue;
        };
        let is_to_be_halved = part.len() > 1 && (trouble.is_about_size() || verdict.blames_rows(&trouble));
        match part {
            part if is_to_be_halved => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
            [row] if verdict.blames_rows(&trouble) => {
                refused.push((row.key(), trouble.clone()));
                let is_doubtful = !is_any_good && refused.len() == DOUBTFUL;
                if is_doubtful && !serves(warehouse, known.as_ref(), verdict).await {
                    return Err(trouble);
                }
            }
            _ => return Err(trouble),
        }
    }
    Ok(refused)
}

/// Whether the table takes a row that it has taken before. Rows collapse by their keys: inserting one again changes nothing.
/// When none is known since the start, it is asked for one of its own, once the trouble has lasted; an empty table says
/// nothing against the rows that it took.
async fn serves<R: Stored + Clone>(warehouse: &Warehouse, known: Option<&R>, verdict: Verdict) -> bool {
    match known {
        Some(row) => insert(warehouse, std::slice::from_ref(row)).await.is_ok(),
        None if verdict == Verdict::Any => insert_own(warehouse, R::TABLE).await.is_ok(),
        None => false,
    }
}
