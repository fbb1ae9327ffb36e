//! Heals budgets: the share of an ingress that is gone is replaced by what the ledger says that it spent, attempts of
//! workers that are gone are given up, and books of cycles that are long over are removed. Answers what the ledger can
//! prove. Where a living ingress and the ledger differ though nothing is in flight, somebody is told. Knows no limit.

use crate::freshness::Freshness;
use crate::metrics::AnalyticsMetrics;
use crate::proof::{SpentByBook, SpentByLease};
use crate::warehouse::Warehouse;
use futures_util::{StreamExt, stream};
use penstock_runtime::bus::{Alarm, Bucket, Bus, BusError, Change};
use penstock_runtime::clock;
use penstock_runtime::health::Health;
use penstock_schemas::UnixMicros;
use penstock_schemas::alert::Alert;
use penstock_schemas::book::Book;
use penstock_schemas::budget::Unit;
use penstock_schemas::cycle;
use penstock_schemas::name::ProcessId;
use penstock_schemas::reservation::{Amounts, Lease, LeaseId, Proof, ProofWanted, Proven};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};
use uuid::Uuid;

/// Silence after which an ingress or a worker is gone. An ingress that cannot be heard takes itself for gone sooner.
const SILENCE: Duration = Duration::from_secs(15);

/// Between two looks.
const LOOK: Duration = Duration::from_secs(2);

/// Looks that are missed before what was heard no longer counts: this process may have been asleep.
const ASLEEP: Duration = Duration::from_secs(6);

/// Between two comparisons of all books with the ledger.
const COMPARE: Duration = Duration::from_secs(60);

/// Longest wait until everything that was written has come into ClickHouse.
const PASSING: Duration = Duration::from_secs(8);

/// Books that are changed at once.
const AT_ONCE: usize = 32;

/// How long a book is kept when its cycle is over.
const KEPT: Duration = Duration::from_secs(2 * 24 * 3600);

/// Looks after the budgets. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Healer {
    bus: Bus,
    warehouse: Warehouse,
    freshness: Freshness,
    metrics: AnalyticsMetrics,
    books: Bucket<Book>,
    leases: Bucket<Lease>,
    alarm: Alarm,
    known: Arc<Mutex<Known>>,
}

struct Known {
    books: BTreeMap<String, Book>,
    leases: HashMap<LeaseId, Instant>,
    workers: HashMap<ProcessId, Instant>,
    /// Since when nothing that was said can have been missed.
    listening: Instant,
}

impl Healer {
    /// Begins to look after them, as long as the role lives.
    pub(crate) async fn start(
        bus: &Bus,
        warehouse: &Warehouse,
        freshness: Freshness,
        metrics: &AnalyticsMetrics,
    ) -> Result<(), BusError> {
        let known = Known {
            books: BTreeMap::new(),
            leases: HashMap::new(),
            workers: HashMap::new(),
            listening: Instant::now(),
        };
        let healer = Self {
            bus: bus.clone(),
            warehouse: warehouse.clone(),
            freshness,
            metrics: metrics.clone(),
            books: bus.books().await?,
            leases: bus.leases().await?,
            alarm: bus.alarm(),
            known: Arc::new(Mutex::new(known)),
        };
        let (books, leases, workers, asked) = (healer.clone(), healer.clone(), healer.clone(), healer.clone());
        healer.books.follow(move |change| match change {
            Change::Put(key, book) => drop(books.known().books.insert(key, book)),
            Change::Deleted(key) => drop(books.known().books.remove(&key)),
            Change::Current => {}
        });
        healer.leases.follow(move |change| leases.known().hear_lease(change));
        Health::follow(bus, move |state| {
            workers.known().workers.insert(state.worker.clone(), Instant::now());
        })
        .await?;
        bus.answer_proof(move |wanted| {
            let healer = asked.clone();
            async move { healer.prove(wanted).await }
        })
        .await?;
        bus.life().service("budgets", healer.run());
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self) {
        let mut compared = Instant::now();
        let mut differing = HashMap::new();
        loop {
            let slept = Instant::now();
            sleep(LOOK).await;
            let now = Instant::now();
            if !self.bus.is_connected() || now.duration_since(slept) > ASLEEP {
                self.known().listening = now;
            }
            let is_due = now.duration_since(compared) > COMPARE;
            if is_due {
                compared = now;
            }
            if let Err(error) = self.look(is_due, &mut differing).await {
                warn!(error, "budgets could not be looked after; they will be");
            }
        }
    }

