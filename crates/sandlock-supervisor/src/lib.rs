//! THE table of system calls, and the handlers that perform what was checked.
//!
//! One trapped call is one straight line: receive, look up the handler, pin the descriptor, read the memory,
//! check, perform, answer. What performs takes only what a check of `sandlock-policy` allowed. Synchronous, and
//! without unsafe code.

mod call;
mod context;
mod control_socket;
pub mod decision;
mod fs;
mod lock;
pub mod message;
mod net;
mod receive;
mod supervise;
pub mod table;
mod task;
mod waiting;
mod watch;

pub use call::{Call, Done, Failure, Handler};
pub use context::{Context, Run};
pub use control_socket::MARKED as CONTROL_SOCKET_MODE;
pub use fs::holes::{Held, Hole, Holes, hold_hole};
pub use fs::mounted::{Mounted, write_whole};
pub use fs::served::ServedFile;
pub use supervise::{Supervisor, supervise};
pub use task::processors::as_set as processor_set;
pub use task::tree::{children, end_adopted};
pub use task::trees::TreeRoot;
pub use waiting::{Turn, Waiting};
