//! Stub until the twin arrives.
