//! Why something that is managed is not shown or not changed. Knows neither HTTP statuses nor how an error is spelt.

use penstock_runtime::bus::{BusError, NotChanged};
use penstock_schemas::kind::Kind;
use penstock_schemas::managed::Mistake;

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManageError {
    /// The object is wrong: everything that is.
    #[error("{}", told(.0))]
    Wrong(Vec<Mistake>),
    /// There is one of this name already.
    #[error("there is a {} `{name}` already: change that one, or take another name", .kind.as_str())]
    Duplicate {
        /// Its sort.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// There is none of this name.
    #[error("there is no {} `{name}`", .kind.as_str())]
    Unknown {
        /// The sort.
        kind: Kind,
        /// The name.
        name: String,
    },
    /// The ledger has no such row that the actor may see.
    #[error("there is no {what} `{name}` that you may see")]
    NoRow {
        /// What it is.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Others need it.
    #[error("{keys} keys belong to the project `{project}`: revoke them first, or delete it with force")]
    InUse {
        /// The project.
        project: String,
        /// How many keys name it.
        keys: usize,
    },
    /// The actor may not.
    #[error("this needs the role {needed}")]
    Forbidden {
        /// Who may.
        needed: String,
    },
    /// It was changed since it was read.
    #[error("it was changed since it was read: it has the revision {now} now; read it again")]
    Stale {
        /// The revision that it has.
        now: u64,
    },
    /// NATS does not answer, or somebody else writes all the time.
    #[error("this cannot be done now: {0}")]
    Unavailable(String),
    /// The change was made, and its record is not confirmed.
    #[error("the change is made, but the ledger has not confirmed the record of it: look at it before you repeat it")]
    Unrecorded,
}

fn told(mistakes: &[Mistake]) -> String {
    let one = |mistake: &Mistake| match mistake.field.as_str() {
        "" => mistake.message.clone(),
        field => format!("{field}: {}", mistake.message),
    };
    mistakes.iter().map(one).collect::<Vec<_>>().join("; ")
}

impl ManageError {
    /// One thing is wrong that has the right form.
    pub(crate) fn rule(field: &str, message: impl Into<String>) -> Self {
        Self::Wrong(vec![Mistake { field: field.to_owned(), message: message.into(), is_rule: true }])
    }
}

impl From<BusError> for ManageError {
    fn from(error: BusError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<NotChanged<ManageError>> for ManageError {
    fn from(error: NotChanged<Self>) -> Self {
        match error {
            NotChanged::Refused(refused) => refused,
            NotChanged::Busy | NotChanged::Bus(_) => Self::Unavailable(error.to_string()),
        }
    }
}
