//! What the parser makes of bytes, however they are cut, and what the writer makes of replies.

mod any_bytes;
mod binary;
mod classic;
mod fleet;
mod helper;
mod meta;
mod replies;
