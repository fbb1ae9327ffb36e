//! The query of an address: parameters by their names, and how long a page of a list is. Knows nothing of what they mean.

use crate::refusal::Refusal;
use std::borrow::Cow;

/// The query of an address. A parameter without a value counts as absent.
#[derive(Clone, Copy)]
pub(crate) struct Query<'a>(pub(crate) &'a str);

impl<'a> Query<'a> {
    /// All values of parameters with one of these names.
    pub(crate) fn all(self, names: &'static [&'static str]) -> impl Iterator<Item = Cow<'a, str>> {
        let pairs = form_urlencoded::parse(self.0.as_bytes());
        pairs.filter(move |(key, value)| names.contains(&&**key) && !value.is_empty()).map(|(_, value)| value)
    }

    /// The first value of a parameter.
    pub(crate) fn get(self, name: &str) -> Option<Cow<'a, str>> {
        let pairs = form_urlencoded::parse(self.0.as_bytes());
        pairs.filter(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value).next()
    }

    /// How long a page is: what it is usually, and at most.
    pub(crate) fn limit(self, page: (usize, usize)) -> Result<usize, Refusal> {
        self.length("limit", page)
    }

    /// The same under another name.
    pub(crate) fn length(self, name: &str, (usual, most): (usize, usize)) -> Result<usize, Refusal> {
        let Some(limit) = self.get(name) else { return Ok(usual) };
        let limit = limit.parse().ok().filter(|limit| (1..=most).contains(limit));
        limit.ok_or_else(|| Refusal::BadQuery(format!("`{name}` must be a number from 1 to {most}")))
    }
}
