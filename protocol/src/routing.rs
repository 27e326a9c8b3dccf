//! routing: not written yet.
