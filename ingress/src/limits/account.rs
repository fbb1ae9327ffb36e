//! One counter as this ingress works with it, in memory: the share that it holds of the book, and what of it is spent and
//! set aside. Pure: how shares are taken and given back is `keeper`'s.

/// A share of a counter, in its own unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// What the book says that we hold.
    held: u64,
    /// What was spent.
    settled: u64,
    /// What is set aside for requests in flight.
    reserved: u64,
}

impl Account {
    /// What can be set aside without asking anybody.
    pub(crate) fn free(&self) -> u64 {
        self.held.saturating_sub(self.settled).saturating_sub(self.reserved)
    }

    /// What is missing to set aside `amount`.
    pub(crate) fn missing(&self, amount: u64) -> u64 {
        (self.settled.saturating_add(self.reserved).saturating_add(amount)).saturating_sub(self.held)
    }

    /// What is set aside.
    pub(crate) fn reserved(&self) -> u64 {
        self.reserved
    }

    /// What was spent.
    pub(crate) fn settled(&self) -> u64 {
        self.settled
    }

    /// Sets aside. False, and nothing is changed, when not so much is free.
    pub(crate) fn reserve(&mut self, amount: u64) -> bool {
        if self.missing(amount) > 0 {
            return false;
        }
        self.reserved = self.reserved.saturating_add(amount);
        true
    }

    /// Of what was set aside so much was spent; the rest is free again. More than was set aside makes the account overdrawn.
    pub(crate) fn settle(&mut self, reserved: u64, spent: u64) {
        self.reserved = self.reserved.saturating_sub(reserved);
        self.settled = self.settled.saturating_add(spent);
    }

    /// The ledger knows better what was spent.
    pub(crate) fn correct(&mut self, settled: u64) {
        self.settled = settled;
    }

    /// Lets go of what is free but for `keep`: what is to be given back. It can no longer be set aside, even before the book
    /// has it.
    pub(crate) fn let_go(&mut self, keep: u64) -> u64 {
        let unneeded = self.free().saturating_sub(keep);
        self.held -= unneeded;
        unneeded
    }

    /// The book says that we hold so much.
    pub(crate) fn hold(&mut self, held: u64) {
        self.held = held;
    }
}

#[cfg(test)]
mod tests {
    //! The whole protocol, with every interleaving that chance finds: several ingresses with their shares of one book, calls
    //! that begin, end, cost less than was set aside, and end without anybody being told; ingresses that die at any point; a
    //! healer that replaces what the dead held by what the ledger says.

    use super::*;
    use penstock_schemas::book::Book;
    use penstock_schemas::reservation::LeaseId;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use uuid::Uuid;

    #[derive(Clone, Debug)]
    enum Step {
        /// An ingress reads the book, to take so much or to give back.
        Read { who: usize, want: u64 },
        /// What it has made of it is written, if nobody was quicker; `lost`: and the answer does not come.
        Write { who: usize, lost: bool },
        /// It sets aside.
        Reserve { who: usize, amount: u64 },
        /// A worker begins the call that was set aside for.
        Begin { call: usize },
        /// The call is over, and cost this share of what was set aside.
        End { call: usize, percent: u64 },
        /// The ingress learns of it.
        Settle { call: usize },
        /// The ledger is asked about a call of which nobody tells.
        Prove { call: usize },
        /// An ingress dies, and starts again under another lease.
        Crash { who: usize },
        /// An ingress is cut off for so long that it is given up for dead.
        CutOff { who: usize },
        /// The healer reads book and ledger.
        Look,
        /// It writes what it made of them, if nobody was quicker.
        Heal,
    }

    fn step() -> impl Strategy<Value = Step> {
        let (who, call) = (0..3_usize, 0..64_usize);
        prop_oneof![
            4 => (who.clone(), 0..40_u64).prop_map(|(who, want)| Step::Read { who, want }),
            4 => (who.clone(), proptest::bool::weighted(0.1)).prop_map(|(who, lost)| Step::Write { who, lost }),
            6 => (who.clone(), 1..20_u64).prop_map(|(who, amount)| Step::Reserve { who, amount }),
            6 => call.clone().prop_map(|call| Step::Begin { call }),
            5 => (call.clone(), 0..=100_u64).prop_map(|(call, percent)| Step::End { call, percent }),
            4 => call.clone().prop_map(|call| Step::Settle { call }),
            1 => call.prop_map(|call| Step::Prove { call }),
            1 => who.prop_map(|who| Step::Crash { who }),
            1 => (0..3_usize).prop_map(|who| Step::CutOff { who }),
            1 => Just(Step::Look),
            1 => Just(Step::Heal),
        ]
    }

