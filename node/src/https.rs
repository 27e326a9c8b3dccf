//! https: not written yet.