    /// Gives up what is gone, and heals the books that it stood in; all books, when a comparison is due. One question goes to
    /// the ledger for all books of a window, however many there are.
    async fn look(&self, is_due: bool, differing: &mut HashMap<(String, LeaseId), u64>) -> Result<(), String> {
        let Some((workers, books)) = self.due(is_due) else { return Ok(()) };
        let before = UnixMicros(clock::now().0.saturating_sub(micros(SILENCE)));
        let given_up = self.warehouse.give_up(&workers, before).await.map_err(text)?;
        if given_up > 0 {
            warn!(attempts = given_up, "attempts of workers that are gone count at their worst case");
        }
        let books = self.without_ended(books).await?;
        // Whose leases are over is known first: whatever began under them has come into the ledger by the time it is asked.
        let gone = self.gone(&books).await?;
        if books.is_empty() {
            return Ok(());
        }
        if !is_due {
            self.freshness.catch_up().await;
        }
        if !self.is_passed().await? {
            return Ok(());
        }
        let keys: Vec<&str> = books.keys().map(String::as_str).collect();
        let spent = self.warehouse.spent_by_lease(&keys, None).await.map_err(text)?;
        if is_due {
            differing.retain(|(key, _), _| books.contains_key(key));
        }
        let mut wrong = Vec::new();
        for (key, book) in &books {
            self.compare(key, book, &spent, differing);
            if healed(key, book, &spent, &gone) != *book {
                wrong.push(key.clone());
            }
        }
        let mut healing =
            stream::iter(wrong.into_iter().map(|key| self.heal(key, &spent, &gone))).buffer_unordered(AT_ONCE);
        while let Some(done) = healing.next().await {
            done?;
        }
        Ok(())
    }

    /// The workers that live, and the books that are to be looked at, as they are now; `None`: not enough was heard yet.
    fn due(&self, is_due: bool) -> Option<(Vec<ProcessId>, BTreeMap<String, Book>)> {
        let mut known = self.known();
        if known.listening.elapsed() < SILENCE {
            return None;
        }
        let workers: Vec<ProcessId> = heard(&mut known.workers).into_iter().collect();
        let live: HashSet<LeaseId> = heard(&mut known.leases).into_iter().collect();
        let needs = |book: &Book| is_due || book.pending > 0 || book.shares.keys().any(|lease| !live.contains(lease));
        let due = known.books.iter().filter(|(_, book)| needs(book));
        Some((workers, due.map(|(key, book)| (key.clone(), book.clone())).collect()))
    }

    /// Removes books of cycles that are long over.
    async fn without_ended(&self, mut books: BTreeMap<String, Book>) -> Result<BTreeMap<String, Book>, String> {
        let now = clock::now();
        let is_over = |key: &str| {
            let until = cycle::span(key.rsplit('.').next().unwrap_or_default()).and_then(|(_, until)| until);
            until.is_some_and(|until| until.after(KEPT) < now)
        };
        let over: Vec<String> = books.keys().filter(|key| is_over(key)).cloned().collect();
        for key in over {
            self.books.delete(&key).await.map_err(text)?;
            books.remove(&key);
        }
        books.retain(|key, _| cycle::span(key.rsplit('.').next().unwrap_or_default()).is_some());
        Ok(books)
    }

    /// Replaces the shares of the dead in one book by what the ledger says.
    async fn heal(&self, key: String, spent: &SpentByBook, gone: &HashSet<LeaseId>) -> Result<(), String> {
        let Some((book, revision)) = self.books.get_with_revision(&key).await.map_err(text)? else { return Ok(()) };
        let healed = healed(&key, &book, spent, gone);
        if healed == book {
            return Ok(());
        }
        let (unit, dead) = (book.unit.unwrap_or(Unit::Usd), book.shares.len() - healed.shares.len());
        let (before, after) = (unit.write(book.total()), unit.write(healed.total()));
        // Where somebody was quicker, the next look comes soon.
        if self.books.update(&key, &healed, revision).await.map_err(text)?.is_some() {
            info!(book = key, dead, before, after, "a budget was healed by the ledger");
            self.metrics.healed.inc();
        }
        Ok(())
    }

    /// The leases in these books that are over. Those that were not heard are asked for once more: only the bus may be slow.
    async fn gone(&self, books: &BTreeMap<String, Book>) -> Result<HashSet<LeaseId>, String> {
        let live: HashSet<LeaseId> = heard(&mut self.known().leases).into_iter().collect();
        let all: HashSet<LeaseId> = books.values().flat_map(|book| book.shares.keys().copied()).collect();
        let mut gone = HashSet::new();
        for lease in all.difference(&live) {
            let written = self.leases.get(&lease.to_string()).await.map_err(text)?;
            if written.is_none_or(|written| clock::now().since(written.at) >= SILENCE) {
                gone.insert(*lease);
            }
        }
        Ok(gone)
    }

    /// Tells when an ingress and the ledger differ twice in the same way, though nothing is in flight.
    fn compare(&self, key: &str, book: &Book, spent: &SpentByBook, differing: &mut HashMap<(String, LeaseId), u64>) {
        let unit = book.unit.unwrap_or(Unit::Usd);
        for (lease, share) in book.shares.iter().filter(|(_, share)| share.held == share.settled) {
            let ledger = spent.of(key).find(|spent| spent.lease == *lease);
            let ledger = ledger.map_or(0, |spent| settled(spent).of(unit).saturating_add(running(spent).of(unit)));
            let place = (key.to_owned(), *lease);
            if ledger == share.settled {
                differing.remove(&place);
            } else if differing.insert(place, ledger) == Some(ledger) {
                let (here, ledger) = (unit.write(share.settled), unit.write(ledger));
                error!(book = key, here, ledger, "a budget and the ledger differ");
                let label = if book.label.is_empty() { key } else { &book.label };
                self.alarm.raise(Alert::reconciliation_difference(key, label, &here, &ledger, clock::now()));
                self.metrics.differences.inc();
            }
        }
    }

