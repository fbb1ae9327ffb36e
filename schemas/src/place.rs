//! Every key that is made of several names, in one place: of kept responses, claims, messages, parts of counters. No two
//! lists of names make the same key; those of counters are in `book`, those of the bus in `subject`. Knows nothing of what
//! is kept there.

use crate::hex;
use crate::name::{ProcessId, ProjectId, RequestId};
use sha2::{Digest, Sha256};
use std::fmt::Display;
use uuid::Uuid;

/// How much of a digest names a part of a counter, in bytes. A second user with the part of a given one is found in 2^64
/// tries.
const PART: usize = 8;

/// The same for a namespace of the cache.
const NAMESPACE: usize = 16;

/// What the names of stored chat completions begin with.
const COMPLETION: &str = "chat_";

/// Where a project keeps something: a response, or what it was asked.
pub fn response(project: &ProjectId, name: &str) -> String {
    format!("{project}.{name}")
}

/// What the response `id` was asked, by its name within the project.
pub fn input(id: &str) -> String {
    format!("{id}.input")
}

/// A stored chat completion, by its name within the project: its id is a provider's, which may be anything.
pub fn completion(id: &str) -> String {
    format!("{COMPLETION}{}", digest(&[id.as_bytes()]))
}

/// Whether a name within a project is that of a stored chat completion, and of no piece of one.
pub fn is_completion(name: &str) -> bool {
    name.starts_with(COMPLETION) && !name.contains('.')
}

/// One writing of a value that is kept in pieces.
pub fn version(key: &str, version: Uuid) -> String {
    format!("{key}.{}", version.simple())
}

/// One of its pieces.
pub fn piece(version: &str, at: usize) -> String {
    format!("{version}.{at}")
}

/// What is known of a project's file, or of an upload, by its id.
pub fn file(project: &ProjectId, id: impl Display) -> String {
    format!("{project}.{id}")
}

/// What tells two copies of a post to a webhook from two posts.
pub fn post(id: impl Display, webhook: &str) -> String {
    format!("{id}/{webhook}")
}

/// Where it is noted how many bytes an answer takes that is kept: by its project, and by what its frames are kept under.
pub fn kept_answer(project: &ProjectId, ingress: &ProcessId, request: RequestId, bytes: u64) -> String {
    format!("{project}.{ingress}.{request}.{bytes}")
}

/// What such a key says.
pub fn kept_answer_parts(key: &str) -> Option<(&str, ProcessId, RequestId, u64)> {
    let mut parts = key.split('.');
    let (project, ingress, request, bytes) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_whole = parts.next().is_none();
    let (ingress, request) = (ProcessId::parse(ingress).ok()?, RequestId::parse(request)?);
    bytes.parse().ok().filter(|_| is_whole).map(|bytes| (project, ingress, request, bytes))
}

/// Where a caller's key for a request is claimed: no project meets another's, and no kind of key another kind.
pub fn claim(project: &ProjectId, kind: &str, key: &str) -> String {
    digest(&[project.as_str(), kind, key].map(str::as_bytes))
}

/// The token of a subject that stands for a namespace of the cache: whatever its caller calls it, it names no other.
pub fn namespace(name: &str) -> String {
    hex::write(&hash(&[name.as_bytes()])[..NAMESPACE])
}

/// Which of a limit's counters it is, by the values that it counts for.
pub fn part(values: &[&str]) -> String {
    let values: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
    hex::write(&hash(&values)[..PART])
}

/// A digest of several parts: what is moved from one into its neighbour makes another.
pub fn digest(parts: &[&[u8]]) -> String {
    hex::write(&hash(parts))
}

