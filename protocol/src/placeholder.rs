//! placeholder: not written yet.
