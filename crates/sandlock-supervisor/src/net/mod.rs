//! Sockets: what they are, where their addresses lead, and the calls that use them.

pub(crate) mod address;
pub(crate) mod bind;
pub(crate) mod connect;
pub(crate) mod listen;
pub(crate) mod netlink;
pub(crate) mod send;
pub(crate) mod socket;
pub(crate) mod unix;
