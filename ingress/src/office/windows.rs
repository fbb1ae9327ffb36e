//! How much of budgets is used: reads their books. Knows nothing of who writes those.

use super::{Office, Refused};
use penstock_schemas::UnixMicros;
use penstock_schemas::book::{Book, Counter};
use penstock_schemas::budget::Budget;
use penstock_schemas::cycle::{self, Window};
use penstock_schemas::rfc3339;
use penstock_schemas::shown::{Amount, BudgetShown, BudgetWindow};

/// Counters of one budget that are shown at the most.
const MOST: usize = 1000;

impl Office {
    /// Budgets with their state.
    ///
    /// # Errors
    /// When the books cannot be read.
    pub async fn with_windows(&self, budgets: Vec<Budget>, now: UnixMicros) -> Result<Vec<BudgetShown>, Refused> {
        let windows: Vec<Option<Window>> = budgets.iter().map(|budget| window(budget, now)).collect();
        let is_wanted = |key: &str| {
            let mut all = budgets.iter().zip(&windows).filter_map(|(budget, window)| Some((budget, window.as_ref()?)));
            all.any(|(budget, window)| part(key, budget, window).is_some())
        };
        let books = self.books.list_where(is_wanted).await?;
        let shown = budgets.into_iter().zip(windows).map(|(budget, window)| {
            let windows = window.map(|window| of_budget(&budget, &window, &books)).unwrap_or_default();
            BudgetShown { budget, windows }
        });
        Ok(shown.collect())
    }
}

fn window(budget: &Budget, now: UnixMicros) -> Option<Window> {
    Some(budget.cycle.window(now, &cycle::zone(budget.zone()).ok()?))
}

/// Which part of the budget's counter a key stands for; `None` when it is another's, or of another window.
fn part<'a>(key: &'a str, budget: &Budget, window: &Window) -> Option<Option<&'a str>> {
    let rest = key.strip_prefix(&budget.name)?.strip_prefix('.')?.strip_suffix(&window.name)?;
    match rest.strip_suffix('.') {
        Some(part) if !budget.per.is_empty() => Some(Some(part)),
        None if rest.is_empty() && budget.per.is_empty() => Some(None),
        _ => None,
    }
}

fn of_budget(budget: &Budget, window: &Window, books: &[(String, Book)]) -> Vec<BudgetWindow> {
    let (unit, limit) = budget.limit();
    let show = |key: &str, part: Option<String>, book: &Book| BudgetWindow {
        book: key.to_owned(),
        part,
        from: rfc3339::write(window.from),
        until: window.until.map(rfc3339::write),
        limit: Amount::new(unit, limit),
        settled: Amount::new(unit, book.settled()),
        reserved: Amount::new(unit, book.reserved()),
        left: Amount::new(unit, book.left(limit)),
    };
    let found = books.iter().filter_map(|(key, book)| Some((key, part(key, budget, window)?, book)));
    let windows: Vec<BudgetWindow> = found
        .map(|(key, part, book)| {
            // The label says for people what may be a hash in the key.
            let named = book.label.split_once('[').and_then(|(_, rest)| rest.strip_suffix(']'));
            show(key, part.map(|part| named.unwrap_or(part).to_owned()), book)
        })
        .take(MOST)
        .collect();
    if windows.is_empty() && budget.per.is_empty() {
        return vec![show(&Counter::Budget(&budget.name).key(None, &window.name), None, &Book::default())];
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_book_is_found_by_the_name_and_the_window_of_its_budget() {
        let read = |json: &str| -> Budget { serde_json::from_str(json).unwrap() };
        let whole = read(r#"{"name":"b","limit_usd":"2","cycle":"total"}"#);
        let each = read(r#"{"name":"b","limit_tokens":100,"cycle":"total","per":["user"]}"#);
        let window = window(&whole, UnixMicros(0)).unwrap();
        for (key, of_whole, of_each) in [
            ("b.all", Some(None), None),
            ("b.ann.all", None, Some(Some("ann"))),
            ("bb.all", None, None),
            ("b.2026-11", None, None),
        ] {
            assert_eq!(part(key, &whole, &window), of_whole, "{key}");
            assert_eq!(part(key, &each, &window), of_each, "{key}");
        }
        let book = Book { past: 30, pending: 5, label: "b[Ann B.]".to_owned(), ..Book::default() };
        let shown = of_budget(&each, &window, &[("b.7f.all".to_owned(), book)]);
        assert_eq!((shown[0].part.as_deref(), &shown[0].left), (Some("Ann B."), &Amount::Count(65)));
        assert_eq!(of_budget(&whole, &window, &[])[0].left, Amount::Usd("2".to_owned()));
    }
}
