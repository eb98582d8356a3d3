//! What a program asks, read from whatever bytes it sent; and the answers, in bytes.

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};

use crate::book::Found;

const HEADER: usize = 12;
/// An OPT record, and whatever else a program may think of.
const MOST_ADDITIONALS: u16 = 4;
const PAYLOAD: u16 = 1232;

/// A question of a program.
pub(crate) struct Asked {
    message: Message,
    query: Query,
}

/// Why a message is no question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoQuestion {
    /// There is nothing to answer.
    Hopeless,
    /// This is the answer.
    Answer(Vec<u8>),
}

impl Asked {
    /// # Errors
    /// What to do instead of answering the question.
    pub(crate) fn read(bytes: &[u8]) -> Result<Asked, NoQuestion> {
        let id = u16::from_be_bytes(*bytes.first_chunk().ok_or(NoQuestion::Hopeless)?);
        let refuse = |code| NoQuestion::refuse(id, OpCode::Query, code);
        let Some(header) = bytes.get(..HEADER) else {
            return Err(refuse(ResponseCode::FormErr));
        };
        if header[2] & 0x80 != 0 {
            // Answering an answer can go on for ever.
            return Err(NoQuestion::Hopeless);
        }
        let opcode = OpCode::from_u8(header[2] >> 3 & 0xf);
        if opcode != OpCode::Query {
            return Err(NoQuestion::refuse(id, opcode, ResponseCode::NotImp));
        }
        // Read before the rest, since a count of 65,535 would be believed.
        let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        if (count(4), count(6), count(8)) != (1, 0, 0) || count(10) > MOST_ADDITIONALS {
            return Err(refuse(ResponseCode::FormErr));
        }
        let message = Message::from_vec(bytes).map_err(|_| refuse(ResponseCode::FormErr))?;
        let query = message.queries.first().cloned().ok_or_else(|| refuse(ResponseCode::FormErr))?;
        let asked = Asked { message, query };
        if asked.message.version() != 0 {
            return Err(asked
                .refused(ResponseCode::BADVERS)
                .map_or(NoQuestion::Hopeless, NoQuestion::Answer));
        }
        if asked.query.query_class() != DNSClass::IN {
            return Err(asked
                .refused(ResponseCode::Refused)
                .map_or(NoQuestion::Hopeless, NoQuestion::Answer));
        }
        Ok(asked)
    }

    /// The name as rules have it. `None` when no rule can speak of it: a label may hold any byte, a dot as well.
    pub(crate) fn name(&self) -> Option<String> {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let mut name = String::new();
        for label in self.query.name().iter() {
            if !name.is_empty() {
                name.push('.');
            }
            if !label.iter().all(plain) {
                return None;
            }
            name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
        }
        Some(name)
    }

    /// The name as text, whatever it is.
    pub(crate) fn shown(&self) -> String {
        let text = self.query.name().to_ascii();
        text.strip_suffix('.').unwrap_or(&text).to_ascii_lowercase()
    }

    pub(crate) fn kind(&self) -> RecordType {
        self.query.query_type()
    }

    /// An answer without records.
    pub(crate) fn refused(&self, code: ResponseCode) -> Option<Vec<u8>> {
        self.reply(code, Vec::new())
    }

    /// The addresses of the family that was asked for, and the way to them. `None` when they do not fit a message.
    pub(crate) fn found(&self, found: &Found) -> Option<Vec<u8>> {
        let wanted = |address: &&IpAddr| match self.kind() {
            RecordType::A => address.is_ipv4(),
            RecordType::AAAA => address.is_ipv6(),
            _ => false,
        };
        let addresses: Vec<_> = found.addresses.iter().filter(wanted).collect();
        let ttl = seconds(found.left);
        let mut records = Vec::new();
        if !addresses.is_empty() {
            // The name as it was asked, since some programs write it in random case and look for that.
            let mut owner = self.query.name().clone();
            for target in &found.links {
                records.push(Record::from_rdata(owner, ttl, RData::CNAME(CNAME(target.clone()))));
                owner = target.clone();
            }
            let record = |address: &IpAddr| Record::from_rdata(owner.clone(), ttl, data(*address));
            records.extend(addresses.into_iter().map(record));
        }
        self.reply(ResponseCode::NoError, records)
    }

    fn reply(&self, code: ResponseCode, records: Vec<Record>) -> Option<Vec<u8>> {
        let mut reply = Message::new(self.message.metadata.id, MessageType::Response, OpCode::Query);
        reply.metadata.recursion_desired = self.message.metadata.recursion_desired;
        reply.metadata.checking_disabled = self.message.metadata.checking_disabled;
        reply.metadata.recursion_available = true;
        reply.metadata.response_code = code;
        reply.add_query(self.query.clone());
        reply.add_answers(records);
        if self.message.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(PAYLOAD).set_version(0);
            reply.set_edns(edns);
        }
        reply.to_vec().ok().filter(|bytes| bytes.len() <= usize::from(u16::MAX))
    }
}

