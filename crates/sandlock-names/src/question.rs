//! One question to a name server, and which messages answer it.

use std::io;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};

use crate::Failure;

/// What fits the paths of the Internet in one piece (DNS flag day 2020).
const PAYLOAD: u16 = 1232;

/// A question under an id that nobody could guess.
pub(crate) struct Question {
    id: u16,
    query: Query,
}

/// The name, as the wire has it. `None` when it is none.
pub(crate) fn wire_name(name: &str) -> Option<Name> {
    Name::from_labels(name.split('.').map(str::as_bytes)).ok()
}

impl Question {
    /// # Errors
    /// The kernel has no random bytes.
    pub(crate) fn new(name: Name, kind: RecordType) -> io::Result<Question> {
        let mut id = [0; 2];
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
        Ok(Question { id: u16::from_ne_bytes(id), query: Query::query(name, kind) })
    }

    /// As it is sent; without EDNS for servers that do not know it.
    pub(crate) fn bytes(&self, edns: bool) -> Result<Vec<u8>, Failure> {
        let mut message = Message::new(self.id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(self.query.clone());
        if edns {
            let mut edns = Edns::new();
            edns.set_max_payload(PAYLOAD).set_version(0);
            message.set_edns(edns);
        }
        message.to_vec().map_err(|_| Failure::Malformed)
    }

    /// The answer in `bytes`. `None` when they answer another question, or nothing: somebody else may have sent them.
    pub(crate) fn answer(&self, bytes: &[u8]) -> Option<Message> {
        let id = u16::from_be_bytes(*bytes.first_chunk()?);
        if id != self.id || bytes.len() < 12 {
            return None;
        }
        // Read before the rest, since a count of 65,535 would be believed.
        let questions = u16::from_be_bytes([bytes[4], bytes[5]]);
        if questions > 1 {
            return None;
        }
        let message = Message::from_vec(bytes).ok()?;
        let about = match message.queries.as_slice() {
            [query] => {
                query.name() == self.query.name()
                    && query.query_type() == self.query.query_type()
                    && query.query_class() == DNSClass::IN
            }
            // A server that does not understand may leave the question out.
            [] => message.metadata.response_code == ResponseCode::FormErr,
            _ => false,
        };
        let response = message.metadata.message_type == MessageType::Response;
        (response && about && message.metadata.op_code == OpCode::Query).then_some(message)
    }
}
