//! `penstock keys`: virtual keys in NATS KV. A change takes effect in every ingress in under a second.

use super::output::{print, write};
use crate::{Format, Place};
use anyhow::bail;
use penstock_ingress::keys::{self, KeyWish};
use penstock_schemas::name::{KeyId, ProjectId};
use serde_json::json;
use std::process::ExitCode;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Make a key; the secret is shown once
    #[command(after_help = "Example:\n  penstock keys create --project search --models 'openai/*,chat'")]
    Create {
        /// Who pays [default: default]
        #[arg(long)]
        project: Option<String>,
        /// Who asks, when a request does not say
        #[arg(long)]
        user: Option<String>,
        /// What it is for
        #[arg(long)]
        name: Option<String>,
        /// The models it may use, `*` standing for any characters [default: all]
        #[arg(long, value_delimiter = ',')]
        models: Vec<String>,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// List the keys; the secrets are not kept
    List {
        /// How to print them
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Revoke a key, in every ingress in under a second
    Revoke {
        /// The key's id, as `penstock keys list` shows it
        id: String,
    },
}

pub(crate) async fn run(place: &Place, command: Command) -> anyhow::Result<ExitCode> {
    let bucket = super::bus(place).await?.keys().await?;
    match command {
        Command::Create { project, user, name, models, format } => {
            let project = project.map(ProjectId::parse).transpose()?;
            let (key, secret) = keys::create(&bucket, KeyWish { project, user, name, models }).await?;
            let row = [key.id.to_string(), key.project.to_string(), secret.reveal().to_owned()];
            let value = json!({ "id": key.id, "project": key.project, "key": secret.reveal() });
            print(format, &["id", "project", "key (shown only now)"], &[row], &value)?;
        }
        Command::List { format } => {
            let keys = bucket.list().await?;
            let rows: Vec<[String; 6]> = keys
                .iter()
                .map(|key| {
                    let models = if key.models.is_empty() { "all".to_owned() } else { key.models.join(",") };
                    let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
                    let prefix = format!("{}…", key.prefix);
                    [
                        key.id.to_string(),
                        key.project.to_string(),
                        or_none(&key.user),
                        or_none(&key.name),
                        models,
                        prefix,
                    ]
                })
                .collect();
            print(format, &["id", "project", "user", "name", "models", "key"], &rows, &keys)?;
        }
        Command::Revoke { id } => {
            if !keys::revoke(&bucket, &KeyId::parse(id.clone())?).await? {
                bail!("there is no key {id}: `penstock keys list` shows those that are");
            }
            write(format!("{id} is revoked\n").as_bytes())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
