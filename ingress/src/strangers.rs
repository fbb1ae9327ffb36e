//! Who has shown no valid key yet: their connections, which have a small pool of their own, and the addresses whose keys
//! fail. So strangers can take neither the connections nor the time of those who have a key. Knows no keys and no requests.

use crate::refusal::Refusal;
use axum::http::request::Parts;
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::key::VirtualKey;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Keys that may fail at once from one address, and the time after which one more may.
const FAILURES: u64 = 100;
const FORGIVEN: Duration = Duration::from_millis(200);

/// Addresses whose failures are counted at most; beyond it the one that failed longest ago is forgotten.
const ADDRESSES: usize = 10_000;

/// All strangers of one ingress. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Strangers(Arc<Mutex<Pool>>);

struct Pool {
    /// Connections of strangers at once.
    limit: usize,
    next: u64,
    /// By the order in which they came.
    connections: BTreeMap<u64, Connection>,
    by_address: HashMap<IpAddr, usize>,
    /// When the failures of an address are all forgiven.
    failures: HashMap<IpAddr, UnixMicros>,
}

struct Connection {
    address: IpAddr,
    closed: CancellationToken,
}

/// The other end of one connection: a stranger until its first valid key. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Peer {
    place: Arc<Place>,
    /// Whose request it is: who connected, or whom a trusted proxy names.
    client: IpAddr,
}

struct Place {
    strangers: Strangers,
    number: u64,
    closed: CancellationToken,
    known: AtomicBool,
    /// What its certificate works as.
    certified: OnceLock<Arc<VirtualKey>>,
}

impl Strangers {
    /// A pool for so many connections; at least one.
    pub(crate) fn new(limit: usize) -> Self {
        let pool = Pool {
            limit: limit.max(1),
            next: 0,
            connections: BTreeMap::new(),
            by_address: HashMap::new(),
            failures: HashMap::new(),
        };
        Self(Arc::new(Mutex::new(pool)))
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection. When the pool is full, the address with most strangers loses its oldest: one address alone can
    /// crowd out only itself.
    pub(crate) fn enter(&self, address: IpAddr) -> Peer {
        let (client, address, closed) = (address, network(address), CancellationToken::new());
        let mut pool = self.pool();
        if pool.connections.len() >= pool.limit {
            pool.close_one();
        }
        let number = pool.next;
        pool.next += 1;
        pool.connections.insert(number, Connection { address, closed: closed.clone() });
        *pool.by_address.entry(address).or_default() += 1;
        let (known, certified) = (AtomicBool::new(false), OnceLock::new());
        Peer { place: Arc::new(Place { strangers: self.clone(), number, closed, known, certified }), client }
    }
}

impl Pool {
    fn close_one(&mut self) {
        let Some(most) = self.by_address.values().copied().max() else { return };
        let crowded = |connection: &Connection| self.by_address.get(&connection.address) == Some(&most);
        let oldest = self.connections.iter().find(|(_, connection)| crowded(connection));
        if let Some(number) = oldest.map(|(number, _)| *number)
            && let Some(connection) = self.leave(number)
        {
            connection.closed.cancel();
        }
    }

    fn leave(&mut self, number: u64) -> Option<Connection> {
        let connection = self.connections.remove(&number)?;
        if let Some(count) = self.by_address.get_mut(&connection.address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&connection.address);
            }
        }
        Some(connection)
    }

    /// Counts a failure at `now`; the wait when there were too many.
    fn fail(&mut self, address: IpAddr, now: UnixMicros) -> Option<Duration> {
        if self.failures.len() >= ADDRESSES && !self.failures.contains_key(&address) {
            let oldest = self.failures.iter().min_by_key(|(_, until)| **until).map(|(address, _)| *address);
            oldest.map(|address| self.failures.remove(&address));
        }
        let until = self.failures.entry(address).or_insert(now);
        let forgiven = (*until).max(now).after(FORGIVEN);
        let most = FORGIVEN.saturating_mul(u32::try_from(FAILURES).unwrap_or(u32::MAX));
        let behind = forgiven.since(now);
        if behind > most {
            return Some(behind - most);
        }
        *until = forgiven;
        None
    }
}

impl Peer {
    /// The sender of one request on the connection, whose address is this.
    pub(crate) fn at(&self, client: IpAddr) -> Self {
        Self { place: self.place.clone(), client }
    }

