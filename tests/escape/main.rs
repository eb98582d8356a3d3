//! Every way out, tried: one file an attack. Each proves first that the same act succeeds when it is allowed, or
//! without the sandbox.

mod address_lengths;
mod address_swapped;
mod answering_for_the_person;
mod bind_rules;
mod blocked_sends;
mod bound_ports;
mod control_socket;
mod corked_datagrams;
mod datagram_descriptor_swapped;
mod datagram_destination;
mod datagram_lengths;
mod descriptor_swapped;
mod execution;
mod fast_open;
mod file_holes;
mod files_outside;
mod gone_in_a_second;
mod held_bind_swapped;
mod held_call_swapped;
mod inherited;
mod inherited_datagram_socket;
mod inherited_other_sockets;
mod inner_filter;
mod inner_landlock;
mod io_uring;
mod kernel_doors;
mod limits_of_others;
mod listening;
mod machine_wide_ipc;
mod memory_limit;
mod message_swapped;
mod metadata;
mod namespaces;
mod netlink;
mod not_dumpable;
mod orphans;
mod other_entries;
mod other_processes;
mod other_spellings;
mod own_descriptor_table;
mod pages_of_others;
mod past_the_proxy;
mod path_swapped;
mod port_space;
mod proc_net;
mod proc_of_others;
mod process_limit;
mod process_rules;
mod processors;
mod rebinding;
mod root_files;
mod root_left;
mod root_links;
mod root_processes;
mod root_read_only;
mod scoped_addresses;
mod secrets;
mod served_files;
mod shared_memory;
mod signals;
mod signals_to_many;
mod socket_kinds;
mod source_route_by_control_message;
mod source_routes;
mod special_files;
mod supervisor_killed;
mod terminal;
mod the_proxys_port;
mod the_resolvers_port;
mod unix_datagrams;
mod unix_outside;

fn main() -> std::process::ExitCode {
    lab::main(env!("CARGO_BIN_EXE_sandlock-under-test"))
}
