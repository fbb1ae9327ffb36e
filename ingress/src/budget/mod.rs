//! What limits requests. `rules` says which counters a request falls under, and what it needs in each; `keeper` sets that
//! aside in memory, out of shares of the counters' books that `shares` takes and gives back; `lease` says that this ingress
//! lives; `proof` has the ledger settle what nobody tells of. Knows nothing of HTTP, and of models only their prices.

mod account;
mod held;
mod keeper;
mod lease;
mod proof;
mod rules;
mod shares;

pub(crate) use held::{AtOnce, Held};
pub(crate) use keeper::{Keeper, Short, Stood};
pub(crate) use rules::{Asked, Counted, Rules, Want};
