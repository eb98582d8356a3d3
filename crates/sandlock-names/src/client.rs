//! Asks a name server: over UDP, and over TCP what is too long for that.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::chain::Chain;
use crate::frame::{self, Frames};
use crate::question::Question;
use crate::{Answer, Failure};

/// How long the servers are waited for, the first time and again.
const ROUNDS: [Duration; 2] = [Duration::from_millis(1000), Duration::from_millis(2000)];
/// How long a whole answer over TCP may take.
const TCP_LIMIT: Duration = Duration::from_secs(3);
/// How long the other family is waited for when one has addresses: some servers never answer for AAAA.
const OTHER_FAMILY: Duration = Duration::from_millis(1000);

/// Name servers, in the order in which they are asked.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) servers: Arc<[SocketAddr]>,
    /// Whether only TCP is to be used.
    pub(crate) tcp: bool,
}

impl Client {
    /// All addresses of a name.
    pub(crate) async fn look_up(&self, name: &Name) -> Result<Answer, Failure> {
        let mut families = JoinSet::new();
        for kind in [RecordType::A, RecordType::AAAA] {
            let (client, name) = (self.clone(), name.clone());
            families.spawn(async move { (kind, client.follow(&name, kind).await) });
        }
        let mut found = Vec::new();
        loop {
            let some = found.iter().any(|(_, chain): &(_, Result<Chain, _>)| has_addresses(chain));
            let next = match some {
                true => timeout(OTHER_FAMILY, families.join_next()).await.ok().flatten(),
                false => families.join_next().await,
            };
            match next {
                Some(Ok(one)) => found.push(one),
                // Of a task that panicked nothing is known.
                Some(Err(_)) => {}
                None => break,
            }
        }
        found.sort_by_key(|(kind, _)| *kind == RecordType::AAAA);
        merge(found.into_iter().map(|(_, chain)| chain))
    }

    async fn follow(&self, name: &Name, kind: RecordType) -> Result<Chain, Failure> {
        let (mut chain, mut asked) = (Chain::new(), name.clone());
        loop {
            let question = Question::new(asked.clone(), kind).map_err(|error| Failure::of(&error))?;
            let message = self.ask(&question).await?;
            let before = chain.links.len();
            chain.follow(&asked, kind, &message)?;
            match message.metadata.response_code {
                _ if !chain.addresses.is_empty() => return Ok(chain),
                ResponseCode::NXDomain => return Err(Failure::NoSuchName),
                // Nothing more is said of the name, or it is said that there is nothing more.
                _ if chain.links.len() == before => return Err(Failure::NoAddress),
                _ if message.authorities.iter().any(|record| record.record_type() == RecordType::SOA) => {
                    return Err(Failure::NoAddress);
                }
                _ => {}
            }
            asked = chain.links.last().cloned().ok_or(Failure::NoAddress)?;
        }
    }

    /// The first usable answer of a server.
    async fn ask(&self, question: &Question) -> Result<Message, Failure> {
        let mut failure = Failure::Silent;
        for patience in ROUNDS {
            for server in self.servers.iter() {
                match self.ask_one(*server, question, patience).await {
                    Ok(message) => return Ok(message),
                    Err(why) => failure = why,
                }
            }
            if failure != Failure::Silent {
                break;
            }
        }
        Err(failure)
    }

    async fn ask_one(
        &self,
        server: SocketAddr,
        question: &Question,
        patience: Duration,
    ) -> Result<Message, Failure> {
        for edns in [true, false] {
            let bytes = question.bytes(edns)?;
            let message = if self.tcp {
                over_tcp(server, question, &bytes).await?
            } else {
                match over_udp(server, question, &bytes, patience).await? {
                    message if message.metadata.truncation => over_tcp(server, question, &bytes).await?,
                    message => message,
                }
            };
            match message.metadata.response_code {
                ResponseCode::NoError | ResponseCode::NXDomain => return Ok(message),
                ResponseCode::FormErr if edns => {}
                code => return Err(Failure::Code(code)),
            }
        }
        Err(Failure::Code(ResponseCode::FormErr))
    }
}

fn has_addresses(chain: &Result<Chain, Failure>) -> bool {
    chain.as_ref().is_ok_and(|chain| !chain.addresses.is_empty())
}

/// Of two families without addresses, a server that failed says more than one that knows of none.
fn merge(families: impl Iterator<Item = Result<Chain, Failure>>) -> Result<Answer, Failure> {
    let mut answer: Option<Answer> = None;
    let mut failure = None;
    for family in families {
        match family {
            Ok(chain) => {
                let answer = answer.get_or_insert_with(|| Answer::new(chain.ttl));
                if answer.addresses.is_empty() {
                    answer.links = chain.links;
                }
                answer.ttl = answer.ttl.min(chain.ttl);
                answer.addresses.extend(chain.addresses);
            }
            Err(Failure::NoSuchName) => failure = Some(Failure::NoSuchName),
            Err(why) if failure.is_none() || failure == Some(Failure::NoAddress) => failure = Some(why),
            Err(_) => {}
        }
    }
    answer.ok_or(failure.unwrap_or(Failure::Silent))
}

/// From a socket of its own, so that the source port is random, and connected, so that the kernel drops what comes from
/// elsewhere. What does not answer the question is not listened to.
async fn over_udp(
    server: SocketAddr,
    question: &Question,
    bytes: &[u8],
    patience: Duration,
) -> Result<Message, Failure> {
    let ask = async {
        let own: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((own, 0)).await?;
        socket.connect(server).await?;
        socket.send(bytes).await?;
        let mut buffer = vec![0; 4096];
        loop {
            let length = socket.recv(&mut buffer).await?;
            if let Some(message) = question.answer(&buffer[..length]) {
                return Ok(message);
            }
        }
    };
    bounded(patience, ask).await
}

async fn over_tcp(server: SocketAddr, question: &Question, bytes: &[u8]) -> Result<Message, Failure> {
    let ask = async {
        let stream = TcpStream::connect(server).await?;
        frame::send(&stream, bytes).await?;
        let answer = Frames::default().next(&stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(question.answer(&answer))
    };
    bounded(TCP_LIMIT, ask).await?.ok_or(Failure::Malformed)
}

async fn bounded<T>(limit: Duration, asked: impl Future<Output = io::Result<T>>) -> Result<T, Failure> {
    match timeout(limit, asked).await {
        Ok(result) => result.map_err(|error| Failure::of(&error)),
        Err(_) => Err(Failure::Silent),
    }
}
