//! What happens to a request, apart from agreeing on it: [`prep`] makes a txn of a write, [`read`] answers a read,
//! [`reply`] encodes what a committed write is answered with.

pub mod multi;
pub mod prep;
pub mod projection;
pub mod read;
pub mod reply;
