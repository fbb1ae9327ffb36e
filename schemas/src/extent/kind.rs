//! What sort of request is read, and how its names are compared. Knows no field.

use super::cursor::Names;
use crate::dialect::{Dialect, Operation};

/// What sort of request it is.
#[derive(Clone, Copy)]
pub(super) struct RequestKind {
    pub(super) dialect: Dialect,
    pub(super) operation: Operation,
}

impl RequestKind {
    pub(super) fn names(self) -> Names {
        if self.dialect.form() == Dialect::Google { Names::Folded } else { Names::Exact }
    }
}
