//! A limit on rates as a managed object. What a rate is stands in [`crate::budget`].

use super::{Check, Description, Kind, Managed};
use crate::budget::RateLimit;

impl Managed for RateLimit {
    type Shown = Self;

    const DESCRIPTION: Description = Description {
        columns: &["name", "match", "per", "rates"],
        is_owned: true,
        is_beside_keys: true,
        ..Description::plain(Kind::Limit, "Limits on rates")
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
        vec![Check::Scope(&self.scope)]
    }
}
