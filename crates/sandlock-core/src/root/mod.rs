//! A root file system of a run's own, and who the command is there: namespaces, entered by the supervisor before it
//! confines itself. The launcher stays outside.

mod build;
mod device;
mod explain;
mod forbidden;
mod image;
mod inside;
mod number;
mod planned;
mod point;
mod sys;
mod told;

pub use explain::{Foreseen, RootExplanation};

pub(crate) use forbidden::forbidden;
pub(crate) use number::outside;
pub(crate) use planned::Planned;
pub(crate) use told::error_of;
