//! The differ: one transcript of raw requests goes to two servers, and everything they answer is compared, field by field.
//!
//! 1. One driver thread; a step's answers are all read, on both sides, before the next step is sent. So both servers see
//!    the same sequence, and zxids, versions and the order of replies and events are compared exactly.
//! 2. Only what cannot be equal is mapped (`names`): session ids, passwords, clock times, client ports. Each has a rule
//!    that the side must keep by itself (a password is derived from its id, a time belongs to one zxid).
//! 3. Only what is unspecified is reordered: child lists, and the events of one closeSession (B§14).
//! 4. A request whose effect depends on timing in Java is never sent where timing shows: see `Place` in `generate`.
//!
//! `step` is a transcript and its text form, `generate` makes one from a seed, `side` drives one server, `render` and
//! `words` turn answers into comparable text, `compare` runs two sides and shrinks what differs, `deliberate` lists what may.

pub mod compare;
pub mod deliberate;
pub mod generate;
pub mod names;
pub mod render;
pub mod side;
pub mod step;
pub mod universe;
pub mod words;
