//! The stages of the pipeline, one file each, in the order of `pipeline`; below them what goes along with a request.

pub(crate) mod receive;

pub(crate) mod authenticate;

pub(crate) mod line;

pub(crate) mod repeat;

pub(crate) mod refer;

pub(crate) mod admit;

pub(crate) mod cache;

pub(crate) mod embed;

pub(crate) mod route;

pub(crate) mod shadow;

pub(crate) mod reserve;

pub(crate) mod dispatch;

pub(crate) mod answer;

pub(crate) mod guard;
mod limit_headers;
pub(crate) mod record;
pub(crate) mod signs_of_life;
mod stage_clock;