    /// The address of who sends the request.
    pub(crate) fn client(&self) -> IpAddr {
        self.client
    }

    /// The connection has shown a certificate that works as this key.
    pub(crate) fn certify(&self, key: Arc<VirtualKey>) {
        // Once, at its beginning.
        let _ = self.place.certified.set(key);
        self.is_known();
    }

    /// The key that its certificate works as.
    pub(crate) fn certified(&self) -> Option<&Arc<VirtualKey>> {
        self.place.certified.get()
    }

    /// Who sends a request.
    pub(crate) fn of(parts: &Parts) -> Self {
        parts.extensions.get::<Self>().cloned().expect("the server adds it to every request")
    }

    /// Takes note of what came of a key that the connection has shown. After too many bad ones from its address, another is
    /// told to wait; a good one never is.
    pub(crate) fn judge<T>(&self, shown: Result<T, Refusal>) -> Result<T, Refusal> {
        match shown {
            Ok(known) => {
                self.is_known();
                Ok(known)
            }
            Err(refusal) if refusal.is_bad_key() => {
                Err(self.key_failed(clock::now()).map_or(refusal, |wait| Refusal::TooManyBadKeys { wait }))
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// The connection has shown a valid key: it is no stranger's any more.
    fn is_known(&self) {
        if !self.place.known.swap(true, Ordering::Relaxed) {
            self.place.strangers.pool().leave(self.place.number);
        }
    }

    /// A key that it has shown is not valid. The wait before its address may try another, when too many failed.
    fn key_failed(&self, now: UnixMicros) -> Option<Duration> {
        self.place.strangers.pool().fail(network(self.client), now)
    }

    /// Waits until the pool closes the connection in favour of another.
    pub(crate) async fn closed(&self) {
        self.place.closed.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.strangers.pool().leave(self.number);
    }
}

/// Whose addresses count as one: of IPv6 the network, since a customer has a whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn a_crowd_from_one_address_closes_its_own_oldest_connections() {
        let strangers = Strangers::new(3);
        let other = strangers.enter(address(1));
        let crowd: Vec<Peer> = (0..5).map(|_| strangers.enter(address(2))).collect();
        let closed: Vec<bool> = crowd.iter().map(|peer| peer.place.closed.is_cancelled()).collect();
        assert_eq!(closed, [true, true, true, false, false]);
        assert!(!other.place.closed.is_cancelled());
    }

    #[test]
    fn a_connection_with_a_key_is_not_closed_and_leaves_its_place_to_another() {
        let strangers = Strangers::new(1);
        let known = strangers.enter(address(1));
        known.is_known();
        let first = strangers.enter(address(1));
        assert!(!known.place.closed.is_cancelled() && !first.place.closed.is_cancelled());
        drop(first);
        let second = strangers.enter(address(1));
        assert!(!second.place.closed.is_cancelled());
        assert_eq!(strangers.pool().by_address.len(), 1);
        drop((known, second));
        assert!(strangers.pool().by_address.is_empty());
    }

    #[test]
    fn an_address_whose_keys_fail_has_to_wait_and_others_have_not() {
        let strangers = Strangers::new(10);
        let (bad, good) = (strangers.enter(address(1)), strangers.enter(address(2)));
        let now = UnixMicros(1_000_000_000);
        assert!((0..FAILURES).all(|_| bad.key_failed(now).is_none()));
        let wait = bad.key_failed(now).expect("it failed too often");
        assert_eq!(wait, FORGIVEN);
        assert_eq!(good.key_failed(now), None);
        assert_eq!(bad.key_failed(now.after(wait)), None);
        assert!(bad.key_failed(now.after(wait)).is_some());
    }

    #[test]
    fn no_more_addresses_are_remembered_than_fit() {
        let strangers = Strangers::new(10);
        for number in 0..(ADDRESSES + 100) {
            let address = IpAddr::from(u32::try_from(number).unwrap().to_be_bytes());
            strangers.enter(address).key_failed(UnixMicros(number as u64));
        }
        assert_eq!(strangers.pool().failures.len(), ADDRESSES);
    }

    #[test]
    fn the_addresses_of_an_ipv6_network_are_one() {
        let one = |text: &str| network(text.parse().unwrap());
        assert_eq!(one("2001:db8::1"), one("2001:db8::2"));
        assert_ne!(one("2001:db8::1"), one("2001:db8:0:1::1"));
        assert_eq!(one("::ffff:192.0.2.1"), address(1));
    }
}