impl NoQuestion {
    fn refuse(id: u16, opcode: OpCode, code: ResponseCode) -> NoQuestion {
        let answer = Message::error_msg(id, opcode, code).to_vec();
        answer.map_or(NoQuestion::Hopeless, NoQuestion::Answer)
    }
}

fn data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    }
}

/// An answer that must not be kept at all makes some programs ask for every connection.
fn seconds(left: Duration) -> u32 {
    u32::try_from(left.as_secs()).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Name;
    use proptest::prelude::*;

    use super::*;

    fn question(name: &[u8], kind: u16, more: &[u8]) -> Vec<u8> {
        [&[7, 8, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], name, &kind.to_be_bytes(), &[0, 1], more].concat()
    }

    fn refused(bytes: &[u8]) -> Option<u8> {
        match Asked::read(bytes) {
            Err(NoQuestion::Answer(answer)) => {
                assert_eq!(answer[..2], bytes[..2]);
                Some(answer[3] & 0xf)
            }
            Err(NoQuestion::Hopeless) => None,
            Ok(_) => panic!("a question"),
        }
    }

    #[test]
    fn what_is_no_question_is_told_so_or_not_answered() {
        let good = question(b"\x01a\x04test\x00", 1, &[]);
        assert!(Asked::read(&good).is_ok());
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        assert_eq!(refused(b""), None);
        assert_eq!(refused(b"\x07"), None);
        assert_eq!(refused(b"\x07\x08"), Some(1));
        assert_eq!(refused(&good[..11]), Some(1));
        assert_eq!(refused(&good[..15]), Some(1));
        assert_eq!(refused(&with(2, 0x81)), None, "an answer");
        assert_eq!(refused(&with(2, 0x29)), Some(4), "an update");
        for (at, byte) in [(4, 0xff), (5, 0), (5, 2), (7, 1), (9, 1), (10, 0xff)] {
            assert_eq!(refused(&with(at, byte)), Some(1), "{at}");
        }
        assert_eq!(refused(&with(good.len() - 1, 3)), Some(5), "the class of chaos");
        assert_eq!(refused(&question(b"\xc0\x0c", 1, &[])), Some(1), "a pointer to itself");
        let version = question(b"\x01a\x04test\x00", 1, &[0, 0, 41, 2, 0, 0, 1, 0, 0, 0, 0]);
        let version = [&version[..11], &[1], &version[12..]].concat();
        assert_eq!(refused(&version), Some(0), "the low half of BADVERS");
    }

    #[test]
    fn a_name_is_what_rules_can_say_or_none() {
        let name = |bytes: &[u8]| Asked::read(&question(bytes, 1, &[])).ok().unwrap().name();
        assert_eq!(name(b"\x03ApI\x04tEsT\x00").as_deref(), Some("api.test"));
        assert_eq!(name(b"\x00").as_deref(), Some(""));
        for odd in
            [&b"\x05x.api\x04test\x00"[..], b"\x01*\x04test\x00", b"\x01\0\x04test\x00", b"\x02\xc3\xa4\x00"]
        {
            assert_eq!(name(odd), None);
        }
    }

    #[test]
    fn an_answer_repeats_the_question_in_its_case_with_the_way_to_the_addresses() {
        let asked = Asked::read(&question(b"\x03ApI\x04tEsT\x00", 1, &[])).ok().unwrap();
        let found = Found {
            links: vec![Name::from_ascii("b.test.").unwrap()],
            addresses: vec!["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
            left: Duration::from_millis(300),
            serial: 0,
        };
        let bytes = asked.found(&found).unwrap();
        assert_eq!(bytes[..2], [7, 8]);
        let answer = Message::from_vec(&bytes).unwrap();
        assert!(answer.queries[0].name().eq_case(&Name::from_ascii("ApI.tEsT.").unwrap()));
        let shown: Vec<_> = answer.answers.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["ApI.tEsT. 1 IN CNAME b.test.", "b.test. 1 IN A 10.0.0.1"]);
        assert!(answer.edns.is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            answer(&bytes);
        }

        #[test]
        fn no_bytes_after_a_good_header_are_a_panic(
            rest in proptest::collection::vec(any::<u8>(), 0..300),
            additionals in 0u8..5,
        ) {
            answer(&[&[7, 8, 1, 0, 0, 1, 0, 0, 0, 0, 0, additionals][..], &rest].concat());
        }
    }

    fn answer(bytes: &[u8]) {
        if let Ok(asked) = Asked::read(bytes) {
            let _ = (asked.name(), asked.shown());
            assert_eq!(asked.refused(ResponseCode::NXDomain).unwrap()[..2], bytes[..2]);
        }
    }
}
