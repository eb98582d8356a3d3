//! What is allowed: rules, their grammar, and pure checks. Knows nothing of Linux.
//!
//! A [`NetRule`] is parsed from text; [`NetworkPolicy::build`] combines the rules with what their names
//! [resolved](Resolved) to; [`NetworkPolicy::check`] answers [`Allowed`] or [`Denied`]. Nothing here asks the
//! machine anything: no file is read, no name is looked up, nothing is printed.

mod address;
mod allowed;
mod answer;
pub mod base;
mod bind;
mod bind_rule;
mod decision;
mod denied;
mod destination;
mod destinations;
mod escape;
mod files;
mod host;
mod http;
mod limits;
mod lossless;
mod metadata;
mod network;
mod network_rules;
mod policy;
mod port_ranges;
mod port_space;
mod ports;
mod prefix;
mod process_rules;
mod protocol;
mod resolved;
mod root;
mod rule;
mod rule_error;
mod served_files;
mod shell;
mod unix;
mod written;

pub use allowed::Allowed;
pub use answer::{AnswerRefusal, check_answer};
pub use bind::{BindPolicy, BindRules, LocalPort};
pub use bind_rule::{BindRule, OwnPorts};
pub use decision::{Approval, Caller, Matter, Question, Said, Verdict};
pub use denied::Denied;
pub use destination::Destination;
pub use destinations::Destinations;
pub use escape::escape_terminal;
pub use files::{Base, FileRules};
pub use host::Host;
pub use http::{
    AuthForm, Credential, CredentialSource, HttpAuth, HttpAuths, HttpHost, HttpName, HttpRequest, HttpRule,
    HttpRuleError, HttpRuleErrorKind, HttpRules, Malformed, Method, RequestTarget, Requests, Scheme,
    authority,
};
pub use ipnet::IpNet;
pub use limits::{LimitError, Limits, Processors, Size};
pub use metadata::{MetadataFacts, MetadataTarget, check_metadata};
pub use network::{NetworkPolicy, RESOLVER, RESOLVER_PORT, Route};
pub use network_rules::NetworkRules;
pub use policy::{NameRules, Policy};
pub use port_ranges::PortRanges;
pub use port_space::{Holder, PortSpace, Publish, check_own};
pub use ports::{KernelPorts, PortSet, Ports};
pub use prefix::installation_prefixes;
pub use process_rules::{ProcessRules, Tree};
pub use protocol::Protocol;
pub use resolved::{NameState, Resolved, names_to_resolve};
pub use root::{Mount, MountError, RootRules, Tmpfs};
pub use rule::{NetRule, Traffic};
pub use rule_error::{RuleError, RuleErrorKind};
pub use served_files::{addresses_in_hosts, hosts_file, resolver_file};
pub use unix::{UnixFacts, UnixTarget, check_unix};
pub use written::{Meaning, Written};
