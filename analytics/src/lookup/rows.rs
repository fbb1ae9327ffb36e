//! Rows of the ledger as objects, and who may see them. Knows no question.

use clickhouse::error::Error;
use clickhouse::query::Query;
use serde_json::Value;

/// Whether a row may be seen: bound to whether all may, and to the projects.
pub(super) const VISIBLE: &str = "(? OR has(?, toString(project)))";

/// What the asker may see.
pub(super) struct VisibleProjects {
    /// All projects.
    pub(super) all: bool,
    /// Else these.
    pub(super) projects: Vec<String>,
}

impl VisibleProjects {
    /// Binds the values of [`VISIBLE`].
    pub(super) fn bind(&self, query: Query) -> Query {
        query.bind(self.all).bind(&self.projects)
    }
}

/// The rows of a query, as objects.
pub(super) async fn fetch(query: Query) -> Result<Vec<Value>, Error> {
    let query = query.with_setting("output_format_json_quote_64bit_integers", "0");
    let query = query.with_setting("output_format_json_quote_decimals", "1");
    let bytes = query.fetch_bytes("JSONEachRow")?.collect().await?;
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(|error| Error::Custom(error.to_string()))).collect()
}
