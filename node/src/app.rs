//! app: not written yet.
