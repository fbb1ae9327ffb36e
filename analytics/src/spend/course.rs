//! Where spending leads to: this month's, broken down, or each budget's in its own cycle. Puts together what was spent and what
//! the budgets say; knows no SQL.

use super::forecast::{BookSpending, by_book, by_dimensions};
use super::{SpendError, check_projects, named, parse, rfc3339, within_limit};
use crate::budgets::Counted;
use crate::warehouse::Warehouse;
use penstock_schemas::UnixMicros;
use penstock_schemas::alert::{Alert, AlertKind};
use penstock_schemas::budget::{Budget, Unit};
use penstock_schemas::cycle::{Cycle, Window, zone};
use penstock_schemas::forecast::{DAYS, ForecastQuery, ForecastReport, ForecastRow, Spent};
use penstock_schemas::money::Picodollars;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// In microseconds: no clock is further behind than that.
const SKEW: u64 = 3_600_000_000;

/// One counter of a budget, and what was spent in it.
struct Counter<'a> {
    budget: &'a Budget,
    /// The key of its books, without their windows.
    key: String,
    /// Its name for people.
    label: String,
    window: Window,
    spent: Spent,
}

/// The answer to `query`. `label` gives the name for people of a counter's book, by its key.
pub(crate) async fn course(
    warehouse: &Warehouse,
    query: &ForecastQuery,
    budgets: &[Counted],
    label: impl Fn(&str) -> Option<String>,
    now: UnixMicros,
) -> Result<ForecastReport, SpendError> {
    let rows = match query.by.as_slice() {
        [only] if only == "budget" => {
            check_projects(&query.projects)?;
            let budgets: Vec<Counted> =
                budgets.iter().filter(|counted| is_of(&counted.budget, &query.projects)).cloned().collect();
            counters(warehouse, &budgets, label, now).await?.iter().map(|counter| counter.row(now)).collect()
        }
        by if by.iter().any(|name| ["budget", "day", "hour"].contains(&name.as_str())) => {
            let why = "a forecast is broken down by `budget` alone, or by anything but budget, day and hour";
            return Err(SpendError::BadQuery(why.to_owned()));
        }
        _ => month(warehouse, query, now).await?,
    };
    Ok(ForecastReport { at: rfc3339(now), by: query.by.clone(), rows })
}

/// An alert for each budget that will be spent at least a day before its cycle ends.
pub(crate) async fn early(
    warehouse: &Warehouse,
    budgets: &[Counted],
    label: impl Fn(&str) -> Option<String>,
    now: UnixMicros,
) -> Result<Vec<Alert>, SpendError> {
    // A cycle that never ends has no end to be early for.
    let budgets: Vec<Counted> =
        budgets.iter().filter(|counted| counted.budget.cycle != Cycle::Total).cloned().collect();
    if budgets.is_empty() {
        return Ok(Vec::new());
    }
    Ok(counters(warehouse, &budgets, label, now).await?.iter().filter_map(|counter| counter.alert(now)).collect())
}

/// Whether a budget is for one of these projects alone; without any, all are asked for.
fn is_of(budget: &Budget, projects: &[String]) -> bool {
    projects.is_empty() || budget.scope.project.as_ref().is_some_and(|project| projects.contains(project))
}

async fn month(warehouse: &Warehouse, query: &ForecastQuery, now: UnixMicros) -> Result<Vec<ForecastRow>, SpendError> {
    check_projects(&query.projects)?;
    let (by, dimensions) = (&query.by, parse(&query.by)?);
    let window = Cycle::Monthly.window(now, &zone("UTC").expect("the database has UTC"));
    let rows =
        within_limit(warehouse, by_dimensions(warehouse, &dimensions, &query.projects, (window.from, now))).await?;
    Ok(rows.into_iter().map(|row| describe(named(by, row.by.clone()), &window, Unit::Usd, &row.spent(), now)).collect())
}

