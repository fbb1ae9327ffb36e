//! The engine's own configuration: what its one user may do, and its memory. Knows no requests.
//!
//! Written anew at each start into the data folder, and named explicitly: without that, the engine would pick up a
//! `config.xml` from the working directory or the home folder.

use crate::Settings;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Everything that a server is asked for by analytics and reports; no file, URL, other database, dictionary, function,
/// user, named collection or backup. The engine answers `Code: 497 … Not enough privileges` to the rest.
const GRANTS: &str = "SHOW, CHECK, SELECT, INSERT, ALTER, CREATE DATABASE, CREATE TABLE, CREATE VIEW, CREATE TEMPORARY TABLE, \
                      DROP, TRUNCATE, OPTIMIZE, KILL QUERY, SYSTEM MERGES, SYSTEM TTL MERGES, SYSTEM VIEWS, \
                      SYSTEM FLUSH LOGS, SYSTEM FLUSH ASYNC INSERT QUEUE, SYSTEM DROP CACHE, SYSTEM WAIT LOADING PARTS";

/// Settings that no request may change, and why.
const FIXED: [(&str, &str); 9] = [
    ("implicit_select", "0"),                     // `exit` is not SQL
    ("dialect", "clickhouse"),                    // we read one dialect only
    ("allow_introspection_functions", "0"),       // addresses of the process
    ("format_schema", ""),                        // reads a file
    ("format_template_row", ""),                  // reads a file
    ("format_template_resultset", ""),            // reads a file
    ("format_avro_schema_registry_url", ""),      // fetches a URL
    ("output_format_schema", ""),                 // writes a file
    ("input_format_record_errors_file_path", ""), // writes a file
];

/// Writes the two files, readable by this user only; gives the main one's path.
pub(crate) fn write(settings: &Settings) -> io::Result<PathBuf> {
    let users_path = settings.data.join("penstock-users.xml");
    let config_path = settings.data.join("penstock-config.xml");
    write_private(&users_path, &users(settings.query_memory))?;
    write_private(&config_path, &config(&users_path.to_string_lossy(), settings.memory))?;
    Ok(config_path)
}

/// Writes the configuration of an engine without a server: its memory limit alone. It may read and write every file that the
/// user of this process may.
pub(crate) fn write_own(settings: &Settings) -> io::Result<PathBuf> {
    let path = settings.data.join("penstock-config.xml");
    let memory = settings.memory;
    let text = format!(
        "<clickhouse><logger><level>none</level></logger><max_server_memory_usage>{memory}</max_server_memory_usage></clickhouse>\n"
    );
    write_private(&path, &text)?;
    Ok(path)
}

/// A new folder of this user's alone; one that is there already is an error, as another user may have made it.
pub(crate) fn private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(folder)
}

fn config(users: &str, memory: u64) -> String {
    format!(
        "<clickhouse>
    <users_config>{}</users_config>
    <logger><level>none</level></logger>
    <max_server_memory_usage>{memory}</max_server_memory_usage>
</clickhouse>
",
        escape(users)
    )
}

fn users(query_memory: u64) -> String {
    let values: String = FIXED.iter().map(|(name, value)| format!("<{name}>{value}</{name}>")).collect();
    let fixed: String = FIXED.iter().map(|(name, _)| format!("<{name}><readonly/></{name}>")).collect();
    format!(
        "<clickhouse>
    <profiles><default>
        <max_memory_usage>{query_memory}</max_memory_usage>{values}
        <constraints>
            <max_memory_usage><min>1</min><max>{query_memory}</max></max_memory_usage>{fixed}
        </constraints>
    </default></profiles>
    <quotas><default/></quotas>
    <users><default>
        <password/><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>
        <grants><query>GRANT {GRANTS} ON *.*</query></grants>
    </default></users>
</clickhouse>
"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}
