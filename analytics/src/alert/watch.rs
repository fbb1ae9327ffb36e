//! Notices what budgets come to: shares of the limit that are spent, budgets that are, and those that soon will be. Deciding
//! is pure; every process of this role does it, and each alert is raised once all the same. Knows nothing of who is told.

use crate::budgets::Budgets;
use crate::spend::{amount, early};
use crate::warehouse::Warehouse;
use penstock_runtime::bus::Bus;
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::alert::{Alert, AlertKind};
use penstock_schemas::book::Book;
use penstock_schemas::budget::Budget;
use penstock_schemas::cycle::zone;
use penstock_schemas::name::AlertId;
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

/// The least time between two looks: books change often.
const PAUSE: Duration = Duration::from_millis(200);

/// All books are looked at anew this often: cycles begin anew without a change.
const ALL: Duration = Duration::from_secs(60);

/// So long after the end of a window, in microseconds, what was told late still counts.
const LATE: u64 = 15 * 60 * 1_000_000;

/// From this share on, in percent, a budget is spent when what is wanted no longer fits, even if all that is in flight came
/// back: a strict one never comes to 100. Below, the request is too large.
const NEARLY: u64 = 80;

/// How often it is looked at where spending leads to.
const SLOPE: Duration = Duration::from_secs(300);

/// Alerts that this process remembers having raised.
const KNOWN: usize = 100_000;

/// Notices for ever.
pub(crate) async fn thresholds(bus: Bus, budgets: Budgets) {
    let mut raised: HashSet<AlertId> = HashSet::new();
    loop {
        let look_at_all = timeout(ALL, budgets.changes()).await.is_err();
        sleep(PAUSE).await;
        let changed = budgets.changed();
        let keys = if look_at_all || changed.all { budgets.keys() } else { changed.books.into_iter().collect() };
        for key in keys {
            // Looked up one by one: a deployment may have a budget for each of a hundred thousand keys.
            let Some(counted) = budgets.counted(key.split('.').next().unwrap_or_default()) else { continue };
            let Some(book) = budgets.book(&key) else { continue };
            for alert in due(&counted.budget, &key, &book, clock::now()) {
                if raised.contains(&alert.id) {
                    continue;
                }
                if raised.len() >= KNOWN {
                    raised.clear();
                }
                match bus.raise(&alert).await {
                    Ok(_) => drop(raised.insert(alert.id)),
                    Err(error) => warn!(%error, "an alert could not be raised; it is tried again"),
                }
            }
        }
    }
}

/// Notices for ever what spending leads to.
pub(crate) async fn slopes(bus: Bus, warehouse: Warehouse, budgets: Budgets) {
    loop {
        sleep(SLOPE).await;
        match early(&warehouse, &budgets.all(), |key| budgets.label(key), clock::now()).await {
            Ok(alerts) => {
                for alert in alerts {
                    if let Err(error) = bus.raise(&alert).await {
                        warn!(%error, "an alert could not be raised; it is tried again");
                    }
                }
            }
            // An outage is reported by the ledger.
            Err(error) => debug!(%error, "it is not known where spending leads to"),
        }
    }
}

