//! smtp: not written yet.