/// The same as bytes.
pub fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UnixMicros;
    use crate::alert::{Alert, AlertKind};
    use crate::book::Counter;
    use crate::conversation::{conversation_id, response_id};
    use crate::envelope::{Operation, Traffic};
    use crate::name::AlertId;
    use crate::name::{ProcessId, ProviderId, RequestId};
    use crate::subject::Subjects;
    use std::collections::HashMap;

    /// All texts of up to `longest` of these characters.
    fn texts(characters: &str, longest: usize) -> Vec<String> {
        let mut all = vec![String::new()];
        let mut last = all.clone();
        for _ in 0..longest {
            let longer = |text: &String| characters.chars().map(|c| format!("{text}{c}")).collect::<Vec<_>>();
            last = last.iter().flat_map(longer).collect();
            all.extend(last.iter().cloned());
        }
        all
    }

    /// All names of up to `longest` characters, of those that makers of keys might take for their own.
    fn names(longest: usize) -> Vec<String> {
        texts("a_-", longest).split_off(1)
    }

    /// Keys, and what each was made of.
    #[derive(Default)]
    struct Made(HashMap<String, String>);

    impl Made {
        fn add(&mut self, key: String, of: String) {
            let text = format!("{key} is made of {of}");
            assert_eq!(self.0.insert(key, of), None, "{text}");
        }
    }

    #[test]
    fn no_two_counters_share_a_book() {
        let (mut made, mut labels) = (Made::default(), Made::default());
        let names = names(3);
        let whats = ["requests-per-day", "a", "at-once"].map(str::to_owned);
        let mut counters: Vec<Counter<'_>> = names.iter().map(|name| Counter::Budget(name, None)).collect();
        for one in &names {
            counters.extend(names.iter().map(|two| Counter::OfKey(one, two, None)));
            counters.extend(names.iter().map(|two| Counter::Budget(one, Some(two))));
            counters.extend(names.iter().map(|two| Counter::OfKey(one, two, Some("1a"))));
            counters.extend(whats.iter().flat_map(|what| [Counter::Rate(one, what), Counter::RateOfKey(one, what)]));
        }
        for counter in counters {
            for part in [None, Some("a"), Some("all")] {
                for window in ["all", "a", "2026-11"] {
                    made.add(counter.key(part, window), format!("{counter:?} {part:?} {window}"));
                }
            }
            if matches!(counter, Counter::Budget(_, None) | Counter::OfKey(_, _, None)) {
                labels.add(counter.label(), format!("{counter:?}"));
            }
        }
        assert!(made.0.len() > 10_000);
    }

    #[test]
    fn no_two_values_share_a_part_of_a_counter_and_no_two_requests_a_claim() {
        let (mut parts, mut claims) = (Made::default(), Made::default());
        let texts = texts("a.,\0", 3);
        for one in &texts {
            parts.add(part(&[one]), format!("{one:?}"));
            for two in &texts {
                parts.add(part(&[one, two]), format!("{one:?} {two:?}"));
            }
        }
        for project in names(3) {
            let project = ProjectId::parse(project).unwrap();
            for (kind, key) in ["key", "call"].into_iter().flat_map(|kind| texts.iter().map(move |key| (kind, key))) {
                claims.add(claim(&project, kind, key), format!("{project} {kind} {key:?}"));
            }
        }
        assert!(parts.0.len() + claims.0.len() > 10_000);
    }

    #[test]
    fn the_place_of_a_kept_answer_says_all_of_it() {
        let (project, ingress) = (ProjectId::parse("p").unwrap(), ProcessId::parse("i").unwrap());
        let request = RequestId(Uuid::from_u128(7));
        let key = kept_answer(&project, &ingress, request, 42);
        assert_eq!(kept_answer_parts(&key), Some(("p", ingress, request, 42)));
        for wrong in ["", "p", "p.i.x.42", &format!("{key}.1"), &key.replace(".42", ".x")] {
            assert_eq!(kept_answer_parts(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn no_two_values_are_kept_in_one_place() {
        let mut made = Made::default();
        for project in names(3) {
            let project = ProjectId::parse(project).unwrap();
            for request in 0..3 {
                let request = RequestId(Uuid::from_u128(request));
                let id = response_id(request);
                for name in [id.clone(), input(&id), conversation_id(request), completion(&id)] {
                    let key = response(&project, &name);
                    for at in 0..3_usize {
                        for written in 0..3 {
                            let written = version(&key, Uuid::from_u128(written));
                            made.add(piece(&written, at), format!("{project} {name} {written} {at}"));
                        }
                    }
                    made.add(key, format!("{project} {name}"));
                }
            }
        }
        assert!(made.0.len() > 2_000);
    }

    #[test]
    fn no_two_alerts_and_no_two_posts_have_one_id() {
        let (mut ids, mut posts) = (Made::default(), Made::default());
        let texts = texts("a/", 2);
        for kind in AlertKind::ALL {
            for (subject, mark) in texts.iter().flat_map(|one| texts.iter().map(move |two| (one, two))) {
                for window in &texts {
                    let id = Alert::new(kind, subject, mark, window, UnixMicros(0)).id;
                    ids.add(id.to_string(), format!("{kind:?} {subject} {mark} {window}"));
                }
            }
        }
        for (alert, webhook) in
            (0..50).flat_map(|id| texts.iter().map(move |hook| (AlertId(Uuid::from_u128(id)), hook)))
        {
            posts.add(post(alert, webhook), format!("{alert} {webhook}"));
        }
    }

    /// Every stream, bucket and object store, by the stream that it is.
    fn streams_of(names_of: &Subjects) -> Vec<String> {
        let kv = |bucket: String| format!("KV_{bucket}");
        vec![
            names_of.usage_stream(),
            names_of.kept_stream(),
            names_of.alerts_stream(),
            names_of.posts_stream(),
            kv(names_of.claims_bucket()),
            kv(names_of.kept_sizes_bucket()),
            kv(names_of.books_bucket()),
            kv(names_of.rates_bucket()),
            kv(names_of.day_rates_bucket()),
            kv(names_of.leases_bucket()),
            kv(names_of.directory_bucket()),
            kv(names_of.keys_bucket()),
            kv(names_of.secrets_bucket()),
            kv(names_of.models_bucket()),
            kv(names_of.responses_bucket()),
            kv(names_of.later_bucket()),
            kv(names_of.files_bucket()),
            names_of.pieces_stream(),
            format!("OBJ_{}", names_of.bodies_bucket()),
            kv(names_of.native_groups_bucket()),
            format!("OBJ_{}", names_of.native_lines_bucket()),
        ]
    }

    #[test]
    fn no_two_things_share_a_subject_or_a_stream() {
        let (mut subjects, mut streams) = (Made::default(), Made::default());
        for prefix in names(3) {
            let names_of = Subjects::new(&prefix).unwrap();
            streams_of(&names_of).into_iter().for_each(|stream| streams.add(stream, prefix.clone()));
            let fixed = [names_of.usage(), names_of.spend(), names_of.audit(), names_of.reprice(), names_of.forecast()];
            let others =
                [names_of.targets(), names_of.proof(), names_of.alerts_asked(), names_of.nobody(), names_of.post("w")];
            for subject in fixed.into_iter().chain(others).chain([names_of.time(), names_of.carry()]) {
                subjects.add(subject.clone(), subject);
            }
            for (content, at) in (0..3).flat_map(|content| (0..12).map(move |at| (content, at))) {
                subjects.add(names_of.piece(Uuid::from_u128(content), at), format!("{prefix} piece {content} {at}"));
            }
            for one in names(2) {
                let (process, provider) =
                    (ProcessId::parse(one.clone()).unwrap(), ProviderId::parse(one.clone()).unwrap());
                let request = RequestId(Uuid::from_u128(one.len() as u128));
                for (what, subject) in [
                    ("call", names_of.call(&provider, Operation::Chat, Traffic::Sync)),
                    ("call of a batch", names_of.call(&provider, Operation::Chat, Traffic::Batch)),
                    ("call of another sort", names_of.call(&provider, Operation::Embeddings, Traffic::Sync)),
                    ("pool", names_of.pool(&provider)),
                    ("native batch", names_of.native(&provider)),
                    ("reply", names_of.reply(&process, request)),
                    ("kept reply", names_of.kept_reply(&process, request)),
                    ("control", names_of.control(&process, request)),
                    ("more", names_of.more(&process)),
                    ("settled", names_of.settled(&process)),
                ] {
                    subjects.add(subject, format!("{prefix} {what} {one}"));
                }
                for two in names(2) {
                    let provider = ProviderId::parse(two.clone()).unwrap();
                    for traffic in [Traffic::Sync, Traffic::Batch] {
                        let what = format!("{prefix} direct {traffic:?} {one} {two}");
                        subjects.add(names_of.direct(&process, &provider, traffic), what);
                    }
                }
            }
        }
    }
}
