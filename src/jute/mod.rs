//! The jute encoding.
