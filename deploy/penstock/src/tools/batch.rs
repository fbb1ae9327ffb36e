//! `penstock batch`: a file of requests, sent, watched and fetched over the gateway's own API, as any client would.

mod client;
mod progress;
mod table;

use super::output::{print, write};
use crate::{Format, Place};
use anyhow::{Context, bail};
use client::GatewayClient;
use penstock_analytics::SqlFormat;
use penstock_clickhouse::FileFormat;
use progress::Progress;
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use table::{TableRow, TemplateOptions};
use tokio::time::sleep;

/// Between two looks at a batch that is watched.
const LOOK: Duration = Duration::from_secs(1);

/// How the gateway is reached.
#[derive(clap::Args)]
pub(crate) struct GatewayOptions {
    /// The gateway [default: that of the running `penstock up`]
    #[arg(long, env = "PENSTOCK_URL")]
    url: Option<String>,
    /// A virtual key
    #[arg(long, env = "PENSTOCK_KEY", hide_env_values = true)]
    key: Option<String>,
}

#[derive(clap::Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum BatchCommand {
    /// Send a file of requests, one JSON object a line, or a table whose rows become requests
    Submit(SubmitOptions),
    /// Send a request for each row of a SELECT
    FromSql(FromSqlOptions),
    /// Show a batch
    Status {
        /// Its id: batch_…
        id: String,
        /// Stay until it is over
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        gateway: GatewayOptions,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// List the batches of the key's project, the newest first
    List {
        /// So many
        #[arg(long, default_value_t = 20)]
        limit: u32,
        #[command(flatten)]
        gateway: GatewayOptions,
        /// How to print them
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Stop a batch; what was answered is kept
    Cancel {
        /// Its id: batch_…
        id: String,
        #[command(flatten)]
        gateway: GatewayOptions,
    },
    /// Fetch the answers of a batch, or with --errors what was not answered
    Result {
        /// Its id: batch_…
        id: String,
        /// Into this file, as a table if its name ends in .csv, .tsv or .parquet [default: standard output]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// The lines that were not answered, and why
        #[arg(long)]
        errors: bool,
        #[command(flatten)]
        gateway: GatewayOptions,
    },
    /// Send the lines of a batch that were not answered once more, as a new batch
    RetryFailed {
        /// The id of the batch: batch_…
        id: String,
        /// Stay until it is over
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        gateway: GatewayOptions,
    },
}

const EXAMPLES: &str = "\
Examples:
  penstock batch submit requests.jsonl --watch
  penstock batch submit words.csv --model demo/fast --prompt 'Translate into French: {word}' --id word --watch
  penstock batch from-sql \"SELECT request_id, model FROM attempts LIMIT 5\" --model demo/fast --prompt 'Who makes {model}?'
  penstock batch status batch_0193e6a07c2d7cc0800000000001
  penstock batch result batch_0193e6a07c2d7cc0800000000001 -o answers.jsonl    (or answers.csv, .tsv, .parquet)
  penstock sql \"SELECT sum(cost_usd) FROM attempts WHERE batch_id = 'batch_…'\"

A line: {\"custom_id\": \"1\", \"method\": \"POST\", \"url\": \"/v1/chat/completions\", \"body\": {\"model\": …, \"messages\": …}}";

#[derive(clap::Args)]
pub(crate) struct SubmitOptions {
    /// The file: lines of JSON, or a table by its name: .csv, .tsv, .parquet
    file: PathBuf,
    #[command(flatten)]
    template: TemplateOptions,
    #[command(flatten)]
    batch: NewBatchOptions,
}

#[derive(clap::Args)]
pub(crate) struct FromSqlOptions {
    /// A SELECT against the ledger, as `penstock sql` takes it
    statement: String,
    #[command(flatten)]
    template: TemplateOptions,
    #[command(flatten)]
    batch: NewBatchOptions,
}

/// What a new batch is to be.
#[derive(clap::Args)]
struct NewBatchOptions {
    /// The path that every line is for [default: the `url` of the first line, and of tables /v1/chat/completions]
    #[arg(long)]
    endpoint: Option<String>,
    /// In which time: 24h, 30m
    #[arg(long, default_value = "24h")]
    window: String,
    /// When it is to begin: 2027-01-01T08:00:00Z, or Unix seconds; its window counts from then [default: now]
    #[arg(long, value_name = "TIME")]
    run_at: Option<String>,
    /// Whether it goes before or after other batches of its project: low, normal or high [default: normal]
    #[arg(long)]
    priority: Option<String>,
    /// What to note with it: name=value; may be repeated
    #[arg(long = "metadata", value_name = "NAME=VALUE")]
    metadata: Vec<String>,
    /// Stay until it is over
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    gateway: GatewayOptions,
}

pub(crate) async fn run(place: &Place, command: BatchCommand) -> anyhow::Result<ExitCode> {
    match command {
        BatchCommand::Submit(submit) => {
            let client = GatewayClient::open(place, &submit.batch.gateway)?;
            self::submit(&client, &submit).await
        }
        BatchCommand::FromSql(options) => {
            let client = GatewayClient::open(place, &options.batch.gateway)?;
            let rows = selected(place, &options.statement).await?;
            submit_rows(&client, &rows, &options.template, &options.batch).await
        }
        BatchCommand::Status { id, watch, gateway, format } => {
            let client = GatewayClient::open(place, &gateway)?;
            let batch = client.batch(&id).await?;
            if watch { self::watch(&client, batch, format).await } else { show(format, &[batch]) }
        }
        BatchCommand::List { limit, gateway, format } => {
            let listed = GatewayClient::open(place, &gateway)?.get(&format!("/v1/batches?limit={limit}")).await?;
            show(format, listed["data"].as_array().map(Vec::as_slice).unwrap_or_default())
        }
        BatchCommand::Cancel { id, gateway } => {
            let batch =
                GatewayClient::open(place, &gateway)?.post(&format!("/v1/batches/{id}/cancel"), &json!({})).await?;
            say(&format!("{id} is {}", word(&batch, "status")))
        }
        BatchCommand::Result { id, output, errors, gateway } => {
            let client = GatewayClient::open(place, &gateway)?;
            result(&client, &id, output.as_deref(), errors).await
        }
        BatchCommand::RetryFailed { id, watch, gateway } => {
            let client = GatewayClient::open(place, &gateway)?;
            let batch = retry_failed(&client, &id).await?;
            begun(&client, batch, watch).await
        }
    }
}

async fn submit(client: &GatewayClient, options: &SubmitOptions) -> anyhow::Result<ExitCode> {
    let (file, template, batch) = (&options.file, &options.template, &options.batch);
    if let Some(format) = FileFormat::of(file) {
        return submit_rows(client, &table::read(file, format)?, template, batch).await;
    }
    if template.is_given() {
        return submit_rows(client, &table::read_lines(file)?, template, batch).await;
    }
    let endpoint = match &batch.endpoint {
        Some(endpoint) => endpoint.clone(),
        None => first_url(file)?,
    };
    let input = client.upload(file).await?;
    create(client, &input, &endpoint, batch).await
}

/// Sends a line for each row.
async fn submit_rows(
    client: &GatewayClient,
    rows: &[TableRow],
    template: &TemplateOptions,
    batch: &NewBatchOptions,
) -> anyhow::Result<ExitCode> {
    let endpoint = batch.endpoint.as_deref().unwrap_or("/v1/chat/completions");
    let lines = template.template(endpoint)?.lines(rows)?;
    let input = client.upload_bytes("rows.jsonl", lines).await?;
    create(client, &input, endpoint, batch).await
}

/// The rows of a SELECT against the ledger.
async fn selected(place: &Place, statement: &str) -> anyhow::Result<Vec<TableRow>> {
    let warehouse = super::warehouse(place)?;
    warehouse.answers().await?;
    let (mut answer, mut text) = (warehouse.sql(statement, SqlFormat::Json)?, Vec::new());
    while let Some(piece) = answer.next().await? {
        text.extend_from_slice(&piece);
    }
    serde_json::from_slice(&text).context("the answer to the statement is no list of rows")
}

async fn create(
    client: &GatewayClient,
    input: &str,
    endpoint: &str,
    options: &NewBatchOptions,
) -> anyhow::Result<ExitCode> {
    let mut metadata = Map::new();
    for pair in &options.metadata {
        let (name, value) =
            pair.split_once('=').with_context(|| format!("--metadata {pair}: write it as name=value"))?;
        metadata.insert(name.to_owned(), value.into());
    }
    let wish = json!({
        "input_file_id": input, "endpoint": endpoint, "completion_window": options.window, "metadata": metadata,
        "penstock": { "run_at": options.run_at, "priority": options.priority },
    });
    let batch = client.post("/v1/batches", &wish).await?;
    begun(client, batch, options.watch).await
}

async fn begun(client: &GatewayClient, batch: Value, is_watched: bool) -> anyhow::Result<ExitCode> {
    let id = word(&batch, "id");
    if is_watched {
        return watch(client, batch, Format::Table).await;
    }
    let standing = if batch["penstock"]["run_at"].is_null() { "has begun" } else { "begins when it is to" };
    say(&format!("{id} {standing}: `penstock batch status {id} --watch` shows how far it is"))
}

/// The path of the first line's request.
fn first_url(file: &Path) -> anyhow::Result<String> {
    let shown = file.display();
    let reader = BufReader::new(File::open(file).with_context(|| format!("{shown} cannot be opened"))?);
    let line = reader.lines().find(|line| line.as_ref().is_ok_and(|line| !line.trim().is_empty()));
    let line = line.with_context(|| format!("{shown} is empty"))?.with_context(|| format!("{shown} cannot be read"))?;
    let line: Value = serde_json::from_str(&line).unwrap_or_default();
    let url = line["url"].as_str().map(ToOwned::to_owned);
    url.with_context(|| format!("the first line of {shown} has no `url`: say --endpoint, such as /v1/chat/completions"))
}

/// Follows a batch to its end, and prints its progress to standard error.
async fn watch(client: &GatewayClient, mut batch: Value, format: Format) -> anyhow::Result<ExitCode> {
    let mut progress = Progress::begin(word(&batch, "id"));
    while !matches!(word(&batch, "status"), "completed" | "failed" | "expired" | "cancelled") {
        progress.tell(&batch)?;
        sleep(LOOK).await;
        batch = client.batch(word(&batch, "id")).await?;
    }
    progress.end()?;
    let is_whole = word(&batch, "status") == "completed" && batch["request_counts"]["failed"] == 0;
    show(format, std::slice::from_ref(&batch))?;
    if format == Format::Table {
        next_steps(&batch)?;
    }
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn next_steps(batch: &Value) -> anyhow::Result<()> {
    let id = word(batch, "id");
    for error in batch["errors"]["data"].as_array().into_iter().flatten().take(10) {
        let line = error["line"].as_u64().map_or_else(String::new, |line| format!("line {line}: "));
        write(format!("{line}{} ({})\n", word(error, "message"), word(error, "code")).as_bytes())?;
    }
    if batch["output_file_id"].is_string() {
        write(format!("penstock batch result {id} -o answers.jsonl    fetches the answers\n").as_bytes())?;
    }
    if batch["error_file_id"].is_string() {
        write(format!("penstock batch result {id} --errors            shows what was not answered\n").as_bytes())?;
    }
    Ok(())
}

fn show(format: Format, batches: &[Value]) -> anyhow::Result<ExitCode> {
    let rows: Vec<[String; 8]> = batches
        .iter()
        .map(|batch| {
            let count = |name: &str| batch["request_counts"][name].to_string();
            [
                word(batch, "id").to_owned(),
                word(batch, "status").to_owned(),
                count("total"),
                count("completed"),
                count("failed"),
                word(&batch["penstock"], "cost_usd").to_owned(),
                word(batch, "endpoint").to_owned(),
                word(&batch["penstock"], "paused").to_owned(),
            ]
        })
        .collect();
    let columns = ["id", "status", "lines", "answered", "failed", "cost_usd", "endpoint", "paused"];
    print(format, &columns, &rows, &batches)?;
    Ok(ExitCode::SUCCESS)
}

async fn result(client: &GatewayClient, id: &str, output: Option<&Path>, is_errors: bool) -> anyhow::Result<ExitCode> {
    let batch = client.batch(id).await?;
    if let Some((path, format)) = output.and_then(|path| Some((path, FileFormat::of(path)?))) {
        return result_table(client, &batch, path, format).await;
    }
    let (field, what) = if is_errors { ("error_file_id", "errors") } else { ("output_file_id", "answers") };
    let Some(file) = batch[field].as_str() else {
        bail!("{id} is {} and has no file with {what}", word(&batch, "status"));
    };
    match output {
        None => client.fetch(file, &mut std::io::stdout().lock()).await?,
        Some(path) => {
            let shown = path.display();
            let mut into = File::create(path).with_context(|| format!("{shown} cannot be made"))?;
            client.fetch(file, &mut into).await?;
            say(&format!("the {what} of {id} are in {shown}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a row for each line of a batch that is over, answered or not.
async fn result_table(
    client: &GatewayClient,
    batch: &Value,
    path: &Path,
    format: FileFormat,
) -> anyhow::Result<ExitCode> {
    let id = word(batch, "id");
    let files: Vec<&str> =
        ["output_file_id", "error_file_id"].iter().filter_map(|field| batch[*field].as_str()).collect();
    if files.is_empty() {
        bail!("{id} is {} and has no answers yet", word(batch, "status"));
    }
    let mut lines = Vec::new();
    for file in files {
        client.fetch(file, &mut lines).await?;
    }
    table::write(&lines, path, format)?;
    say(&format!("a row for each line of {id} is in {}", path.display()))
}

/// Sends the lines that have no answer as a new batch.
async fn retry_failed(client: &GatewayClient, id: &str) -> anyhow::Result<Value> {
    let batch = client.batch(id).await?;
    let Some(errors) = batch["error_file_id"].as_str() else { bail!("every line of {id} was answered") };
    let mut failed = Vec::new();
    client.fetch(errors, &mut failed).await?;
    let name_of = |line: &[u8]| {
        let line: Value = serde_json::from_slice(line).unwrap_or_default();
        line["custom_id"].as_str().map(ToOwned::to_owned)
    };
    let names: HashSet<String> = failed.split(|byte| *byte == b'\n').filter_map(name_of).collect();
    let mut input = Vec::new();
    client.fetch(word(&batch, "input_file_id"), &mut input).await?;
    let mut again = Vec::new();
    for line in input.split(|byte| *byte == b'\n') {
        if name_of(line).is_some_and(|name| names.contains(&name)) {
            again.write_all(line)?;
            again.push(b'\n');
        }
    }
    if again.is_empty() {
        bail!("no line of {id} that failed has a `custom_id`: mend the file and submit it again");
    }
    let file = client.upload_bytes("retry.jsonl", again).await?;
    let wish = json!({
        "input_file_id": file,
        "endpoint": batch["endpoint"],
        "completion_window": batch["completion_window"],
        "metadata": batch["metadata"],
    });
    client.post("/v1/batches", &wish).await
}

fn word<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn say(text: &str) -> anyhow::Result<ExitCode> {
    write(format!("{text}\n").as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
