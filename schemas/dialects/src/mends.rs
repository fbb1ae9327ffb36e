//! What a provider has refused of a request and that can be told otherwise: the request goes out once more for each. Knows
//! nothing of who sends it.

use crate::provider::Form;
use crate::{stale_thoughts, unpaired};
use bytes::Bytes;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::failure::Failure;

/// What is mended of a request from now on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mends {
    /// Earlier thoughts are left out: the provider does not take them back.
    thoughts: bool,
    /// Calls and results are made to belong together.
    pairs: bool,
}

impl Mends {
    /// Learns of a refusal; whether it asks for something that was not tried yet.
    pub fn learn(&mut self, refused: &Failure) -> bool {
        let before = (self.thoughts, self.pairs);
        self.thoughts |= stale_thoughts::are_refused(refused);
        self.pairs |= unpaired::is_refused(refused);
        (self.thoughts, self.pairs) != before
    }

    /// The request with all that mended, and what was left out of it.
    pub fn apply(self, form: Form, caller: Dialect, body: Bytes) -> (Bytes, Vec<&'static str>) {
        let (mut body, mut left_out) = (body, Vec::new());
        let thoughts = self.thoughts.then(|| stale_thoughts::without(form, caller, &body)).flatten();
        if let Some(left) = thoughts {
            (body, left_out) = (left, vec![stale_thoughts::NAME]);
        }
        let pairs = self.pairs.then(|| unpaired::mended(form, caller, &body)).flatten();
        if let Some(mended) = pairs {
            body = mended;
            left_out.push(unpaired::NAME);
        }
        (body, left_out)
    }
}
