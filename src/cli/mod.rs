//! What the binary does besides serving: the commands that scripts call.

pub mod election_log;
pub mod four_letter_word;
