//! Structured logs. `PENSTOCK_LOG` holds what is logged and how: `debug`, `json,info`, `human,penstock_workers=debug`.
//! Knows nothing of what the lines say; whoever writes one keeps prompts and keys out of it.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// What `PENSTOCK_LOG` asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    json: Option<bool>,
    filter: String,
}

fn read(text: &str) -> Wish {
    let mut wish = Wish { json: None, filter: String::new() };
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match part {
            "json" => wish.json = Some(true),
            "human" => wish.json = Some(false),
            directive if wish.filter.is_empty() => directive.clone_into(&mut wish.filter),
            directive => wish.filter = format!("{},{directive}", wish.filter),
        }
    }
    if wish.filter.is_empty() {
        "info,async_nats=warn".clone_into(&mut wish.filter);
    }
    wish
}

/// Starts logging to standard error: for people on a terminal, as JSON lines elsewhere, unless `wish` says otherwise.
///
/// # Errors
/// When `wish` is not a filter.
pub fn start(wish: &str) -> Result<(), ParseError> {
    let wish = read(wish);
    let filter = EnvFilter::try_new(&wish.filter)?;
    let terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process keeps the first: only tests do that.
    let _ = if wish.json.unwrap_or(!terminal) {
        lines.json().flatten_event(true).with_ansi(false).try_init()
    } else {
        lines.with_ansi(terminal).with_target(false).try_init()
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_and_filter_may_be_mixed() {
        let wish = |json, filter: &str| Wish { json, filter: filter.to_owned() };
        assert_eq!(read(""), wish(None, "info,async_nats=warn"));
        assert_eq!(read("json"), wish(Some(true), "info,async_nats=warn"));
        assert_eq!(read("warn, human ,x=debug"), wish(Some(false), "warn,x=debug"));
    }
}
