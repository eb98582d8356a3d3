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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chain::Chain;

    fn question() -> Question {
        Question { id: 0x0708, query: Query::query(wire_name("a.test").unwrap(), RecordType::A) }
    }

    /// As a server might, with nonsense at the end.
    fn answer(flags: u8, counts: [u8; 3], rest: &[u8]) -> Vec<u8> {
        let [answers, authorities, additionals] = counts;
        let head = [7, 8, 0x80 | flags, 0, 0, 1, 0, answers, 0, authorities, 0, additionals];
        [&head[..], b"\x01a\x04test\x00\x00\x01\x00\x01", rest].concat()
    }

    #[test]
    fn an_answer_has_the_id_and_the_question() {
        let good = answer(0, [0; 3], &[]);
        assert!(question().answer(&good).is_some());
        for at in [0, 1, 2, 13, 15, 21, 23] {
            let mut bad = good.clone();
            bad[at] ^= 0x80;
            assert!(question().answer(&bad).is_none(), "{at}");
        }
        let mut other_case = good;
        other_case[13] = b'A';
        assert!(question().answer(&other_case).is_some());
    }

    proptest! {
        #[test]
        fn no_bytes_of_a_server_are_a_panic(
            flags in any::<u8>(),
            counts in any::<[u8; 3]>(),
            rest in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            let _ = question().answer(&rest);
            if let Some(message) = question().answer(&answer(flags, counts, &rest)) {
                let name = wire_name("a.test").unwrap();
                let _ = Chain::new().follow(&name, RecordType::A, &message);
            }
        }

        #[test]
        fn a_good_answer_with_some_bad_bytes_is_no_panic(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        ) {
            let record = b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x09\x00\x04\x01b\xc0\x0e";
            let address = b"\x01b\xc0\x0e\x00\x01\x00\x01\x00\x00\x00\x09\x00\x04\x7f\x00\x00\x09";
            let mut bytes = answer(0, [2, 0, 0], &[&record[..], address].concat());
            changes.into_iter().for_each(|(at, byte)| *at.get_mut(&mut bytes) = byte);
            let (name, mut chain) = (wire_name("a.test").unwrap(), Chain::new());
            if let Some(message) = question().answer(&bytes) {
                let _ = chain.follow(&name, RecordType::A, &message);
            }
        }
    }
}
