//! A client of ClickHouse for reading: spend reports and read-only SQL. Knows the database, and nothing of the ledger.

use crate::address::{Address, Database};
use crate::trouble::Trouble;
use bytes::Bytes;
use clickhouse::Client;
use clickhouse::query::BytesCursor;
use std::str::FromStr;
use std::time::Duration;
use tokio::time::timeout;

/// ClickHouse and our database in it. Cloning shares the connections, which are made when they are needed.
#[derive(Clone)]
pub struct Warehouse {
    client: Client,
    address: Address,
    database: Database,
}

/// How long a piece of SQL may take, in seconds: the ledger's inserts share the machine.
const SQL_SECONDS: u32 = 300;

/// The longest wait for a piece of an answer: longer than ClickHouse may take, so that it has the word as long as it lives.
const PIECE: Duration = Duration::from_secs(SQL_SECONDS as u64 + 10);

/// The longest wait for a sign that it lives.
const SIGN: Duration = Duration::from_secs(10);

/// What a statement that only reads begins with. `readonly` alone lets KILL QUERY through, which ends the ledger's own.
const READING: [&str; 8] = ["SELECT", "WITH", "FROM", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS"];

/// How the answer to a piece of SQL is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqlFormat {
    /// For people: a table drawn with lines; 10,000 rows at the most.
    Table,
    /// An array of objects, a row each.
    Json,
    /// Comma-separated values, the first line being the names.
    Csv,
}

impl FromStr for SqlFormat {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            other => Err(format!("`{other}` is not a format: use table, json or csv")),
        }
    }
}

/// Why a piece of SQL has no answer: ClickHouse's own words, or that it cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SqlError(String);

/// The answer to a piece of SQL as it arrives.
pub struct SqlAnswer {
    cursor: BytesCursor,
    warehouse: Warehouse,
}

impl Warehouse {
    /// The database at `address`.
    pub fn connect(address: &Address, database: &Database) -> Self {
        let mut client = Client::default().with_url(address.url()).with_database(database.as_str());
        if let Some((user, password)) = address.login() {
            client = client.with_user(user).with_password(password.reveal());
        }
        if database.cluster().is_some() {
            // What is written is on most servers before it is acknowledged, and what is read has all of it, whichever server
            // is asked: budgets are put right by what the ledger says.
            let settings =
                [("insert_quorum", "auto"), ("insert_quorum_parallel", "0"), ("select_sequential_consistency", "1")];
            client = settings.into_iter().fold(client, |client, (name, value)| client.with_setting(name, value));
        }
        Self { client, address: address.clone(), database: database.clone() }
    }

    /// Waits for a sign that ClickHouse lives: a statement may take minutes, and one that is away should not be waited for so
    /// long.
    ///
    /// # Errors
    /// When it gives none.
    pub async fn answers(&self) -> Result<(), SqlError> {
        match timeout(SIGN, self.client.query("SELECT 1").fetch_one::<u8>()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.wrong(&error)),
            Err(_) => Err(self.too_slow()),
        }
    }

    /// Carries out one statement that only reads.
    ///
    /// # Errors
    /// When ClickHouse cannot be reached. What it says about the statement comes with the first piece of the answer.
    pub fn sql(&self, text: &str, format: SqlFormat) -> Result<SqlAnswer, SqlError> {
        let text = text.trim().trim_end_matches(';');
        let word = first_word(text);
        if !READING.iter().any(|reading| reading.eq_ignore_ascii_case(word)) {
            return Err(SqlError(format!("`{word}` is not for reading: begin with {}", READING.join(", "))));
        }
        // Not even settings can be changed, nor anything read that is not in ClickHouse.
        let query = self.client.query_raw(text).with_setting("readonly", "1");
        let mut query = query.with_setting("max_execution_time", SQL_SECONDS.to_string());
        let (name, settings) = match format {
            SqlFormat::Table => ("PrettyCompactMonoBlock", TABLE.as_slice()),
            SqlFormat::Json => ("JSONEachRow", JSON.as_slice()),
            SqlFormat::Csv => ("CSVWithNames", [].as_slice()),
        };
        for (setting, value) in settings {
            query = query.with_setting(*setting, *value);
        }
        let cursor = query.fetch_bytes(name).map_err(|error| self.wrong(&error))?;
        Ok(SqlAnswer { cursor, warehouse: self.clone() })
    }

    fn wrong(&self, error: &clickhouse::error::Error) -> SqlError {
        SqlError(Trouble::judge(error, &self.address).to_string())
    }

    fn too_slow(&self) -> SqlError {
        SqlError(Trouble::too_slow(&self.address).to_string())
    }

    /// The client, for SQL of ours.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The database.
    pub fn database(&self) -> &Database {
        &self.database
    }
}

/// The first word behind comments and brackets.
fn first_word(text: &str) -> &str {
    let mut text = text.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    for (opens, closes) in [("--", "\n"), ("/*", "*/")].into_iter().cycle().take(64) {
        if let Some(comment) = text.strip_prefix(opens) {
            let rest = comment.split_once(closes).map_or("", |(_, rest)| rest);
            text = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
        }
    }
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    &text[..end]
}

impl SqlAnswer {
    /// The next piece; `None` after the last.
    ///
    /// # Errors
    /// When ClickHouse refuses the statement, breaks off, or cannot be reached.
    pub async fn next(&mut self) -> Result<Option<Bytes>, SqlError> {
        let next = timeout(PIECE, self.cursor.next()).await.map_err(|_| self.warehouse.too_slow())?;
        next.map_err(|error| self.warehouse.wrong(&error))
    }

    /// All that is left of it.
    ///
    /// # Errors
    /// As [`SqlAnswer::next`].
    pub async fn collect(&mut self) -> Result<Bytes, SqlError> {
        let all = timeout(PIECE, self.cursor.collect()).await.map_err(|_| self.warehouse.too_slow())?;
        all.map_err(|error| self.warehouse.wrong(&error))
    }
}

const TABLE: [(&str, &str); 4] = [
    ("output_format_pretty_color", "0"),
    ("output_format_pretty_row_numbers", "0"),
    ("output_format_pretty_max_rows", "10000"),
    ("output_format_pretty_single_large_number_tip_threshold", "0"),
];

const JSON: [(&str, &str); 2] =
    [("output_format_json_array_of_rows", "1"), ("output_format_json_quote_64bit_integers", "0")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_known_by_its_first_word() {
        for (text, word) in [
            ("SELECT 1", "SELECT"),
            (" ( select 1)", "select"),
            ("-- a\n/* b */ -- c\n KILL QUERY", "KILL"),
            ("/* SELECT */SYSTEM x", "SYSTEM"),
            ("WITH(1) AS x", "WITH"),
            ("/* open", ""),
            ("", ""),
        ] {
            assert_eq!(first_word(text), word, "{text}");
        }
    }
}
