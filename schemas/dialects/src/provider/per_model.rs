//! What is so at some models of a provider: data of the catalogue's rows and of the operator's sections. Knows no model by
//! its name.

use penstock_schemas::pattern;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Facts by the models that they are true of: `"grok-4*" = ["stop"]`, in which `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct PerModel<T>(BTreeMap<String, Vec<T>>);

impl<T> Default for PerModel<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> PerModel<T> {
    /// What is true of this model.
    pub fn of<'a>(&'a self, model: &'a str) -> impl Iterator<Item = &'a T> {
        self.0.iter().filter(move |(models, _)| pattern::matches(models, model)).flat_map(|(_, facts)| facts)
    }
}
