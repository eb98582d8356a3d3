//! Judges the HTTP requests of programs, and performs those that are allowed.
//!
//! A [`Proxy`] is a thread of the launcher. The supervisor leads connections to it and [announces](Proxy::announced) each,
//! with the address that the program wanted. A request is allowed by `sandlock-policy`, which is what decides; it is then
//! made anew from what was allowed, and sent to that very address. Nothing here asks what a name stands for.

mod activity;
mod answer;
mod auth;
mod authority;
mod body;
mod certificates;
mod chunks;
mod client_hello;
mod connection;
mod escapes;
mod exchange;
mod forward;
mod happened;
mod head;
mod judge;
mod limits;
mod origin;
mod prefixed;
mod proxy;
mod read_by;
mod run;
mod secret;
mod serve;
mod settings;
mod tls;
mod trust;
mod tunnel;
mod upstream;
mod upstream_proxy;
mod vetted;
mod vetter;

pub use auth::Auth;
pub use authority::{Authority, AuthorityError};
pub use happened::Happened;
pub use proxy::Proxy;
pub use secret::Secret;
pub use settings::{NamesOf, Settings, Tls};
pub use upstream_proxy::{UpstreamProxy, UpstreamProxyError};
