//! share: not written yet.
