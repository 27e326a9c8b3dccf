//! receipt: not written yet.
