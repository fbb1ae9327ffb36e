//! How much of each budget is used, as a metric: of the operator's budgets that have one counter, because who a caller says
//! it is must not become a label. Knows nothing of alerts.

use crate::budgets::Budgets;
use crate::metrics::AnalyticsMetrics;
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::book::{Book, Counter};
use penstock_schemas::budget::Budget;
use penstock_schemas::cycle::zone;
use std::time::Duration;
use tokio::time::sleep;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(5);

/// Budgets that have the metric; the first by their names.
const BUDGETS: usize = 500;

/// Notes it for ever.
pub(crate) async fn run(budgets: Budgets, metrics: AnalyticsMetrics) {
    loop {
        let (directory, now) = (budgets.directory(), clock::now());
        let single = directory.budgets.values().filter(|budget| budget.per.is_empty()).take(BUDGETS);
        let used: Vec<(String, f64)> = single
            .filter_map(|budget| {
                let generation = directory.generations.get(&budget.name).map(String::as_str);
                let counter = Counter::Budget(&budget.name, generation).to_string();
                let book = budgets.book(&key(budget, &counter, now)?).unwrap_or_default();
                Some((budget.name.clone(), share(budget, &book)))
            })
            .collect();
        metrics.budgets_used(used);
        sleep(LOOK).await;
    }
}

/// The key of the book that counts now.
fn key(budget: &Budget, counter: &str, now: UnixMicros) -> Option<String> {
    let zone = zone(budget.zone()).ok()?;
    Some(format!("{counter}.{}", budget.cycle.window(now, &zone).name))
}

#[expect(clippy::cast_precision_loss, reason = "a share to draw")]
fn share(budget: &Budget, book: &Book) -> f64 {
    let (_, limit) = budget.limit();
    if limit == 0 { 1.0 } else { book.settled() as f64 / limit as f64 }
}
