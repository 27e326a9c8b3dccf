//! queue: not written yet.
