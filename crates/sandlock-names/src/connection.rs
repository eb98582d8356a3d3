//! Serves programs over TCP (RFC 7766): one question after the other, on each connection. Whatever a program sends, it
//! hurts its own connection at most.

use std::rc::Rc;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use sandlock_policy::Denied;
use sandlock_service::Doors;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{spawn_local, yield_now};
use tokio::time::timeout;

use crate::frame::{self, Frames};
use crate::query::{Asked, NoQuestion};
use crate::run::{Outcome, Run, is_askable};

/// How many connections of the run there can be.
pub(crate) const MOST_CONNECTIONS: usize = 256;
/// How long a connection is kept of a program that does not do its part.
#[derive(Clone, Copy)]
struct Patience {
    /// For a whole question to come.
    question: Duration,
    /// For an answer to be read.
    answer: Duration,
}
const PATIENCE: Patience = Patience { question: Duration::from_secs(30), answer: Duration::from_secs(5) };

/// Accepts connections, as long as it is polled.
pub(crate) async fn accept(run: Rc<Run>, listener: TcpListener, doors: Doors<()>) {
    loop {
        let newcomer = doors.next(&listener).await;
        let run = Rc::clone(&run);
        spawn_local(async move {
            if let Some((stream, (), _place)) = newcomer.admitted().await {
                serve(&run, &stream, PATIENCE).await;
            }
        });
    }
}

async fn serve(run: &Rc<Run>, stream: &TcpStream, patience: Patience) {
    let _ = stream.set_nodelay(true);
    let mut frames = Frames::default();
    while let Ok(Ok(Some(message))) = timeout(patience.question, frames.next(stream)).await {
        let Some(answer) = reply(run, &message).await else {
            return;
        };
        if !matches!(timeout(patience.answer, frame::send(stream, &answer)).await, Ok(Ok(()))) {
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
        Some(name) => run.check_name(&name).await.map(|()| name),
        None => Err(Denied::Name { name: asked.shown(), forbidden: false }),
    };
    let name = match allowed {
        Ok(name) => name,
        Err(denied) => {
            if is_told(&denied) {
                run.tell_refused(denied).await;
            }
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
fn is_told(denied: &Denied) -> bool {
    let Denied::Name { name, .. } = denied else {
        return true;
    };
    is_askable(name)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::Ipv4Addr;
    use std::time::Instant;

    use tokio::task::LocalSet;

    use super::*;
    use crate::runtime::runtime;

    const SHORT: Patience =
        Patience { question: Duration::from_millis(200), answer: Duration::from_millis(200) };

    /// Serves one connection until it is closed, while `program` does what it likes with the other end.
    fn serve_one(program: impl FnOnce(std::net::TcpStream) + Send + 'static) {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let program = std::thread::spawn(move || program(std::net::TcpStream::connect(address).unwrap()));
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        // The kernel would else keep megabytes of answers.
        rustix::net::sockopt::set_socket_send_buffer_size(&stream, 4096).unwrap();
        LocalSet::new().block_on(&runtime().unwrap(), async {
            let stream = TcpStream::from_std(stream).unwrap();
            let run = Run::of_nobody(&["*.wild.test:443"]);
            timeout(Duration::from_secs(3), serve(&run, &stream, SHORT)).await.expect("it is closed");
        });
        program.join().unwrap();
    }

    #[test]
    fn a_question_that_comes_byte_by_byte_is_not_waited_for() {
        serve_one(|mut stream| {
            let start = Instant::now();
            while stream.write_all(&[0]).is_ok() {
                // The first two are a message without content, which ends the connection.
                assert!(start.elapsed() < Duration::from_secs(3));
                std::thread::sleep(Duration::from_millis(150));
            }
        });
        serve_one(|mut stream| {
            let start = Instant::now();
            while stream.write_all(&[1]).is_ok() {
                assert!(start.elapsed() < Duration::from_secs(3));
                std::thread::sleep(Duration::from_millis(20));
            }
        });
    }

    #[test]
    fn a_program_that_asks_nothing_is_closed() {
        serve_one(|mut stream| assert_eq!(stream.read(&mut [0; 9]).unwrap(), 0));
    }

    #[test]
    fn answers_that_are_not_read_are_not_kept() {
        serve_one(|mut stream| {
            let question =
                b"\x07\x08\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04evil\x04test\x00\x00\x01\x00\x01";
            let one = [&[0, question.len() as u8][..], question].concat();
            let many = one.repeat(1000);
            rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 4096).unwrap();
            while stream.write_all(&many).is_ok() {}
        });
    }
}
