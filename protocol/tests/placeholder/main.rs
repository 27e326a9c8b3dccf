//! What the placeholder promises: identity, refusals, vectors. It sees the public interface only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod compose;
mod identity;
mod people;
mod refusals;
mod surgery;
mod vectors;
