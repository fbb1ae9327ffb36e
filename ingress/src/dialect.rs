//! The client dialects: how a request is read and how an answer and an error are spelt. One file each; knows no provider.

pub(crate) mod openai;
