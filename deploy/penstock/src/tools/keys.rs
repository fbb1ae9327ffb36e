//! `penstock keys`: virtual keys in NATS KV. A change takes effect in every ingress in under a second.

use super::manage::{Counter, print_done, told};
use super::objects::assigned;
use super::output::{print, write};
use crate::{Format, Place};
use penstock_ingress::keys;
use penstock_ingress::manage::{Force, Wish};
use penstock_runtime::config::parse_duration;
use penstock_runtime::{MasterKey, Secret, clock};
use penstock_schemas::UnixMicros;
use penstock_schemas::audit::Way;
use penstock_schemas::key::VirtualKey;
use penstock_schemas::kind::Kind;
use penstock_schemas::rfc3339;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

#[derive(clap::Subcommand)]
pub(crate) enum KeyCommand {
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
        /// Any other field, as FIELD=VALUE: rates.requests_per_minute=60
        fields: Vec<String>,
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
    /// Show one
    Show {
        /// The key's id
        id: String,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Change some fields of a key; an empty value takes a field away
    #[command(
        after_help = "Example:\n  penstock keys set key_1a2b3c4d5e models='openai/*' rates.requests_per_minute=60"
    )]
    Set {
        /// The key's id
        id: String,
        /// The fields, as FIELD=VALUE
        #[arg(required = true)]
        fields: Vec<String>,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Print a new master key, for PENSTOCK_MASTER_KEY
    Master,
}

pub(crate) async fn run(place: &Place, command: KeyCommand) -> anyhow::Result<ExitCode> {
    if matches!(command, KeyCommand::Master) {
        write(format!("{}\n", MasterKey::generate().reveal()).as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let bus = super::bus(place).await?;
    let (id, wish, what, format) = match command {
        KeyCommand::List { format } => {
            list(&bus.keys().await?.list().await?, format)?;
            return Ok(ExitCode::SUCCESS);
        }
        KeyCommand::Show { id, format } => {
            let counter = Box::pin(Counter::open(place, Way::Cli)).await?;
            let object = counter.objects.one(&counter.actor, Kind::Key, &id).await.map_err(told)?.0;
            let fields = object.as_object().into_iter().flatten();
            let rows: Vec<[String; 2]> = fields.map(|(name, value)| [name.clone(), value.to_string()]).collect();
            print(format, &["field", "value"], &rows, &object)?;
            return Ok(ExitCode::SUCCESS);
        }
        KeyCommand::Create { project, user, name, models, tags, expires, fields, format } => {
            let mut wish = assigned(Kind::Key, &fields)?;
            let expires_at = expires.map(|after| rfc3339::write(clock::now().after(after)));
            let texts = [("project", project), ("user", user), ("name", name), ("expires_at", expires_at)];
            for (field, text) in texts {
                if let Some(text) = text {
                    wish[field] = text.into();
                }
            }
            if !models.is_empty() {
                wish["models"] = models.into();
            }
            if !tags.is_empty() {
                wish["tags"] = Value::Object(tags.into_iter().map(|(name, value)| (name, value.into())).collect());
            }
            (String::new(), Wish::Create(wish), "created", Some(format))
        }
        KeyCommand::Set { id, fields, format } => {
            let wish = Wish::Merge(id.clone(), assigned(Kind::Key, &fields)?);
            (id, wish, "changed", Some(format))
        }
        KeyCommand::Rotate { id, overlap, format } => (id.clone(), Wish::Rotate(id, overlap), "rotated", Some(format)),
        KeyCommand::Disable { id } => (id.clone(), Wish::Merge(id, json!({ "disabled": true })), "disabled", None),
        KeyCommand::Enable { id } => (id.clone(), Wish::Merge(id, json!({ "disabled": false })), "enabled", None),
        KeyCommand::Revoke { id } => (id.clone(), Wish::Delete(id, Force::No), "revoked", None),
        KeyCommand::Master => unreachable!("it is answered above"),
    };
    let counter = Box::pin(Counter::open(place, Way::Cli)).await?;
    let done = Box::pin(counter.carry_out(Kind::Key, wish)).await?;
    match (format, &done.secret) {
        (Some(format), Some(secret)) => show_secret(&done.object, secret, format)?,
        (Some(format), None) => print_done(Kind::Key, &done, format)?,
        (None, _) => write(format!("{id} is {what}\n").as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn show_secret(key: &Value, secret: &Secret, format: Format) -> anyhow::Result<()> {
    let text = |name: &str| key[name].as_str().unwrap_or_default().to_owned();
    let row = [text("id"), text("project"), secret.reveal().to_owned()];
    let value = json!({ "id": key["id"], "project": key["project"], "key": secret.reveal() });
    print(format, &["id", "project", "key (shown only now)"], &[row], &value)
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
