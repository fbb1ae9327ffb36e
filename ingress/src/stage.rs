//! The stages of the pipeline, one file each, in the order of `pipeline`.

pub(crate) mod receive;

pub(crate) mod authenticate;

pub(crate) mod repeat;

pub(crate) mod admit;
pub(crate) mod allow;

pub(crate) mod cache;

pub(crate) mod route;

pub(crate) mod reserve;

pub(crate) mod dispatch;
mod pieces;

pub(crate) mod answer;
mod body;
mod frames;
pub(crate) mod number;
pub(crate) mod record;
mod resume;

pub(crate) use authenticate::Known;
