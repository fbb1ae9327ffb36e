//! How much of budgets is used: reads their books. Knows nothing of who writes those.

use super::{ManageError, Objects};
use penstock_schemas::UnixMicros;
use penstock_schemas::book::{Book, Counter, Generations};
use penstock_schemas::budget::Budget;
use penstock_schemas::cycle::{self, Window};
use penstock_schemas::kind::BudgetShown;
use penstock_schemas::rfc3339;
use penstock_schemas::shown::{Amount, BudgetWindow};

/// Counters of one budget that are shown at the most.
const MOST: usize = 1000;

impl Objects {
    /// Budgets with their state.
    ///
    /// # Errors
    /// When the books cannot be read.
    pub async fn with_windows(
        &self,
        budgets: Vec<Budget>,
        generations: &Generations,
        now: UnixMicros,
    ) -> Result<Vec<BudgetShown>, ManageError> {
        let windows: Vec<Option<Current>> =
            budgets.iter().map(|budget| Current::of(budget, generations, now)).collect();
        let is_wanted = |key: &str| windows.iter().flatten().any(|window| window.part(key).is_some());
        let books = self.books.list_where(is_wanted).await?;
        let shown = windows.iter().map(|window| window.as_ref().map(|window| window.show(&books)).unwrap_or_default());
        let shown: Vec<Vec<BudgetWindow>> = shown.collect();
        drop(windows);
        Ok(budgets.into_iter().zip(shown).map(|(budget, windows)| BudgetShown { budget, windows }).collect())
    }
}

/// A budget's window that runs.
struct Current<'a> {
    budget: &'a Budget,
    counter: Counter<'a>,
    window: Window,
}

impl<'a> Current<'a> {
    /// `None`: its time zone is not known here.
    fn of(budget: &'a Budget, generations: &'a Generations, now: UnixMicros) -> Option<Self> {
        let window = budget.cycle.window(now, &cycle::zone(budget.zone()).ok()?);
        let generation = generations.get(&budget.name).map(String::as_str);
        Some(Self { budget, counter: Counter::Budget(&budget.name, generation), window })
    }

    /// Which part of the budget's counter a key stands for; `None` when it is another's, or of another window.
    fn part<'k>(&self, key: &'k str) -> Option<Option<&'k str>> {
        let rest = key.strip_prefix(&self.counter.to_string())?.strip_prefix('.')?.strip_suffix(&self.window.name)?;
        match rest.strip_suffix('.') {
            Some(part) if !self.budget.per.is_empty() => Some(Some(part)),
            None if rest.is_empty() && self.budget.per.is_empty() => Some(None),
            _ => None,
        }
    }

    fn show(&self, books: &[(String, Book)]) -> Vec<BudgetWindow> {
        let Self { budget, counter, window } = self;
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
        let found = books.iter().filter_map(|(key, book)| Some((key, self.part(key)?, book)));
        let windows: Vec<BudgetWindow> = found
            .map(|(key, part, book)| {
                // The label says for people what may be a hash in the key.
                let named = book.label.split_once('[').and_then(|(_, rest)| rest.strip_suffix(']'));
                show(key, part.map(|part| named.unwrap_or(part).to_owned()), book)
            })
            .take(MOST)
            .collect();
        if windows.is_empty() && budget.per.is_empty() {
            return vec![show(&counter.key(None, &window.name), None, &Book::default())];
        }
        windows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_book_is_found_by_the_name_and_the_window_of_its_budget() {
        let read = |json: &str| -> Budget { serde_json::from_str(json).unwrap() };
        let whole = read(r#"{"name":"b","limit_usd":"2","cycle":"total"}"#);
        let each = read(r#"{"name":"b","limit_tokens":100,"cycle":"total","per":["user"]}"#);
        let again = [("b".to_owned(), "7f".to_owned())].into();
        let none = Generations::new();
        let [whole, each, whole_again] = [(&whole, &none), (&each, &none), (&whole, &again)]
            .map(|(budget, generations)| Current::of(budget, generations, UnixMicros(0)).unwrap());
        for (key, of_whole, of_each, of_again) in [
            ("b.all", Some(None), None, None),
            ("b.ann.all", None, Some(Some("ann")), None),
            ("bb.all", None, None, None),
            ("b.2026-11", None, None, None),
            ("B=b=7f.all", None, None, Some(None)),
            ("B=b=7e.all", None, None, None),
        ] {
            assert_eq!(
                (whole.part(key), each.part(key), whole_again.part(key)),
                (of_whole, of_each, of_again),
                "{key}"
            );
        }
        let book = Book { past: 30, pending: 5, label: "b[Ann B.]".to_owned(), ..Book::default() };
        let shown = each.show(&[("b.7f.all".to_owned(), book)]);
        assert_eq!((shown[0].part.as_deref(), &shown[0].left), (Some("Ann B."), &Amount::Count(65)));
        assert_eq!(whole.show(&[])[0].left, Amount::Usd("2".to_owned()));
        assert_eq!(whole_again.show(&[])[0].book, "B=b=7f.all");
    }
}
