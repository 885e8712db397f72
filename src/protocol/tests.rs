//! What the parser makes of bytes, however they are cut, and what the writer makes of replies.

mod classic;
mod helper;
