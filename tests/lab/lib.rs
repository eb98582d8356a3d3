//! The lab: runs a program inside and outside of the sandbox, as root and as an ordinary user, and asks the servers
//! what they saw.
//!
//! A test binary is also the program that runs inside: a file holds an attack, the program that makes it, and the
//! test, registered together by [`suite!`]. Everything is bounded in time, uses loopback only, and cleans up after
//! itself.

mod args;
mod capture;
mod cgroup;
mod dead_mount;
mod errno;
mod image;
mod lab;
mod layer;
pub mod message;
mod namespace;
mod output;
mod ports;
mod programs;
pub mod raw;
mod rounds;
mod run;
mod server;
mod suite;
mod swapped;
mod system;
mod terminal;
mod tool;
mod user;

pub use args::Args;
pub use capture::Capture;
pub use cgroup::Cgroups;
pub use dead_mount::{DeadMount, with_dead_mount};
pub use errno::Errno;
pub use image::Image;
pub use lab::{Lab, NONE, Outsider};
pub use layer::{DOCKER, Layer, PODMAN, UNIT};
pub use namespace::in_namespace;
pub use output::{Output, report, shown};
pub use ports::{free_port, wait_for_listener};
pub use rounds::Rounds;
pub use run::{Child, Run};
pub use server::{Asked, NameServer, Seen, TcpServer, UdpServer, UnixServer, WebServer, Zone};
pub use suite::{Program, Suite, Test, main};
pub use swapped::SwappedAddress;
pub use terminal::terminal;
pub use tool::tool;
pub use user::User;

#[doc(hidden)]
pub use inventory;
