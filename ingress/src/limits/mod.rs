//! What limits requests. `rules` says which counters a request falls under, and what it needs in each; `keeper` sets that
//! aside in memory, out of shares of the counters' books that `shares` takes and gives back; `lease` says that this ingress
//! lives; `proof` has the ledger settle what nobody tells of, and `lost` makes lost books anew from the ledger; `crowd` bounds how
//! many counters there are. Knows nothing of HTTP, and of models only their prices.
//!
//! | word | what it is |
//! |---|---|
//! | counter | what a limit counts in, in one cycle and for one user, key, …: money, tokens or requests |
//! | book | a counter in NATS: what every ingress has taken of it, changed by compare-and-set |
//! | share | the part of a book that one ingress has taken, so that it can set aside in memory |
//! | account | an ingress's share in memory: what is free, set aside and spent |
//! | lease | that an ingress lives; the shares of one whose lease has ended are what the ledger says was spent |
//! | want | what one request needs of one counter |
//! | hold | what is set aside for one call of a request, in all its counters; what crosses the bus of it is a `Reservation` |
//! | place | one of the requests that a limit allows at once |
//! | charge | what a reservation has set aside in one counter, and what was spent of it |

mod account;
mod counters;
mod crowd;
mod held;
mod keeper;
mod lease;
mod lost;
mod proof;
mod rules;
mod shares;

pub(crate) use counters::Stood;
pub(crate) use held::{Hold, Place};
pub(crate) use keeper::{Keeper, Short};
pub(crate) use rules::{CounterKind, LimitQuery, Rules, Want};
