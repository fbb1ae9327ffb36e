//! `penstock cache`: what is kept of answers, and its removal; the same as `/admin/v1/cache`.

use super::manage::{Counter, told};
use super::output::{print, write};
use crate::{Format, Place};
use penstock_schemas::audit::Way;
use penstock_schemas::cache::{CacheReport, NamespaceReport};
use std::process::ExitCode;

#[derive(clap::Subcommand)]
#[command(
    after_help = "Examples:\n  penstock cache stats --project search\n  penstock cache clear --project search --namespace faq"
)]
pub(crate) enum CacheCommand {
    /// What is kept, hit and saved, and how often semantic hits are wrong, by project and namespace
    Stats(StatsOptions),
    /// Removes the answers of a project, or of one of its namespaces, in every ingress
    Clear(ClearOptions),
}

#[derive(clap::Args)]
pub(crate) struct StatsOptions {
    /// Only those of this project
    #[arg(long)]
    project: Option<String>,
    /// Only those of this namespace
    #[arg(long)]
    namespace: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(clap::Args)]
pub(crate) struct ClearOptions {
    /// Whose
    #[arg(long)]
    project: String,
    /// Only those of this namespace
    #[arg(long)]
    namespace: Option<String>,
}

pub(crate) async fn run(place: &Place, command: &CacheCommand) -> anyhow::Result<ExitCode> {
    match command {
        CacheCommand::Stats(options) => Box::pin(stats(place, options)).await,
        CacheCommand::Clear(options) => Box::pin(clear(place, options)).await,
    }
}

async fn stats(place: &Place, options: &StatsOptions) -> anyhow::Result<ExitCode> {
    let mut caches = super::bus(place).await?.ask_cache_report().await?.caches;
    let is_wanted = |cache: &NamespaceReport| {
        options.project.as_ref().is_none_or(|project| *project == cache.project)
            && options.namespace.as_ref().is_none_or(|namespace| *namespace == cache.namespace)
    };
    caches.retain(is_wanted);
    let rows: Vec<[String; 10]> = caches.iter().map(row).collect();
    let head = [
        "project",
        "namespace",
        "entries",
        "bytes",
        "lookups",
        "hit rate",
        "saved",
        "checked",
        "false hits",
        "threshold",
    ];
    print(options.format, &head, &rows, &CacheReport { caches })?;
    Ok(ExitCode::SUCCESS)
}

fn row(cache: &NamespaceReport) -> [String; 10] {
    let percent = |rate: f64| format!("{:.2} %", rate * 100.0);
    let false_hits = &cache.false_hits;
    let measured = if false_hits.checked == 0 {
        String::new()
    } else {
        let [rate, low, high] = [false_hits.rate, false_hits.low, false_hits.high].map(percent);
        format!("{rate} ({low} to {high})")
    };
    let thresholds = cache.semantic.iter().map(|set| set.threshold);
    let (least, most) = thresholds.fold((1.0_f64, 0.0_f64), |(least, most), one| (least.min(one), most.max(one)));
    let threshold = match cache.semantic.len() {
        0 => String::new(),
        1 => format!("{most}"),
        sets => format!("{least} to {most} ({sets})"),
    };
    [
        cache.project.clone(),
        cache.namespace.clone(),
        cache.entries.to_string(),
        cache.bytes.to_string(),
        cache.lookups.to_string(),
        percent(cache.hit_rate),
        format!("${}", cache.saved_usd),
        false_hits.checked.to_string(),
        measured,
        threshold,
    ]
}

async fn clear(place: &Place, options: &ClearOptions) -> anyhow::Result<ExitCode> {
    let counter = Counter::open(place, Way::Cli).await?;
    let bus = super::bus(place).await?;
    let (project, namespace) = (options.project.as_str(), options.namespace.as_deref());
    let cleared = counter.objects.clear_cache(&counter.actor, &bus, project, namespace).await;
    cleared.map_err(told)?;
    Box::pin(counter.close()).await?;
    let of = namespace.map_or(String::new(), |namespace| format!(", namespace {namespace}"));
    write(format!("no cached answer of the project {project}{of} is used any more\n").as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
