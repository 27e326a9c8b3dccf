//! identity: not written yet.
