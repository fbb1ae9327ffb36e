//! Who may do what on the bus: what each role publishes and subscribes to, and which streams it reads, as least as it needs.
//! `penstock nats-config` prints it for a nats-server, which then refuses everything else. Knows no server and no secret.

use penstock_schemas::name::ProviderId;
use penstock_schemas::subject::Subjects;

/// Who connects.
#[derive(Clone, Debug)]
pub(super) enum BusRole {
    /// HTTP in, bus out.
    Ingress,
    /// The pools of this provider, or of all.
    Worker(Option<ProviderId>),
    /// Events into ClickHouse.
    Analytics,
    /// The command line, and who makes the streams: everything.
    Operator,
}

/// What a role may publish and subscribe to. It may also answer, once, what it is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rights {
    /// Subjects, with wildcards.
    pub(super) publish: Vec<String>,
    /// The same.
    pub(super) subscribe: Vec<String>,
}

impl BusRole {
    /// The user that it connects as.
    pub(super) fn user(&self) -> String {
        match self {
            Self::Worker(Some(provider)) => format!("worker-{provider}"),
            role => role.word().to_owned(),
        }
    }

    /// The role, as a connection names it: what its inboxes begin with.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Worker(_) => "worker",
            Self::Analytics => "analytics",
            Self::Operator => "operator",
        }
    }
}

/// Everything below these words.
fn below<'a>(subjects: &'a Subjects, words: &'a [&str]) -> impl Iterator<Item = String> + 'a {
    words.iter().map(|word| format!("{}.{word}.>", subjects.prefix()))
}

/// What may be asked of JetStream about one stream.
struct Streams(Vec<String>);

impl Streams {
    fn api(&mut self, verbs: &[&str], stream: &str, rest: &str) {
        self.0.extend(verbs.iter().map(|verb| format!("$JS.API.{verb}.{stream}{rest}")));
    }

    /// That it is there, and how much is in it.
    fn look(mut self, streams: &[String]) -> Self {
        streams.iter().for_each(|stream| self.api(&["STREAM.INFO"], stream, ""));
        self
    }

    /// What is in it.
    fn read(mut self, streams: &[String]) -> Self {
        for stream in streams {
            self.api(&["STREAM.INFO", "STREAM.MSG.GET", "DIRECT.GET", "CONSUMER.CREATE"], stream, "");
            self.api(&["DIRECT.GET", "CONSUMER.CREATE"], stream, ".>");
            self.api(&["CONSUMER.INFO", "CONSUMER.MSG.NEXT", "CONSUMER.DELETE"], stream, ".*");
            self.0.push(format!("$JS.FC.{stream}.>"));
        }
        self
    }

    /// The same, as work that is acknowledged.
    fn work(mut self, streams: &[String]) -> Self {
        self = self.read(streams);
        self.0.extend(streams.iter().map(|stream| format!("$JS.ACK.{stream}.>")));
        self
    }

    /// And what is in it removed.
    fn clear(mut self, streams: &[String]) -> Self {
        streams.iter().for_each(|stream| self.api(&["STREAM.PURGE", "STREAM.MSG.DELETE"], stream, ""));
        self
    }

    /// The values of buckets, to be read.
    fn values(self, buckets: &[String]) -> Self {
        let streams: Vec<String> = buckets.iter().map(|bucket| format!("KV_{bucket}")).collect();
        self.read(&streams)
    }

    /// And to be changed.
    fn change(mut self, buckets: &[String]) -> Self {
        self.0.extend(buckets.iter().map(|bucket| format!("$KV.{bucket}.>")));
        self.values(buckets)
    }

    /// The objects of stores, to be read.
    fn objects(self, stores: &[String]) -> Self {
        let streams: Vec<String> = stores.iter().map(|store| format!("OBJ_{store}")).collect();
        self.read(&streams)
    }

    /// And to be written and removed.
    fn keep(mut self, stores: &[String]) -> Self {
        self.0.extend(stores.iter().map(|store| format!("$O.{store}.>")));
        let streams: Vec<String> = stores.iter().map(|store| format!("OBJ_{store}")).collect();
        self.clear(&streams).objects(stores)
    }
}

