//! A budget as a managed object: what is said of it, and how it is shown. What a budget is stands in [`crate::budget`].

use super::{Check, Description, Kind, Managed};
use crate::budget::Budget;
use crate::shown::BudgetWindow;
use schemars::JsonSchema;
use serde::Serialize;

impl Managed for Budget {
    type Shown = BudgetShown;

    const DESCRIPTION: Description = Description {
        columns: &["name", "match", "cycle", "limit_usd", "limit_tokens", "on_exceed"],
        is_owned: true,
        is_beside_keys: true,
        ..Description::plain(Kind::Budget, "Limits on spending, and how much of them is used")
    };

    fn name(&self) -> &str {
        &self.name
    }

    fn project(&self) -> Option<&str> {
        self.scope.one_project()
    }

    fn mistakes(&self) -> Vec<(&'static str, String)> {
        Self::mistakes(self)
    }

    fn checks(&self) -> Vec<Check<'_>> {
        let own = [Check::Scope(&self.scope), Check::Limit(self.limit().1)];
        self.downgrade().map(|model| Check::Downgrade("on_exceed", model)).into_iter().chain(own).collect()
    }
}

/// A budget and how much of it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BudgetShown {
    /// As it was written.
    #[serde(flatten)]
    pub budget: Budget,
    /// Its counters in the cycle that runs now: one, or one for each value of `per` that was seen.
    pub windows: Vec<BudgetWindow>,
}
