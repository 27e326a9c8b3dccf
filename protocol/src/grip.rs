//! grip: not written yet.