/// What every role writes: events, alerts, and what cannot be recorded.
const WRITTEN: [&str; 3] = ["dead", "alert", "query"];

/// What a role may.
pub(super) fn rights(names: &Subjects, role: &BusRole) -> Rights {
    let mut rights = match role {
        BusRole::Ingress => rights_of_ingress(names),
        BusRole::Worker(provider) => rights_of_worker(names, provider.as_ref()),
        BusRole::Analytics => rights_of_analytics(names),
        BusRole::Operator => {
            let all = || vec![">".to_owned()];
            return Rights { publish: all(), subscribe: all() };
        }
    };
    rights.publish.extend(below(names, &WRITTEN));
    rights.publish.extend([names.usage(), names.nobody()]);
    rights.subscribe.extend([format!("{}.>", names.inbox(role.word())), names.time()]);
    for list in [&mut rights.publish, &mut rights.subscribe] {
        list.sort();
        list.dedup();
    }
    rights
}

fn rights_of_ingress(names: &Subjects) -> Rights {
    let looked_at = [names.usage_stream(), names.dead_stream(), names.alerts_stream(), names.posts_stream()];
    let worked_on = [names.jobs_stream(), names.results_stream(), names.async_stream()];
    let read = [names.kept_stream(), names.cache_stream(), names.pieces_stream()];
    let changed = [
        names.keys_bucket(),
        names.directory_bucket(),
        names.secrets_bucket(),
        names.sessions_bucket(),
        names.pins_bucket(),
        names.arm_stops_bucket(),
        names.heads_bucket(),
        names.thresholds_bucket(),
        names.responses_bucket(),
        names.claims_bucket(),
        names.kept_sizes_bucket(),
        names.batches_bucket(),
        names.later_bucket(),
        names.files_bucket(),
        names.books_bucket(),
        names.rates_bucket(),
        names.day_rates_bucket(),
        names.leases_bucket(),
    ];
    let values = [names.models_bucket(), names.native_groups_bucket()];
    let kept = [names.bodies_bucket(), names.lines_bucket(), names.native_lines_bucket()];
    let Streams(mut publish) = Streams(Vec::new())
        .look(&looked_at)
        .work(&worked_on)
        .clear(&worked_on)
        .read(&read)
        .clear(&read)
        .change(&changed)
        .values(&values)
        .keep(&kept);
    publish.extend(below(names, &["call", "batch", "direct", "direct_batch", "native", "worker", "queue"]));
    publish.extend(below(names, &["post", "async", "job", "result", "cache", "piece"]));
    publish.push(names.resume());
    let mut subscribe: Vec<String> = below(names, &["reply", "kept", "pool", "queue", "more", "settled"]).collect();
    subscribe.extend([names.carry(), names.targets(), names.fleet(), names.cache_hit(), names.cache_report()]);
    Rights { publish, subscribe }
}

fn rights_of_worker(names: &Subjects, provider: Option<&ProviderId>) -> Rights {
    let provider = provider.map_or("*", ProviderId::as_str);
    let prefix = names.prefix();
    let Streams(mut publish) = Streams(Vec::new())
        .look(&[names.usage_stream(), names.dead_stream(), names.alerts_stream()])
        .change(&[names.models_bucket(), names.native_groups_bucket()])
        .values(&[names.directory_bucket()])
        .objects(&[names.bodies_bucket()])
        .keep(&[names.native_lines_bucket()]);
    // A call is passed on to the pool of its next link, whatever that is.
    publish.extend(below(names, &["call", "batch", "worker", "reply", "kept", "settled", "more"]));
    publish.push(format!("{prefix}.pool.{provider}"));
    let mut subscribe: Vec<String> = below(names, &["worker", "pool"]).collect();
    subscribe.extend(["call", "batch"].map(|word| format!("{prefix}.{word}.{provider}.*")));
    subscribe.extend(["direct", "direct_batch"].map(|word| format!("{prefix}.{word}.*.{provider}")));
    subscribe.extend([format!("{prefix}.native.{provider}"), names.resume()]);
    Rights { publish, subscribe }
}

