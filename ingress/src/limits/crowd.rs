//! How many counters each project has by the users, end users and sessions that it names: callers name whom they like, so a project
//! has so many in a window and no more. Knows nothing of what they count; is given the time.

use super::rules::Want;
use penstock_schemas::UnixMicros;
use penstock_schemas::cycle;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// How long counters of a minute, and of requests at once, are remembered: as long as their books are.
const SHORT: Duration = Duration::from_secs(300);

/// How long those of a day or a cycle are, after its end.
const AFTER_END: Duration = Duration::from_secs(2 * 24 * 3600);

/// The counters of every project.
pub(super) struct Crowd {
    most: usize,
    hasher: RandomState,
    /// By counter, window and project.
    groups: HashMap<(String, String), Group>,
}

struct Group {
    /// The hashes of their books' keys.
    books: HashSet<u64>,
    until: Option<UnixMicros>,
}

impl Crowd {
    pub(super) fn new(most: usize) -> Self {
        Self { most, hasher: RandomState::new(), groups: HashMap::new() }
    }

    /// Whether a counter would be one too many.
    pub(super) fn is_full_for(&self, want: &Want) -> bool {
        let Some(project) = &want.named_by else { return false };
        let group = self.groups.get(&(group(&want.book), project.to_string()));
        group.is_some_and(|group| {
            group.books.len() >= self.most && !group.books.contains(&self.hasher.hash_one(&want.book))
        })
    }

    /// A counter has a book.
    pub(super) fn note(&mut self, book: &str, project: &str, now: UnixMicros) {
        let key = (group(book), project.to_owned());
        if !self.groups.contains_key(&key) {
            self.groups.retain(|_, group| group.until.is_none_or(|until| now < until));
        }
        let hash = self.hasher.hash_one(book);
        let known = self.groups.entry(key).or_insert_with(|| Group { books: HashSet::new(), until: until(book, now) });
        known.books.insert(hash);
    }

    /// It has none any more.
    pub(super) fn forget(&mut self, book: &str) {
        let (hash, name) = (self.hasher.hash_one(book), group(book));
        for (_, group) in self.groups.iter_mut().filter(|((of, _), _)| *of == name) {
            group.books.remove(&hash);
        }
    }
}

/// Counter and window: the key of a book without whom it is for.
fn group(book: &str) -> String {
    let (counter, window) = (book.split('.').next().unwrap_or_default(), book.rsplit('.').next().unwrap_or_default());
    format!("{counter}.{window}")
}

fn until(book: &str, now: UnixMicros) -> Option<UnixMicros> {
    match cycle::span(book.rsplit('.').next().unwrap_or_default()) {
        Some((_, until)) => until.map(|until| until.after(AFTER_END)),
        None => Some(now.after(SHORT)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::counters::tests::want_of;
    use super::*;
    use penstock_schemas::name::ProjectId;

    fn want(book: &str, project: Option<&str>) -> Want {
        let named_by = project.map(|project| ProjectId::parse(project).unwrap());
        Want { book: book.to_owned(), named_by, ..want_of(1) }
    }

    #[test]
    fn a_project_has_so_many_counters_and_those_that_it_has_stay_usable() {
        let mut crowd = Crowd::new(2);
        let is_full = |crowd: &Crowd, book: &str, project| crowd.is_full_for(&want(book, Some(project)));
        for user in ["ann", "bob"] {
            assert!(!is_full(&crowd, &format!("B=b=7.{user}.2026-11"), "search"));
            crowd.note(&format!("B=b=7.{user}.2026-11"), "search", UnixMicros(1));
        }
        assert!(is_full(&crowd, "B=b=7.eve.2026-11", "search"));
        assert!(!is_full(&crowd, "B=b=7.ann.2026-11", "search"), "she has one");
        assert!(!is_full(&crowd, "B=b=7.eve.2026-11", "other"), "another project");
        assert!(!is_full(&crowd, "B=b=7.eve.2026-12", "search"), "another window");
        assert!(!is_full(&crowd, "B=c=7.eve.2026-11", "search"), "another budget");
        assert!(!crowd.is_full_for(&want("B=b=7.eve.2026-11", None)), "nobody is named by callers");
        crowd.forget("B=b=7.ann.2026-11");
        assert!(!is_full(&crowd, "B=b=7.eve.2026-11", "search"));
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let mut crowd = Crowd::new(2);
        let november = UnixMicros(1_795_374_000_000_000);
        let later = |days: u64| november.after(Duration::from_secs(days * 24 * 3600));
        for book in ["R=l=day.ann.2026-11-22", "R=l=minute.ann.202611221705", "B=b=7.ann.2026-11", "B=b=7.ann.all"] {
            crowd.note(book, "search", november);
        }
        let mut left = |now| {
            crowd.note(&format!("new{now}.x.all"), "search", UnixMicros(now));
            crowd.groups.len()
        };
        assert_eq!(left(november.0), 5);
        assert_eq!(left(later(1).0), 5, "that of the minute has gone");
        assert_eq!(left(later(5).0), 5, "and that of the day");
        assert_eq!(left(later(30).0), 5, "and that of the month");
    }
}
