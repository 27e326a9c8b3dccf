//! broker: not written yet.
