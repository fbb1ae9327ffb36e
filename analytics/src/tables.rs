//! Copies of the tables: every row of each, as ClickHouse writes it, and back. Knows nothing of what the rows say.

use crate::config::Retention;
use crate::schema::{TABLES, migrate};
use crate::trouble::Trouble;
use crate::warehouse::Warehouse;
use clickhouse::error::Error;
use std::path::Path;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};

/// Bytes that are sent at once.
const PIECE: usize = 1 << 20;

/// Why tables cannot be copied or put back.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// ClickHouse's own words, or that it cannot be reached.
    #[error("{0}")]
    ClickHouse(String),
    /// The file cannot be written or read.
    #[error("{file}: {reason}")]
    File {
        /// Which.
        file: String,
        /// Why not.
        reason: std::io::Error,
    },
    /// What is there would be mixed with what comes.
    #[error("the table {0} is not empty: restore into a new database")]
    NotEmpty(&'static str),
}

impl Warehouse {
    /// Writes each table into a file of its name. Gives the names of those that hold anything.
    ///
    /// # Errors
    /// When ClickHouse or the disk refuses.
    pub async fn save_tables(&self, folder: &Path) -> Result<Vec<&'static str>, TableError> {
        let mut saved = Vec::new();
        for table in TABLES {
            let file = folder.join(format!("{table}.native"));
            let wrong = wrong_file(&file);
            if self.count(table).await? == 0 {
                continue;
            }
            let query = self.client().query(&format!("SELECT * FROM {table}"));
            let mut rows = query.fetch_bytes("Native").map_err(|error| self.told(&error))?;
            let mut out = BufWriter::new(File::create(&file).await.map_err(&wrong)?);
            while let Some(piece) = rows.next().await.map_err(|error| self.told(&error))? {
                out.write_all(&piece).await.map_err(&wrong)?;
            }
            out.flush().await.map_err(&wrong)?;
            out.get_ref().sync_all().await.map_err(&wrong)?;
            saved.push(table);
        }
        Ok(saved)
    }

    /// Makes the tables, and puts back what files of their names hold.
    ///
    /// # Errors
    /// When one holds rows already, or ClickHouse or the disk refuses.
    pub async fn restore_tables(&self, folder: &Path) -> Result<(), TableError> {
        migrate(self, (Retention::Off, Retention::Off))
            .await
            .map_err(|error| TableError::ClickHouse(error.to_string()))?;
        for table in TABLES {
            if self.count(table).await? > 0 {
                return Err(TableError::NotEmpty(table));
            }
        }
        for table in TABLES {
            let file = folder.join(format!("{table}.native"));
            if !file.exists() {
                continue;
            }
            let wrong = wrong_file(&file);
            let mut from = File::open(&file).await.map_err(&wrong)?;
            let mut insert = self.client().insert_formatted_with(format!("INSERT INTO {table} FORMAT Native"));
            let mut piece = vec![0; PIECE];
            loop {
                let read = from.read(&mut piece).await.map_err(&wrong)?;
                if read == 0 {
                    break;
                }
                let bytes = bytes::Bytes::copy_from_slice(&piece[..read]);
                insert.send(bytes).await.map_err(|error| self.told(&error))?;
            }
            insert.end().await.map_err(|error| self.told(&error))?;
        }
        Ok(())
    }

    async fn count(&self, table: &str) -> Result<u64, TableError> {
        let count = self.client().query(&format!("SELECT count() FROM {table}")).fetch_one().await;
        count.map_err(|error| self.told(&error))
    }

    fn told(&self, error: &Error) -> TableError {
        TableError::ClickHouse(Trouble::judge(error, self.address()).to_string())
    }
}

fn wrong_file(file: &Path) -> impl Fn(std::io::Error) -> TableError + use<> {
    let file = file.display().to_string();
    move |reason| TableError::File { file: file.clone(), reason }
}
