//! `penstock keys`: virtual keys in NATS KV. A change takes effect in every ingress in under a second.

use super::output::{print, write};
use crate::config::Config;
use crate::{Format, Place};
use anyhow::{Context, bail};
use penstock_ingress::keys::{self, KeyWish, Keys};
use penstock_runtime::config::parse_duration;
use penstock_runtime::{MasterKey, Secret, clock};
use penstock_schemas::UnixMicros;
use penstock_schemas::key::VirtualKey;
use penstock_schemas::name::{KeyId, ProjectId};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Make a key; the secret is shown once
    #[command(after_help = "Example:\n  penstock keys create --project search --models 'openai/*,chat' --expires 90d")]
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
        /// Tags that every request with it gets: team=web
        #[arg(long, value_delimiter = ',', value_parser = tag)]
        tags: Vec<(String, String)>,
        /// After what time it is refused: 12h, 90d [default: never]
        #[arg(long, value_parser = span)]
        expires: Option<Duration>,
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
    /// Give a key a new secret, shown once; the older one holds for a while
    Rotate {
        /// The key's id, as `penstock keys list` shows it
        id: String,
        /// How long the older secret holds: 30m, 24h, 7d; 0 for not at all
        #[arg(long, value_parser = span, default_value = "24h")]
        overlap: Duration,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Refuse a key until it is enabled again; what is in flight with it ends
    Disable {
        /// The key's id
        id: String,
    },
    /// Take a key again that was disabled
    Enable {
        /// The key's id
        id: String,
    },
    /// Revoke a key, in every ingress in under a second; what is in flight with it ends
    Revoke {
        /// The key's id
        id: String,
    },
    /// Print a new master key, for PENSTOCK_MASTER_KEY
    Master,
}

pub(crate) async fn run(place: &Place, command: Command) -> anyhow::Result<ExitCode> {
    if matches!(command, Command::Master) {
        write(format!("{}\n", MasterKey::generate().reveal()).as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let keys = Keys::open(&super::bus(place).await?, Config::load(place, &[])?.ingress.hash_seal.as_ref()).await?;
    match command {
        Command::Create { project, user, name, models, tags, expires, format } => {
            let project = project.map(ProjectId::parse).transpose()?;
            let expires_at = expires.map(|after| clock::now().after(after));
            let tags = tags.into_iter().collect();
            let wish = KeyWish { project, user, name, models, tags, expires_at, ..KeyWish::default() };
            let (key, secret) = keys.create(wish).await?;
            show_secret(&key, &secret, format)?;
        }
        Command::List { format } => list(&keys.bucket().list().await?, format)?,
        Command::Rotate { id, overlap, format } => {
            let rotated = keys.rotate(&KeyId::parse(id.clone())?, overlap).await?;
            let (key, secret) = rotated.with_context(|| unknown(&id))?;
            show_secret(&key, &secret, format)?;
        }
        Command::Disable { id } => switch(&keys, &id, |key| key.disabled = true, "disabled").await?,
        Command::Enable { id } => switch(&keys, &id, |key| key.disabled = false, "enabled").await?,
        Command::Revoke { id } => {
            if !keys.revoke(&KeyId::parse(id.clone())?).await? {
                bail!(unknown(&id));
            }
            write(format!("{id} is revoked\n").as_bytes())?;
        }
        Command::Master => unreachable!("it is answered above"),
    }
    Ok(ExitCode::SUCCESS)
}

fn unknown(id: &str) -> String {
    format!("there is no key {id}: `penstock keys list` shows those that are")
}

fn show_secret(key: &VirtualKey, secret: &Secret, format: Format) -> anyhow::Result<()> {
    let row = [key.id.to_string(), key.project.to_string(), secret.reveal().to_owned()];
    let value = json!({ "id": key.id, "project": key.project, "key": secret.reveal() });
    print(format, &["id", "project", "key (shown only now)"], &[row], &value)
}

async fn switch(keys: &Keys, id: &str, edit: impl Fn(&mut VirtualKey), what: &str) -> anyhow::Result<()> {
    keys.change(&KeyId::parse(id)?, edit).await?.with_context(|| unknown(id))?;
    write(format!("{id} is {what}\n").as_bytes())
}

fn list(keys: &[VirtualKey], format: Format) -> anyhow::Result<()> {
    let now = clock::now();
    let rows: Vec<[String; 7]> = keys
        .iter()
        .map(|key| {
            let models = if key.models.is_empty() { "all".to_owned() } else { key.models.join(",") };
            let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
            [
                key.id.to_string(),
                key.project.to_string(),
                or_none(&key.user),
                or_none(&key.name),
                models,
                secrets(key, now),
                standing(key, now),
            ]
        })
        .collect();
    let value: Vec<Value> = keys.iter().map(keys::shown).collect();
    print(format, &["id", "project", "user", "name", "models", "key", "state"], &rows, &value)
}

/// `psk_new1… psk_old1… (23h left)`.
fn secrets(key: &VirtualKey, now: UnixMicros) -> String {
    let holds = key.all_secrets().into_iter().rev().filter(|secret| secret.until.is_none_or(|until| now < until));
    let one = holds.map(|secret| match secret.until {
        None => format!("{}…", secret.prefix),
        Some(until) => format!("{}… ({} left)", secret.prefix, left(until.since(now))),
    });
    one.collect::<Vec<_>>().join(" ")
}

fn standing(key: &VirtualKey, now: UnixMicros) -> String {
    match key.expires_at {
        _ if key.disabled => "disabled".to_owned(),
        Some(until) if until <= now => "expired".to_owned(),
        Some(until) => format!("{} left", left(until.since(now))),
        None => "good".to_owned(),
    }
}

fn left(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds >= 2 * 86_400 => format!("{}d", seconds / 86_400),
        seconds if seconds >= 2 * 3_600 => format!("{}h", seconds / 3_600),
        seconds => format!("{}m", seconds.div_ceil(60)),
    }
}

/// Reads `0`, `90s`, `24h`, `7d`.
fn span(text: &str) -> Result<Duration, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse().ok()).map(|days: u32| 86_400 * u64::from(days));
    let found = days.map(Duration::from_secs).or_else(|| parse_duration(text));
    found.or((text == "0").then_some(Duration::ZERO)).ok_or_else(|| "write a time such as 30m, 24h or 7d".to_owned())
}

fn tag(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}
