//! notification: not written yet.
