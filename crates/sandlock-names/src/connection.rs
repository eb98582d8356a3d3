//! Serves programs over TCP (RFC 7766): one question after the other, on each connection. Whatever a program sends, it
//! hurts its own connection at most.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use sandlock_policy::Denied;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{spawn_local, yield_now};
use tokio::time::{sleep, timeout};

use crate::Happening;
use crate::announcements::{Announcements, PATIENCE};
use crate::frame::{self, Frames};
use crate::query::{Asked, NoQuestion};
use crate::run::{Outcome, Run};

/// How many connections there can be, announced or not.
const MOST_CONNECTIONS: usize = 256;
/// How long a whole question may take to come, and an answer to be read.
const IDLE: Duration = Duration::from_secs(30);
const UNREAD: Duration = Duration::from_secs(5);
/// How long nothing is accepted when the machine has no room.
const NO_ROOM: Duration = Duration::from_millis(50);

/// Accepts connections, as long as it is polled.
pub(crate) async fn accept(run: Rc<Run>, listener: TcpListener, announcements: Arc<Announcements>) {
    let open = Rc::new(());
    loop {
        let Ok((stream, client)) = listener.accept().await else {
            sleep(NO_ROOM).await;
            continue;
        };
        let this = Rc::clone(&open);
        // One of them is this loop's own.
        if Rc::strong_count(&open) - 1 > MOST_CONNECTIONS {
            continue;
        }
        let (run, announcements) = (Rc::clone(&run), Arc::clone(&announcements));
        spawn_local(async move {
            if announcements.expect(client, PATIENCE).await {
                serve(&run, &stream).await;
            }
            drop(this);
        });
    }
}

async fn serve(run: &Rc<Run>, stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut frames = Frames::default();
    while let Ok(Ok(Some(message))) = timeout(IDLE, frames.next(stream)).await {
        let Some(answer) = reply(run, &message).await else {
            return;
        };
        if !matches!(timeout(UNREAD, frame::send(stream, &answer)).await, Ok(Ok(()))) {
            return;
        }
        // Thousands of questions may have come at once: others have their turn in between.
        yield_now().await;
    }
}

/// The answer to a message; `None` to close the connection.
async fn reply(run: &Rc<Run>, message: &[u8]) -> Option<Vec<u8>> {
    match Asked::read(message) {
        Ok(asked) => answer(run, &asked).await,
        Err(NoQuestion::Answer(answer)) => Some(answer),
        Err(NoQuestion::Hopeless) => None,
    }
}

async fn answer(run: &Rc<Run>, asked: &Asked) -> Option<Vec<u8>> {
    let allowed = match asked.name() {
        Some(name) => run.rules.check_name(&name).map(|()| name),
        None => Err(Denied::Name { name: asked.shown(), forbidden: false }),
    };
    let name = match allowed {
        Ok(name) => name,
        Err(denied) => {
            tell(run, denied);
            return asked.refused(ResponseCode::NXDomain);
        }
    };
    if !matches!(asked.kind(), RecordType::A | RecordType::AAAA) {
        return asked.refused(ResponseCode::NoError);
    }
    match run.find(&name).await {
        Outcome::Found(found) => asked.found(&found).or_else(|| asked.refused(ResponseCode::ServFail)),
        Outcome::NoSuchName => asked.refused(ResponseCode::NXDomain),
        Outcome::NoAddress => asked.refused(ResponseCode::NoError),
        Outcome::Failed => asked.refused(ResponseCode::ServFail),
    }
}

/// Reverse lookups are what many programs do on the way, and no rule can allow one: not worth telling. The root is no
/// name either.
fn tell(run: &Run, denied: Denied) {
    let quiet = match &denied {
        Denied::Name { name, .. } => name.is_empty() || name == "arpa" || name.ends_with(".arpa"),
        _ => false,
    };
    if !quiet {
        run.tell(Happening::Refused(denied));
    }
}
