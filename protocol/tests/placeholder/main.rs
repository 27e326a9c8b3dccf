//! What the placeholder promises: identity, refusals, vectors. It sees the public interface only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
// The crate has neither files nor a clock; its tests keep vectors and measure how long a hostile message takes.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod compose;
mod identity;
mod people;
mod refusals;
mod surgery;
mod vectors;