/// The alerts that a book gives reason for, in a window that runs or has just ended.
fn due(budget: &Budget, key: &str, book: &Book, now: UnixMicros) -> Vec<Alert> {
    let Some((counter, window)) = key.rsplit_once('.') else { return Vec::new() };
    let Ok(zone) = zone(budget.zone()) else { return Vec::new() };
    let is_window = |at| budget.cycle.window(at, &zone).name == window;
    if !is_window(now) && !is_window(UnixMicros(now.0.saturating_sub(LATE))) {
        return Vec::new();
    }
    let (unit, limit) = budget.limit();
    let settled = book.settled();
    let label = if book.label.is_empty() { counter } else { &book.label };
    let reached = |percent: u64| u128::from(settled) * 100 >= u128::from(limit) * u128::from(percent);
    let is_spent =
        reached(100) || (reached(NEARLY) && book.shares.values().any(|share| share.wanted > limit - settled));
    let alert = |percent: u32| {
        let (spent, limit) = (amount(unit, settled), amount(unit, limit));
        let (kind, what) = if percent == 100 {
            (AlertKind::BudgetExceeded, "is spent".to_owned())
        } else {
            (AlertKind::BudgetThreshold, format!("has reached {percent} %"))
        };
        let message = format!("budget {label} {what} in {window}: {spent} of {}", unit.write(budget.limit().1));
        let alert = Alert::new(kind, counter, &percent.to_string(), window, now).about(label).saying(message);
        let alert = alert.with("budget", &budget.name).with("threshold", percent);
        alert.with("spent", spent).with("limit", limit).with("unit", unit.as_str())
    };
    let thresholds = budget.thresholds().iter().copied();
    thresholds
        .filter(|percent| if *percent == 100 { is_spent } else { reached(u64::from(*percent)) })
        .map(alert)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_schemas::book::Share;
    use penstock_schemas::reservation::LeaseId;

    /// 2026-11-22 in the evening, UTC.
    const NOW: UnixMicros = UnixMicros(1_795_374_000_000_000);

    fn budget(json: &str) -> Budget {
        serde_json::from_str(json).unwrap()
    }

    fn kinds(budget: &Budget, key: &str, book: &Book) -> Vec<String> {
        let short = |alert: Alert| format!("{} {}", alert.kind.as_str(), alert.details["threshold"]);
        due(budget, key, book, NOW).into_iter().map(short).collect()
    }

    #[test]
    fn each_share_that_is_spent_is_an_alert() {
        let tokens = budget(r#"{"name":"a","limit_tokens":1000}"#);
        for (settled, wanted, alerts) in [
            (799, 0, &[][..]),
            (800, 0, &["budget_threshold 80"]),
            (950, 0, &["budget_threshold 80", "budget_threshold 90"]),
            (950, 50, &["budget_threshold 80", "budget_threshold 90"]),
            // The next request does not fit any more.
            (950, 51, &["budget_threshold 80", "budget_threshold 90", "budget_exceeded 100"]),
            // But a large one does not make a budget spent.
            (799, 500, &[]),
            (1000, 0, &["budget_threshold 80", "budget_threshold 90", "budget_exceeded 100"]),
            (5000, 1, &["budget_threshold 80", "budget_threshold 90", "budget_exceeded 100"]),
        ] {
            let share = Share { held: settled, settled: settled / 2, wanted };
            let shares = [(LeaseId(uuid::Uuid::from_u128(1)), share)].into();
            let book = Book { past: settled - settled / 2, shares, ..Book::default() };
            assert_eq!(kinds(&tokens, "a.2026-11", &book), alerts, "{settled} {wanted}");
        }
    }

    #[test]
    fn thresholds_are_the_budgets_own_and_only_windows_that_run_count() {
        let book = Book { past: 600_000_000_000, label: "a[ann]".to_owned(), ..Book::default() };
        let of = |more: &str| budget(&format!(r#"{{"name":"a","limit_usd":"1"{more}}}"#));
        for (more, key, alerts) in [
            ("", "a.x.2026-11", 0),
            (r#","alert_at":[50,60,61]"#, "a.x.2026-11", 2),
            (r#","alert_at":[50]"#, "a.x.2026-10", 0),
            (r#","alert_at":[50],"cycle":"daily""#, "a.x.2026-11-22", 1),
            (r#","alert_at":[50],"cycle":"daily""#, "a.x.2026-11-21", 0),
            // Tokyo is in the next day already.
            (r#","alert_at":[50],"cycle":"daily","time_zone":"Asia/Tokyo""#, "a.x.2026-11-23", 1),
            (r#","alert_at":[50],"cycle":"total""#, "a.x.all", 1),
            (r#","alert_at":[50],"time_zone":"Mars""#, "a.x.2026-11", 0),
        ] {
            assert_eq!(due(&of(more), key, &book, NOW).len(), alerts, "{more} {key}");
        }
        let alert = &due(&of(r#","alert_at":[50]"#), "a.x.2026-11", &book, NOW)[0];
        assert_eq!(alert.message, "budget a[ann] has reached 50 % in 2026-11: 0.6 of 1 USD");
        let unnamed = Book { label: String::new(), ..book };
        assert_eq!(due(&of(r#","alert_at":[50]"#), "a.x.2026-11", &unnamed, NOW)[0].id, alert.id);
    }

    #[test]
    fn a_limit_of_nothing_is_spent() {
        let nothing = budget(r#"{"name":"a","limit_tokens":0,"alert_at":[100]}"#);
        assert_eq!(kinds(&nothing, "a.2026-11", &Book::default()), ["budget_exceeded 100"]);
    }
}