    struct Call {
        lease: LeaseId,
        reserved: u64,
        /// It may still begin: its lease has not been given up.
        may_begin: bool,
        has_begun: bool,
        spent: Option<u64>,
        is_settled: bool,
    }

    impl Call {
        /// What the ledger says: nothing, the worst case, or the cost.
        fn in_ledger(&self) -> (u64, u64) {
            match self.spent {
                Some(spent) => (spent, 0),
                None if self.has_begun => (0, self.reserved),
                None => (0, 0),
            }
        }
    }

    struct Ingress {
        lease: LeaseId,
        account: Account,
        /// Its lease has run out, and it does not know it yet.
        is_cut_off: bool,
        /// It had a share once.
        has_written: bool,
        /// What it is about to write: against which revision, and what to hold then.
        writing: Option<(u64, Book)>,
    }

    impl Ingress {
        fn new(lease: LeaseId) -> Self {
            Self { lease, account: Account::default(), is_cut_off: false, has_written: false, writing: None }
        }
    }

    struct World {
        limit: u64,
        book: Book,
        revision: u64,
        leases: u128,
        ingresses: Vec<Ingress>,
        calls: Vec<Call>,
        healing: Option<(u64, Book)>,
    }

    impl World {
        fn new(limit: u64) -> Self {
            let ingresses = (0..3).map(|who| Ingress::new(lease(who))).collect();
            Self { limit, book: Book::default(), revision: 0, leases: 3, ingresses, calls: Vec::new(), healing: None }
        }

        fn put(&mut self, against: u64, book: Book) -> bool {
            let is_current = against == self.revision;
            if is_current {
                (self.book, self.revision) = (book, self.revision + 1);
            }
            is_current
        }

        fn read(&mut self, who: usize, want: u64) {
            let (mut book, revision, limit) = (self.book.clone(), self.revision, self.limit);
            let ingress = &mut self.ingresses[who];
            if ingress.has_written && !book.shares.contains_key(&ingress.lease) {
                return self.crash(who); // its share was given to others: it begins anew
            }
            if want > 0 {
                book.take(ingress.lease, want, want * 2, limit);
            } else {
                let unneeded = ingress.account.let_go(0);
                book.tell(ingress.lease, ingress.account.settled(), unneeded);
            }
            ingress.writing = Some((revision, book));
        }

        fn write(&mut self, who: usize, lost: bool) {
            let Some((against, book)) = self.ingresses[who].writing.take() else { return };
            let held = book.shares.get(&self.ingresses[who].lease).map_or(0, |share| share.held);
            if self.put(against, book) && !lost {
                self.ingresses[who].account.hold(held);
                self.ingresses[who].has_written = true;
            }
        }

        fn owner(&mut self, call: usize) -> Option<usize> {
            let lease = self.calls[call].lease;
            self.ingresses.iter().position(|ingress| ingress.lease == lease)
        }

        fn settle(&mut self, call: usize) {
            let Some(who) = self.owner(call) else { return };
            let call = &mut self.calls[call];
            if let (Some(spent), false) = (call.spent, call.is_settled) {
                call.is_settled = true;
                self.ingresses[who].account.settle(call.reserved, spent);
            }
        }

        /// A call that never began, or whose worker is gone: what the ledger says is the last word.
        fn prove(&mut self, call: usize) {
            let found = &mut self.calls[call];
            found.may_begin = false;
            found.spent = found.spent.or(Some(if found.has_begun { found.reserved } else { 0 }));
            self.settle(call);
        }

        fn crash(&mut self, who: usize) {
            self.leases += 1;
            self.ingresses[who] = Ingress::new(lease(self.leases));
        }

