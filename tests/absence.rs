//! What must not be in the sources, as DESIGN section 2 lists it: the walls between the packages, read from the code itself.
//! Comments and tests may say what they like; code may not.

mod arrows;
mod sources;

use sources::{Source, literals, packages, root, sources};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Fails with every place that `is_wrong` in the code below `folders`, but for the files that may.
fn nowhere(folders: &[&str], except: &[&str], why: &str, is_wrong: impl Fn(&str) -> bool) {
    let mut found = Vec::new();
    for source in folders.iter().flat_map(|folder| sources(folder)) {
        if !except.iter().any(|except| source.path.starts_with(except)) {
            found.extend(source.lines().filter(|(_, line)| is_wrong(line)).map(|(at, line)| place(&source, at, line)));
        }
    }
    assert!(found.is_empty(), "{why}:\n{}", found.join("\n"));
}

fn place(source: &Source, at: usize, line: &str) -> String {
    format!("{}:{at}: {}", source.path, line.trim())
}

/// Whether `word` stands in the line as a word of its own.
fn has_word(line: &str, word: &str) -> bool {
    let is_inside = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        !before.ends_with(is_inside) && !after.starts_with(is_inside)
    })
}

const ALL: [&str; 5] = ["schemas", "ingress", "workers", "analytics", "deploy"];

#[test]
fn only_the_runtime_names_async_nats() {
    nowhere(&ALL, &["schemas/runtime/"], "only schemas/runtime knows NATS", |line| has_word(line, "async_nats"));
    for package in packages().iter().filter(|package| package.path != "schemas/runtime") {
        assert!(!package.dependencies.contains("async-nats"), "{} depends on async-nats", package.path);
    }
}

#[test]
fn only_the_runtime_spawns_tasks() {
    // The embedded ClickHouse is a server of its own, and tracks its own.
    let except = ["schemas/runtime/src/life.rs", "analytics/clickhouse/"];
    let words =
        ["tokio::spawn", "task::spawn", "spawn_local", "spawn_blocking", "thread::spawn", "JoinSet", "TaskTracker"];
    nowhere(&ALL, &except, "tasks are spawned by Life alone: drain waits for these", |line| {
        words.iter().any(|word| has_word(line, word))
    });
}

#[test]
fn only_the_common_clock_makes_ids_that_hold_a_time() {
    let except = ["schemas/runtime/src/clock.rs"];
    let why = "the ledger is searched by the time in an id: a machine's clock may be a day off, `clock::id` is not";
    nowhere(&ALL, &except, why, |line| has_word(line, "now_v7"));
}

#[test]
fn the_names_on_the_bus_stand_in_one_file() {
    const FILE: &str = "schemas/src/subject.rs";
    let names = sources("schemas").into_iter().find(|source| source.path == FILE).expect("subject.rs is there");
    // `{}.call.{provider}.{operation}` has `.call.` for its own; `{}_USAGE` has `_USAGE`.
    let mut own: BTreeSet<String> = BTreeSet::new();
    for (_, line) in names.lines() {
        for literal in literals(line).into_iter().filter(|literal| literal.starts_with("{}")) {
            let pieces = literal.split(['{', '}']).filter(|piece| piece.starts_with(['.', '_']) && piece.len() > 1);
            own.extend(pieces.map(ToOwned::to_owned));
        }
    }
    assert!(own.contains(".call.") && own.contains("_KEYS") && own.len() >= 8, "{own:?}");
    // OpenTelemetry and systemd have names of their own in which the same words stand; and who may use a name must say it.
    let except = [
        FILE,
        "analytics/src/traces/spans.rs",
        "schemas/runtime/src/secret.rs",
        "deploy/penstock/src/tools/nats/rights.rs",
    ];
    nowhere(&ALL, &except, "subjects, streams and buckets are named in subject.rs alone", |line| {
        literals(line).iter().any(|literal| own.iter().any(|name| literal.contains(name.as_str())))
    });
}

#[test]
fn an_http_status_is_chosen_in_one_file() {
    let chooses = |line: &str| {
        let constant = |rest: &str| rest.starts_with(|c: char| c.is_ascii_uppercase());
        let mut named = line.split("StatusCode::").skip(1);
        named.any(|rest| constant(rest) || rest.starts_with("from_u16") || rest.starts_with("try_from"))
    };
    nowhere(&["ingress"], &["ingress/src/status.rs"], "statuses are chosen in status.rs alone", chooses);
}

