//! A value of a request and its place, and the questions that every reference asks of one. Knows no provider.

use crate::{Refused, Verdict};
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// A value and where it stands. A field of null counts as absent.
#[derive(Clone, Debug)]
pub struct At<'a> {
    place: String,
    value: &'a Value,
}

impl<'a> At<'a> {
    /// The whole request.
    pub fn root(value: &'a Value) -> Self {
        Self { place: String::new(), value }
    }

    /// The value.
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// Its place: `messages.0.content`.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// That this value is refused.
    pub fn refused(&self, why: impl Into<String>) -> Refused {
        Refused { place: self.place.clone(), why: why.into() }
    }

    /// Refuses unless `is_right`.
    ///
    /// # Errors
    /// When it is not.
    pub fn ensure(&self, is_right: impl Into<bool>, why: &str) -> Verdict {
        if is_right.into() { Ok(()) } else { Err(self.refused(why)) }
    }

    fn below(&self, name: &str, value: &'a Value) -> Self {
        let place = if self.place.is_empty() { name.to_owned() } else { format!("{}.{name}", self.place) };
        Self { place, value }
    }

    /// A field of the object.
    pub fn get(&self, name: &str) -> Option<Self> {
        let value = self.value.get(name)?;
        (!value.is_null()).then(|| self.below(name, value))
    }

    /// A field that must be there.
    ///
    /// # Errors
    /// When it is not.
    pub fn need(&self, name: &str) -> Result<Self, Refused> {
        self.get(name).ok_or_else(|| self.below(name, self.value).refused("Field required"))
    }

    /// The object's fields.
    ///
    /// # Errors
    /// When it is no object.
    pub fn object(&self) -> Result<&'a Map<String, Value>, Refused> {
        self.value.as_object().ok_or_else(|| self.refused("Input should be an object"))
    }

    /// Every field that is not null.
    ///
    /// # Errors
    /// When it is no object.
    pub fn fields(&self) -> Result<Vec<(&'a str, Self)>, Refused> {
        let fields = self.object()?.iter().filter(|(_, value)| !value.is_null());
        Ok(fields.map(|(name, value)| (name.as_str(), self.below(name, value))).collect())
    }

    /// Refuses fields that the provider does not know.
    ///
    /// # Errors
    /// When there is one, or it is no object.
    pub fn only(&self, known: &[&str]) -> Verdict {
        match self.object()?.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, value)) => Err(self.below(name, value).refused("Extra inputs are not permitted")),
            None => Ok(()),
        }
    }

    /// The list's items.
    ///
    /// # Errors
    /// When it is no list.
    pub fn items(&self) -> Result<Vec<Self>, Refused> {
        let items = self.value.as_array().ok_or_else(|| self.refused("Input should be a list"))?;
        Ok(items.iter().enumerate().map(|(at, item)| self.below(&at.to_string(), item)).collect())
    }

    /// The text.
    ///
    /// # Errors
    /// When it is none.
    pub fn text(&self) -> Result<&'a str, Refused> {
        self.value.as_str().ok_or_else(|| self.refused("Input should be a string"))
    }

    /// The text, which is one of these.
    ///
    /// # Errors
    /// When it is not.
    pub fn word(&self, known: &[&str]) -> Result<&'a str, Refused> {
        let word = self.text()?;
        let why = || self.refused(format!("Input should be one of {}", known.join(", ")));
        known.contains(&word).then_some(word).ok_or_else(why)
    }

    /// The number, within these bounds.
    ///
    /// # Errors
    /// When it is none or out of bounds.
    pub fn number(&self, bounds: RangeInclusive<f64>) -> Result<f64, Refused> {
        let number = self.value.as_f64().ok_or_else(|| self.refused("Input should be a number"))?;
        let why = || self.refused(format!("Input should be from {} to {}", bounds.start(), bounds.end()));
        bounds.contains(&number).then_some(number).ok_or_else(why)
    }

    /// The whole number, within these bounds.
    ///
    /// # Errors
    /// When it is none or out of bounds.
    pub fn count(&self, bounds: RangeInclusive<u64>) -> Result<u64, Refused> {
        let count = self.value.as_u64().ok_or_else(|| self.refused("Input should be a valid integer"))?;
        let why = || self.refused(format!("Input should be from {} to {}", bounds.start(), bounds.end()));
        bounds.contains(&count).then_some(count).ok_or_else(why)
    }

    /// The truth value.
    ///
    /// # Errors
    /// When it is none.
    pub fn flag(&self) -> Result<bool, Refused> {
        self.value.as_bool().ok_or_else(|| self.refused("Input should be a valid boolean"))
    }

    /// A name of these lengths, of letters, digits and the characters in `others`.
    ///
    /// # Errors
    /// When it is no such name.
    pub fn name(&self, lengths: RangeInclusive<usize>, others: &str) -> Result<&'a str, Refused> {
        let name = self.text()?;
        let is_right = lengths.contains(&name.chars().count())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c));
        let (from, to) = (lengths.start(), lengths.end());
        let why = || self.refused(format!("String should match pattern '^[a-zA-Z0-9{others}]{{{from},{to}}}$'"));
        is_right.then_some(name).ok_or_else(why)
    }
}
