//! The engine as a reader and writer of table files: CSV, TSV, Parquet. In a process that runs no server, on files that the
//! user of this process names; the HTTP interface does not reach it.

use crate::engine::quote;
use crate::ffi::{Api, Connection, Statement};
use crate::{Error, Settings, Token, config};
use std::path::{Path, PathBuf};

/// How a table is written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// Comma-separated values; the first line has the names.
    Csv,
    /// Tab-separated values; the first line has the names.
    Tsv,
    /// Apache Parquet.
    Parquet,
}

impl FileFormat {
    /// What a file's name says it is: `.csv`, `.tsv`, `.parquet`.
    pub fn of(file: &Path) -> Option<Self> {
        let extension = file.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "csv" => Some(Self::Csv),
            "tsv" => Some(Self::Tsv),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }

    /// ClickHouse's name for it.
    fn name(self) -> &'static str {
        match self {
            Self::Csv => "CSVWithNames",
            Self::Tsv => "TSVWithNames",
            Self::Parquet => "Parquet",
        }
    }
}

/// The engine in this process. One per process: it cannot start again.
pub struct TableFiles {
    connection: Connection,
    folder: PathBuf,
}

impl TableFiles {
    /// Starts the engine on a new folder of its own below that for temporary files. Blocks for 0.1 to 1 s.
    ///
    /// # Errors
    /// When the library or the folder cannot be used.
    pub fn open(library: &Path) -> Result<Self, Error> {
        if !library.is_file() {
            return Err(Error::NotInstalled { library: library.to_owned() });
        }
        let folder = std::env::temp_dir().join(format!("penstock-files-{}", std::process::id()));
        let unusable = |source| Error::DataFolder { data: folder.clone(), source };
        config::private_folder(&folder).map_err(unusable)?;
        let token = Token::parse("nobody connects to this engine")?;
        let config = config::write_own(&Settings::new(library, &folder, token)).map_err(unusable)?;
        let broken = |source| Error::Library { library: library.to_owned(), source: Box::new(source) };
        let api = Api::load(library).map_err(broken)?;
        let arguments =
            ["chdb".to_owned(), format!("--path={}", folder.display()), format!("--config-file={}", config.display())];
        let connection = Connection::open(api, &arguments);
        let connection = connection.ok_or_else(|| Error::NotStarted { data: folder.clone() })?;
        Ok(Self { connection, folder })
    }

    /// The rows of a file, each as a line with a JSON object, given to `take` in pieces that end with a line's end. CSV and TSV
    /// are texts, whatever they look like: `007` stays so.
    ///
    /// # Errors
    /// ClickHouse's, when the file is missing or not what its name says; what `take` gives.
    pub fn read(
        &mut self,
        file: &Path,
        format: FileFormat,
        mut take: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        let text = format!(
            "SELECT * FROM file({}, {}) SETTINGS input_format_csv_use_best_effort_in_schema_inference = 0, \
             input_format_tsv_use_best_effort_in_schema_inference = 0, output_format_json_quote_64bit_integers = 0",
            quote(&file.to_string_lossy()),
            quote(format.name()),
        );
        let statement = Statement { text: text.as_bytes(), format: "JSONEachRow", parameters: &[] };
        let mut rows = self.connection.stream(statement).map_err(|error| error.to_string())?;
        while let Some(piece) = rows.next().map_err(|error| error.to_string())? {
            take(&piece.bytes)?;
        }
        Ok(())
    }

    /// Writes rows into a file that is made anew; each of them is a line with a JSON object, and `columns` says what stands
    /// in it: `a String, b Nullable(UInt64)`.
    ///
    /// # Errors
    /// The system's, or ClickHouse's.
    pub fn write(&mut self, rows: &[u8], columns: &str, file: &Path, format: FileFormat) -> Result<(), String> {
        let source = self.folder.join("rows.jsonl");
        std::fs::write(&source, rows).map_err(|error| error.to_string())?;
        let text = format!(
            "INSERT INTO FUNCTION file({}, {}, {columns}) SELECT * FROM file({}, 'JSONEachRow', {columns}) \
             SETTINGS engine_file_truncate_on_insert = 1",
            quote(&file.to_string_lossy()),
            quote(format.name()),
            quote(&source.to_string_lossy()),
            columns = quote(columns),
        );
        let statement = Statement { text: text.as_bytes(), format: "TSV", parameters: &[] };
        self.connection.query(statement).map(drop).map_err(|error| error.to_string())
    }
}

impl Drop for TableFiles {
    fn drop(&mut self) {
        // The engine may still have its files open; what stays of them is removed with the other temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