        /// The lease of who is dead has run out, so that nothing begins under it any more; then the ledger is summed up.
        fn look(&mut self) {
            let live = self.ingresses.iter().filter(|ingress| !ingress.is_cut_off);
            let live: Vec<LeaseId> = live.map(|ingress| ingress.lease).collect();
            let mut book = self.book.clone();
            let (mut past, mut pending) = (0, 0);
            for call in self.calls.iter_mut().filter(|call| !live.contains(&call.lease)) {
                call.may_begin = false;
                let (settled, open) = call.in_ledger();
                (past, pending) = (past + settled, pending + open);
            }
            book.heal(|lease| live.contains(lease), past, pending);
            self.healing = Some((self.revision, book));
        }

        fn take(&mut self, step: &Step) {
            let count = self.calls.len();
            match *step {
                Step::Read { who, want } => self.read(who, want),
                Step::Write { who, lost } => self.write(who, lost),
                Step::Reserve { who, amount } => {
                    let ingress = &mut self.ingresses[who];
                    if ingress.account.reserve(amount) {
                        let lease = ingress.lease;
                        let (may_begin, has_begun, spent, is_settled) = (!ingress.is_cut_off, false, None, false);
                        self.calls.push(Call { lease, reserved: amount, may_begin, has_begun, spent, is_settled });
                    }
                }
                Step::Begin { call } if call < count => {
                    let call = &mut self.calls[call];
                    call.has_begun |= call.may_begin && call.spent.is_none();
                }
                Step::End { call, percent } if call < count => {
                    let call = &mut self.calls[call];
                    if call.has_begun && call.spent.is_none() {
                        call.spent = Some(call.reserved * percent / 100);
                    }
                }
                Step::Settle { call } if call < count => self.settle(call),
                Step::Prove { call } if call < count => self.prove(call),
                Step::Crash { who } => self.crash(who),
                Step::CutOff { who } => self.ingresses[who].is_cut_off = true,
                Step::Look => self.look(),
                Step::Heal => {
                    if let Some((against, book)) = self.healing.take() {
                        self.put(against, book);
                    }
                }
                Step::Begin { .. } | Step::End { .. } | Step::Settle { .. } | Step::Prove { .. } => {}
            }
        }

        /// What has been spent, and what everything that can still happen may add.
        fn exposure(&self) -> u64 {
            let of = |call: &Call| match call.spent {
                Some(spent) => spent,
                None if call.has_begun || call.may_begin => call.reserved,
                None => 0,
            };
            self.calls.iter().map(of).sum()
        }

        /// Everything comes to an end, and everybody is told.
        fn quiesce(&mut self) {
            for call in 0..self.calls.len() {
                self.prove(call);
            }
            for who in 0..self.ingresses.len() {
                if self.ingresses[who].is_cut_off {
                    self.crash(who);
                }
                self.ingresses[who].writing = None;
                // What it thinks that it holds may be less than the book says: the answer to a write was lost.
                let held = self.book.shares.get(&self.ingresses[who].lease).map_or(0, |share| share.held);
                self.ingresses[who].account.hold(held);
                self.read(who, 0);
                self.write(who, false);
            }
            self.look();
            self.take(&Step::Heal);
        }
    }

    fn lease(number: u128) -> LeaseId {
        LeaseId(Uuid::from_u128(number))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_limit_is_passed_and_nothing_is_set_aside_for_ever(
            limit in 20..120_u64,
            steps in proptest::collection::vec(step(), 1..160),
        ) {
            let mut world = World::new(limit);
            for step in steps {
                world.take(&step);
                prop_assert!(world.book.total() <= limit, "the book holds {} after {step:?}", world.book.total());
                prop_assert!(world.exposure() <= limit, "{} may be spent after {step:?}", world.exposure());
            }
            world.quiesce();
            let spent: u64 = world.calls.iter().filter_map(|call| call.spent).sum();
            prop_assert_eq!((world.book.total(), world.book.settled(), world.book.reserved()), (spent, spent, 0));
            let labels: BTreeMap<_, _> = world.book.shares.iter().collect();
            prop_assert!(labels.len() <= 3);
        }
    }
}
