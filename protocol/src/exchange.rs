//! exchange: not written yet.
