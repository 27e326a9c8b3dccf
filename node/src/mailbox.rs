//! mailbox: not written yet.