/// Every counter in whose budget's window something was spent.
async fn counters<'a>(
    warehouse: &Warehouse,
    budgets: &'a [Counted],
    label: impl Fn(&str) -> Option<String>,
    now: UnixMicros,
) -> Result<Vec<Counter<'a>>, SpendError> {
    let windows: BTreeMap<&str, (&Counted, Window)> = budgets
        .iter()
        .filter_map(|counted| {
            let budget = &counted.budget;
            Some((&*counted.counter, (counted, budget.cycle.window(now, &zone(budget.zone()).ok()?))))
        })
        .collect();
    let Some(since) = windows.values().map(|(_, window)| window.from.0.saturating_sub(SKEW)).min() else {
        return Ok(Vec::new());
    };
    let books = within_limit(warehouse, by_book(warehouse, UnixMicros(since), now)).await?;
    let mut counters: BTreeMap<&str, Counter<'_>> = BTreeMap::new();
    for spending in &books {
        let Some((key, window_name)) = spending.book.rsplit_once('.') else { continue };
        let Some((counted, window)) = windows.get(key.split('.').next().unwrap_or_default()) else { continue };
        let counter = counters.entry(key).or_insert_with(|| Counter {
            label: label(&format!("{key}.{}", window.name)).unwrap_or_else(|| key.to_owned()),
            key: key.to_owned(),
            budget: &counted.budget,
            window: window.clone(),
            spent: Spent::default(),
        });
        counter.add(spending, window_name);
    }
    for (key, (counted, window)) in &windows {
        // One that nobody spent of is there, too. Of those with several counters, none is.
        if counted.budget.per.is_empty() {
            counters.entry(key).or_insert_with(|| Counter {
                label: counted.label.clone(),
                key: (*key).to_owned(),
                budget: &counted.budget,
                window: window.clone(),
                spent: Spent::default(),
            });
        }
    }
    Ok(counters.into_values().collect())
}

impl Counter<'_> {
    fn add(&mut self, spending: &BookSpending, window: &str) {
        let spent = if self.budget.limit().0 == Unit::Tokens { spending.tokens() } else { spending.usd() };
        if window == self.window.name {
            self.spent.so_far = spent.so_far;
        }
        for day in 0..DAYS {
            self.spent.days[day] = self.spent.days[day].saturating_add(spent.days[day]);
        }
    }

    fn row(&self, now: UnixMicros) -> ForecastRow {
        let (unit, limit) = self.budget.limit();
        let by = Map::from_iter([("budget".to_owned(), Value::String(self.label.clone()))]);
        let spent_at = self.spent.exceeds(limit, now).filter(|at| self.window.until.is_none_or(|until| *at < until));
        ForecastRow {
            limit: Some(amount(unit, limit)),
            spent_at: spent_at.map(rfc3339),
            ..describe(by, &self.window, unit, &self.spent, now)
        }
    }

    fn alert(&self, now: UnixMicros) -> Option<Alert> {
        let (unit, limit) = self.budget.limit();
        let at = self.spent.exceeds_early(limit, now, self.window.until)?;
        let (label, until) = (&self.label, self.window.until.map(rfc3339).unwrap_or_default());
        let (spent, per_day) = (amount(unit, self.spent.so_far), amount(unit, self.spent.per_day()));
        let (limit, at) = (amount(unit, limit), rfc3339(at));
        let message =
            format!("budget {label} will be spent by {at}, if spending goes on like this: its cycle ends {until}");
        let alert = Alert::new(AlertKind::SpendingSlope, &self.key, "", &self.window.name, now).saying(message);
        let alert = alert.about(label).with("budget", &self.budget.name).with("spent", spent).with("per_day", per_day);
        Some(alert.with("limit", limit).with("spent_at", at).with("until", until))
    }
}

fn describe(by: Map<String, Value>, window: &Window, unit: Unit, spent: &Spent, now: UnixMicros) -> ForecastRow {
    let forecast = spent.forecast(now, window.until);
    ForecastRow {
        by,
        window: window.name.clone(),
        until: window.until.map(rfc3339),
        unit,
        spent: amount(unit, spent.so_far),
        per_day: amount(unit, forecast.per_day),
        projected: forecast.at_end.map(|at_end| amount(unit, at_end)),
        limit: None,
        spent_at: None,
    }
}

/// Dollars as an exact decimal; all else as a number.
pub(crate) fn amount(unit: Unit, amount: u64) -> String {
    match unit {
        Unit::Usd => Picodollars(i64::try_from(amount).unwrap_or(i64::MAX)).to_string(),
        Unit::Tokens | Unit::Requests => amount.to_string(),
    }
}