    /// Whether everything that was written until now is in ClickHouse.
    async fn is_passed(&self) -> Result<bool, String> {
        let last = self.bus.last_of_ledger().await.map_err(text)?;
        let until = Instant::now() + PASSING;
        loop {
            if self.bus.has_passed(last).await.map_err(text)? {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn prove(&self, wanted: ProofWanted) -> Proof {
        self.freshness.catch_up().await;
        self.proof(wanted).await.unwrap_or_else(|error| {
            warn!(error, "the ledger cannot prove what was spent of budgets");
            Proof::NotYet
        })
    }

    async fn proof(&self, wanted: ProofWanted) -> Result<Proof, String> {
        if !self.is_passed().await? {
            return Ok(Proof::NotYet);
        }
        let reservations = self.warehouse.spent_by_reservation(&wanted.reservations).await.map_err(text)?;
        let reservations = reservations.into_iter().map(|spent| Proven {
            reservation: Some(spent.reservation),
            book: spent.book,
            settled: Amounts { usd: spent.usd, tokens: spent.tokens },
            pending: Amounts::default(),
            running: spent.running,
        });
        let keys: Vec<&str> = wanted.books.iter().map(String::as_str).collect();
        let spent = self.warehouse.spent_by_lease(&keys, Some(wanted.lease)).await.map_err(text)?;
        let mut books = Vec::new();
        for key in wanted.books {
            for spent in spent.of(&key) {
                let pending = running(spent);
                let running = u64::from(pending != Amounts::default());
                books.push(Proven { reservation: None, book: key.clone(), settled: settled(spent), pending, running });
            }
        }
        let is_older = match wanted.before {
            Some(at) => Some(self.warehouse.has_attempts_before(at).await.map_err(text)?),
            None => None,
        };
        let lost = Some(self.lost(wanted.lost).await?);
        Ok(Proof::Known { reservations: reservations.collect(), books, lost, is_older })
    }
}

impl Healer {
    /// What was spent in these books, under whichever lease.
    async fn lost(&self, keys: Vec<String>) -> Result<Vec<Proven>, String> {
        let names: Vec<&str> = keys.iter().map(String::as_str).collect();
        let spent = self.warehouse.spent_by_lease(&names, None).await.map_err(text)?;
        let sum = |key: &str, part: fn(&SpentByLease) -> Amounts| {
            spent.of(key).map(part).fold(Amounts::default(), |sum, more| Amounts {
                usd: sum.usd.saturating_add(more.usd),
                tokens: sum.tokens.saturating_add(more.tokens),
            })
        };
        let proven = keys.into_iter().map(|book| {
            let (settled, pending) = (sum(&book, settled), sum(&book, running));
            Proven { reservation: None, book, settled, pending, running: u64::from(pending != Amounts::default()) }
        });
        Ok(proven.collect())
    }
}

impl Known {
    fn hear_lease(&mut self, change: Change<Lease>) {
        let id = |key: &str| Uuid::parse_str(key).ok().map(LeaseId);
        match change {
            Change::Put(key, _) => {
                if let Some(lease) = id(&key) {
                    self.leases.insert(lease, Instant::now());
                }
            }
            Change::Deleted(key) => {
                id(&key).map(|lease| self.leases.remove(&lease));
            }
            Change::Current => {}
        }
    }
}

/// A book with what the ledger says in place of the shares of leases that are over.
fn healed(key: &str, book: &Book, spent: &SpentByBook, gone: &HashSet<LeaseId>) -> Book {
    let unit = book.unit.unwrap_or(Unit::Usd);
    let is_live = |lease: &LeaseId| !gone.contains(lease);
    let (mut past, mut pending) = (0_u64, 0_u64);
    for spent in spent.of(key).filter(|spent| !book.shares.contains_key(&spent.lease) || !is_live(&spent.lease)) {
        past = past.saturating_add(settled(spent).of(unit));
        pending = pending.saturating_add(running(spent).of(unit));
    }
    let mut healed = book.clone();
    healed.heal(is_live, past, pending);
    healed
}

/// Those that were heard lately; the others are forgotten.
fn heard<T: Hash + Eq + Clone>(all: &mut HashMap<T, Instant>) -> Vec<T> {
    all.retain(|_, at| at.elapsed() < SILENCE);
    all.keys().cloned().collect()
}

fn settled(spent: &SpentByLease) -> Amounts {
    Amounts { usd: spent.settled_usd, tokens: spent.settled_tokens }
}

fn running(spent: &SpentByLease) -> Amounts {
    Amounts { usd: spent.pending_usd, tokens: spent.pending_tokens }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` wants")]
fn text(error: impl ToString) -> String {
    error.to_string()
}
