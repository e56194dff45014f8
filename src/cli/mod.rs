//! What the binary does besides serving: the commands that scripts call.

pub mod four_letter_word;
