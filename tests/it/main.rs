//! End to end: honest programs run with `sandlock run`, and everything that they were promised.

mod ask;
mod asked_ports;
mod batches;
mod bind;
mod blocking;
mod changed_rules;
mod connect_errnos;
mod containers;
mod control;
mod control_messages;
mod cut;
mod datagram_tools;
mod datagrams;
mod decisions;
mod ending;
mod environment;
mod events;
mod files;
mod first_thread_gone;
mod full_peers;
mod grpc_and_ws;
mod http_rules;
mod image;
mod interfaces;
mod iperf;
mod led_to_the_proxy;
mod led_to_the_resolver;
mod limits;
mod log;
mod mid_send;
mod names_followed;
mod net_deny;
mod no_path;
mod old_kernels;
mod paused;
mod ping;
mod port_map;
mod port_space;
mod process_rules;
mod root;
mod segments;
mod served_files;
mod servers;
mod shared_memory;
mod ssh;
mod tcp;
mod tools;
mod trust_stores;
mod unix;
mod wildcards;
mod zerocopy;

fn main() -> std::process::ExitCode {
    lab::main(env!("CARGO_BIN_EXE_sandlock-under-test"))
}