fn rights_of_analytics(names: &Subjects) -> Rights {
    let worked_on = [names.usage_stream(), names.alerts_stream(), names.posts_stream()];
    let Streams(mut publish) = Streams(Vec::new())
        .work(&worked_on)
        .read(&[names.dead_stream()])
        .clear(&[names.dead_stream()])
        .change(&[names.books_bucket(), names.leases_bucket()])
        .values(&[names.directory_bucket(), names.keys_bucket()]);
    publish.extend(below(names, &["post"]));
    publish.push(names.carry());
    let subscribe: Vec<String> = below(names, &["query", "pool"]).collect();
    Rights { publish, subscribe }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_role_has_what_makes_another_one_useless() {
        let subjects = Subjects::new("ps").unwrap();
        let of = |role| rights(&subjects, &role);
        let has = |list: &[String], word: &str| list.iter().any(|subject| subject.contains(word));
        let (ingress, worker, analytics) = (of(BusRole::Ingress), of(BusRole::Worker(None)), of(BusRole::Analytics));
        assert!(!has(&ingress.subscribe, "usage") && !has(&ingress.publish, "CONSUMER.CREATE.ps_USAGE"));
        assert!(!has(&ingress.publish, ".reply.") && !has(&ingress.subscribe, ".call."));
        assert!(!has(&worker.publish, "_KEYS") && !has(&worker.publish, "$KV.ps_DIRECTORY"));
        assert!(!has(&analytics.publish, ".call.") && !has(&analytics.publish, "$KV.ps_KEYS"));
        for rights in [&ingress, &worker, &analytics] {
            assert!(!has(&rights.publish, "STREAM.CREATE") && !has(&rights.publish, "STREAM.UPDATE"));
            assert_eq!(rights.subscribe.iter().filter(|subject| subject.starts_with("_INBOX")).count(), 1);
        }
        let one = of(BusRole::Worker(Some(ProviderId::parse("house").unwrap())));
        assert!(one.subscribe.contains(&"ps.call.house.*".to_owned()) && !has(&one.subscribe, "call.*"));
    }

    /// The table of the documentation: each role with what it may, the questions to JetStream by their streams.
    fn table(subjects: &Subjects) -> String {
        let heads = "| role | publishes | subscribes to | reads the streams | looks at | empties |\n|---|---|---|---|---|---|\n";
        let cell = |list: Vec<&str>| list.iter().map(|subject| format!("`{subject}`")).collect::<Vec<_>>().join(" ");
        let mut table = heads.to_owned();
        for role in [BusRole::Ingress, BusRole::Worker(None), BusRole::Analytics, BusRole::Operator] {
            let Rights { publish, subscribe } = rights(subjects, &role);
            let asked = |verb: &str| -> Vec<&str> {
                publish
                    .iter()
                    .filter_map(|subject| subject.strip_prefix(verb))
                    .filter(|name| !name.contains('.'))
                    .collect()
            };
            let reads = asked("$JS.API.CONSUMER.CREATE.");
            let looks = asked("$JS.API.STREAM.INFO.").into_iter().filter(|name| !reads.contains(name)).collect();
            let own = publish.iter().map(String::as_str).filter(|subject| !subject.starts_with("$JS.")).collect();
            let cells =
                [own, subscribe.iter().map(String::as_str).collect(), reads, looks, asked("$JS.API.STREAM.PURGE.")];
            table += &format!("| {} | {} |\n", role.user(), cells.map(cell).join(" | "));
        }
        table
    }

    #[test]
    fn the_documentation_has_this_table() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/nats.md");
        let page = std::fs::read_to_string(file).unwrap();
        assert!(page.contains(&table(&Subjects::new("ps").unwrap())), "{}", table(&Subjects::new("ps").unwrap()));
    }
}
