//! The budgets that there are, and how their books stand: followed in memory. Knows nothing of what follows from that.

use penstock_runtime::bus::{Bus, BusError, Change, Directories};
use penstock_schemas::book::{Book, Counter, Generations};
use penstock_schemas::budget::Budget;
use penstock_schemas::directory::Directory;
use penstock_schemas::key::VirtualKey;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What is followed. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Budgets {
    directories: Directories,
    known: Arc<Mutex<Known>>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct Known {
    /// Those of virtual keys, by the key's id; and their generations.
    of_keys: BTreeMap<String, (Vec<Budget>, Generations)>,
    books: BTreeMap<String, Book>,
    changed: Changed,
}

/// A budget and its counter.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    /// The first part of the keys of its books.
    pub(crate) counter: String,
    /// Its name for people.
    pub(crate) label: String,
    pub(crate) budget: Budget,
}

impl Counted {
    fn new(counter: &Counter<'_>, budget: &Budget) -> Self {
        Self { counter: counter.to_string(), label: counter.label(), budget: budget.clone() }
    }
}

/// What is to be looked at anew.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    /// Whether all books are: budgets have changed.
    pub(crate) all: bool,
    /// The keys of books.
    pub(crate) books: BTreeSet<String>,
}

impl Budgets {
    /// Follows the directory, the keys and the books as long as the role lives.
    pub(crate) async fn follow(bus: &Bus) -> Result<Self, BusError> {
        let directories = bus.directories().await?;
        let budgets = Self { directories, known: Arc::default(), changed: Arc::default() };
        let told = budgets.clone();
        budgets.directories.follow(bus.life(), move |_| told.change(|known| known.changed.all = true));
        let told = budgets.clone();
        bus.keys().await?.follow(move |change| told.change(|known| known.key(change)));
        let told = budgets.clone();
        bus.books().await?.follow(move |change| told.change(|known| known.book(change)));
        Ok(budgets)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.lock());
        self.changed.notify_one();
    }

    /// Waits until something has changed since the last [`Budgets::changed`].
    pub(crate) async fn changes(&self) {
        self.changed.notified().await;
    }

    /// What has changed since the last time.
    pub(crate) fn changed(&self) -> Changed {
        std::mem::take(&mut self.lock().changed)
    }

    /// Whether what was there when this process started has been read.
    pub(crate) fn is_current(&self) -> bool {
        self.directories.is_current()
    }

    /// The directory now.
    pub(crate) fn directory(&self) -> Arc<Directory> {
        self.directories.snapshot()
    }

    /// All budgets, those of keys too.
    pub(crate) fn all(&self) -> Vec<Counted> {
        let directory = self.directory();
        let generation = |of: &'_ Generations, budget: &Budget| of.get(&budget.name).cloned();
        let mut all = Vec::with_capacity(directory.budgets.len());
        for budget in directory.budgets.values() {
            let generation = generation(&directory.generations, budget);
            all.push(Counted::new(&Counter::Budget(&budget.name, generation.as_deref()), budget));
        }
        for (key, (budgets, generations)) in &self.lock().of_keys {
            for budget in budgets {
                let generation = generation(generations, budget);
                all.push(Counted::new(&Counter::OfKey(key, &budget.name, generation.as_deref()), budget));
            }
        }
        all
    }

    /// The budget of this counter, if there is one still.
    pub(crate) fn counted(&self, counter: &str) -> Option<Counted> {
        let counter = Counter::parse(counter)?;
        let is_of = |generations: &Generations, name: &str, generation: Option<&str>| {
            generations.get(name).map(String::as_str) == generation
        };
        match counter {
            Counter::Budget(name, generation) => {
                let directory = self.directory();
                let budget = directory.budgets.get(name)?;
                is_of(&directory.generations, name, generation).then(|| Counted::new(&counter, budget))
            }
            Counter::OfKey(key, name, generation) => {
                let known = self.lock();
                let (budgets, generations) = known.of_keys.get(key)?;
                let budget = budgets.iter().find(|budget| budget.name == name)?;
                is_of(generations, name, generation).then(|| Counted::new(&counter, budget))
            }
            Counter::Rate(..) | Counter::RateOfKey(..) => None,
        }
    }

    /// The book of this key.
    pub(crate) fn book(&self, key: &str) -> Option<Book> {
        self.lock().books.get(key).cloned()
    }

    /// The keys of all books.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.lock().books.keys().cloned().collect()
    }

    /// A book's name for people.
    pub(crate) fn label(&self, key: &str) -> Option<String> {
        self.lock().books.get(key).map(|book| book.label.clone()).filter(|label| !label.is_empty())
    }
}

impl Known {
    fn key(&mut self, change: Change<VirtualKey>) {
        let had_any = match change {
            Change::Put(id, key) if key.budgets.is_empty() => self.of_keys.remove(&id).is_some(),
            Change::Put(id, key) => {
                self.of_keys.insert(id, (key.budgets, key.generations));
                true
            }
            Change::Deleted(id) => self.of_keys.remove(&id).is_some(),
            Change::Current => false,
        };
        self.changed.all |= had_any;
    }

    fn book(&mut self, change: Change<Book>) {
        match change {
            Change::Put(key, book) => {
                self.changed.books.insert(key.clone());
                self.books.insert(key, book);
            }
            Change::Deleted(key) => drop(self.books.remove(&key)),
            Change::Current => {}
        }
    }
}