#[test]
fn a_providers_name_stands_only_with_the_providers_and_in_the_catalogue() {
    // A dialect's name is no provider's, also where the provider that made it has the same: any package may say it.
    let dialects = ["openai", "anthropic", "google", "mistral", "cohere", "bedrock", "azure", "vertex"];
    let files = std::fs::read_dir(root().join("workers/catalogue")).expect("the catalogue is there").flatten();
    let names: Vec<String> = files
        .filter(|file| file.path().extension().is_some_and(|extension| extension == "toml"))
        .filter_map(|file| Some(file.path().file_stem()?.to_str()?.to_owned()))
        .filter(|name| !dialects.contains(&name.as_str()))
        .collect();
    assert!(names.len() > 80, "the catalogue has {} providers", names.len());
    // `up --demo` adds the simulator by its name, since nothing else may. In Cohere's answers `meta` is a field.
    let except = ["workers/src/providers/", "workers/src/catalogue/", "schemas/dialects/src/cohere/embed.rs"];
    nowhere(&ALL, &except, "providers are named under workers/src/providers and in the catalogue alone", |line| {
        literals(line).iter().any(|literal| {
            let first = literal.split('/').next().unwrap_or_default();
            names.iter().any(|name| first == name)
        })
    });
}

#[test]
fn only_analytics_knows_clickhouse() {
    nowhere(&["schemas", "ingress", "workers"], &[], "ClickHouse is named in analytics alone", |line| {
        line.to_lowercase().contains("clickhouse")
    });
    for package in packages().iter().filter(|package| !package.path.starts_with("analytics")) {
        assert!(!package.dependencies.contains("clickhouse"), "{} depends on clickhouse", package.path);
    }
}

#[test]
fn packages_depend_on_each_other_in_one_direction_only() {
    for (path, may) in [
        ("schemas", &[][..]),
        ("schemas/dialects", &["penstock-schemas"]),
        ("schemas/runtime", &["penstock-schemas"]),
        ("ingress", &["penstock-schemas", "penstock-runtime", "penstock-dialects", "penstock-semantic"]),
        ("ingress/semantic", &[]),
        ("workers", &["penstock-schemas", "penstock-runtime", "penstock-dialects", "penstock-local"]),
        ("workers/local", &[]),
        ("analytics", &["penstock-schemas", "penstock-runtime"]),
        ("analytics/clickhouse", &[]),
        ("tests/accepts", &[]),
    ] {
        let packages = packages();
        let package = packages.iter().find(|package| package.path == path).expect("the package is there");
        let ours = package.dependencies.iter().filter(|name| name.starts_with("penstock"));
        let wrong: Vec<&String> = ours.filter(|name| !may.contains(&name.as_str())).collect();
        assert!(wrong.is_empty(), "{path} depends on {wrong:?}");
    }
    let packages = packages();
    // The formats name headers, in the types of `http`.
    for (path, headers) in [("schemas", Some("http")), ("schemas/dialects", None)] {
        let pure = packages.iter().find(|package| package.path == path).expect("the package is there");
        let rims = ["tokio", "tokio-util", "async-nats", "reqwest", "hyper", "axum", "clickhouse", "tracing"];
        for name in rims.into_iter().chain(headers) {
            assert!(!pure.dependencies.contains(name), "{path} is pure, and depends on {name}");
        }
    }
    let whole: Vec<&str> = packages.iter().map(|package| package.path.as_str()).collect();
    assert_eq!(whole.len(), 12, "a new package: say here on whom it may depend. {whole:?}");
}

#[test]
fn a_wire_format_has_no_clock_of_its_own() {
    nowhere(&["schemas/dialects"], &[], "a format is given the time", |line| {
        has_word(line, "Instant") || has_word(line, "SystemTime")
    });
}

#[test]
fn no_module_takes_names_from_one_that_takes_names_from_it() {
    let all = packages();
    let circles: Vec<String> =
        all.iter().filter(|one| one.path != "tests").flat_map(|one| arrows::circles(&one.path)).collect();
    assert!(circles.is_empty(), "the first arrow of each is the cheapest to cut:\n{circles:#?}");
}

/// The public types of the workspace by their names, and where each stands. What only its own folder sees is none, and the
/// embedded ClickHouse is a server of its own.
fn public_types() -> BTreeMap<String, Vec<String>> {
    let mut types: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in
        ALL.iter().flat_map(|folder| sources(folder)).filter(|one| !one.path.starts_with("analytics/clickhouse/"))
    {
        for (at, line) in source.lines() {
            let item = line.trim_start().strip_prefix("pub ").or_else(|| line.trim_start().strip_prefix("pub(crate) "));
            let words = item.unwrap_or_default().split_once(' ');
            let Some((_, rest)) = words.filter(|(word, _)| ["struct", "enum", "trait", "type"].contains(word)) else {
                continue;
            };
            let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
            // A macro's names come from where it is called.
            if !name.is_empty() {
                types.entry(name.to_owned()).or_default().push(place(&source, at, line));
            }
        }
    }
    types
}

#[test]
fn a_public_type_has_a_name_of_its_own() {
    let types = public_types();
    assert!(types.len() > 400, "{} types", types.len());
    let repeated: Vec<_> = types.iter().filter(|(_, places)| places.len() > 1).collect();
    assert!(repeated.is_empty(), "a name that is taken: {repeated:#?}");
}

#[test]
fn every_file_says_first_what_it_is() {
    for source in ALL.iter().flat_map(|folder| sources(folder)) {
        assert!(source.text.starts_with("//! "), "{} does not", source.path);
    }
    assert!(Path::new(&root()).join("Cargo.toml").exists());
}
