//! Whom the service asks about names that no rule grants.

use tokio::sync::oneshot;

/// Somebody who may allow a name that no rule grants and none denies. It is called in the service's thread, and must not
/// block.
pub trait Consult: Send {
    /// A program asks for `name`. Dropping the answer is a no.
    fn ask(&self, name: &str, answer: NameAnswer);
}

/// Where to say whether a name may be asked for.
#[derive(Debug)]
pub struct NameAnswer(oneshot::Sender<bool>);

impl NameAnswer {
    pub(crate) fn pair() -> (NameAnswer, oneshot::Receiver<bool>) {
        let (sender, receiver) = oneshot::channel();
        (NameAnswer(sender), receiver)
    }

    /// Says it.
    pub fn say(self, allowed: bool) {
        // A program that is gone hears nothing.
        let _ = self.0.send(allowed);
    }
}
