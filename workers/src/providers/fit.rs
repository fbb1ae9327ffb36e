//! What happens to what a provider cannot express: the request is refused, or the field left out and named. Knows no
//! provider.

use super::unsupported;
use penstock_schemas::envelope::Unsupported;
use penstock_schemas::failure::{Failure, FailureKind};

/// The fields of one request that were left out.
#[derive(Debug)]
pub(crate) struct Fit {
    policy: Unsupported,
    dropped: Vec<String>,
}

impl Fit {
    pub(crate) fn new(policy: Unsupported) -> Self {
        Self { policy, dropped: Vec::new() }
    }

    /// A field that changes what the answer means.
    ///
    /// # Errors
    /// When the caller would rather be refused.
    pub(crate) fn cannot(&mut self, field: impl Into<String>, why: &str) -> Result<(), Failure> {
        match self.policy {
            Unsupported::Refuse => Err(unsupported(field, why)),
            Unsupported::Drop => {
                self.omit(field);
                Ok(())
            }
        }
    }

    /// A field without which the answer means the same: always left out, and named.
    pub(crate) fn omit(&mut self, field: impl Into<String>) {
        self.dropped.push(field.into());
    }

    /// The fields that were left out.
    pub(crate) fn dropped(self) -> Vec<String> {
        self.dropped
    }
}

/// That a field of the request is wrong.
pub(crate) fn wrong(field: impl Into<String>, why: &str) -> Failure {
    let field = field.into();
    let mut failure = Failure::gateway(FailureKind::BadRequest, format!("`{field}` is not valid: {why}"));
    failure.param = Some(field);
    failure
}
