//! Sockets: what they are, where their addresses lead, and the calls that use them.

pub(crate) mod address;
pub(crate) mod batch;
pub(crate) mod bind;
pub(crate) mod connect;
pub(crate) mod connections;
pub(crate) mod control;
pub(crate) mod listen;
pub(crate) mod made;
pub(crate) mod message;
pub(crate) mod netlink;
pub(crate) mod own_address;
pub(crate) mod own_server;
pub(crate) mod port_space;
pub(crate) mod ports;
pub(crate) mod send;
pub(crate) mod sending;
pub(crate) mod sharing;
pub(crate) mod socket;
mod socket_at;
mod socket_table;
pub(crate) mod target;
pub(crate) mod unix;
mod unix_bind;
