//! A request in the responses dialect in the making, and what of the caller's it cannot say. Knows no field.

use crate::provider::unsupported;
use penstock_schemas::envelope::Unsupported;
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::{Map, Value};

/// A request in the making, and what was left out of it.
pub(super) struct Spelling {
    policy: Unsupported,
    pub(super) out: Map<String, Value>,
    pub(super) dropped: Vec<String>,
    pub(super) include: Vec<&'static str>,
}

impl Spelling {
    pub(super) fn new(policy: Unsupported) -> Self {
        Self { policy, out: Map::new(), dropped: Vec::new(), include: Vec::new() }
    }

    /// That the provider cannot express this field, which changes the meaning of the answer.
    pub(super) fn cannot(&mut self, field: String, why: &str) -> Result<(), Failure> {
        match self.policy {
            Unsupported::Refuse => return Err(unsupported(field, why)),
            Unsupported::Drop => self.dropped.push(field),
        }
        Ok(())
    }

    /// Sets a field of the request.
    pub(super) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.out.insert(name.to_owned(), value.into());
    }
}

/// That the caller's request is wrong at this place.
pub(super) fn wrong(field: String, why: &str) -> Failure {
    let mut failure = Failure::gateway(FailureKind::BadRequest, format!("`{field}` is not valid: {why}"));
    failure.param = Some(field);
    failure
}
