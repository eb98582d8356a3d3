//! `struct msghdr`, as the caller had it at one moment.

use sandlock_sys::{ChildPtr, Errno, Tid, memory};

use super::address::{LONGEST, RawAddress};

/// The fields of a `struct msghdr`; what they point to is not read yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    name: ChildPtr,
    name_len: i32,
    parts: ChildPtr,
    part_count: u64,
    control: ChildPtr,
    control_len: u64,
}

/// What a header points to, but for the payload.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) name: Option<RawAddress>,
    pub(crate) parts: Vec<(ChildPtr, usize)>,
    pub(crate) control: Vec<u8>,
}

impl Header {
    /// Takes a header apart.
    pub(crate) fn parse(bytes: &[u8; HEADER]) -> Self {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_ne_bytes(word)
        };
        Header {
            name: ChildPtr::from_register(word(0)),
            name_len: word(8) as u32 as i32,
            parts: ChildPtr::from_register(word(16)),
            part_count: word(24),
            control: ChildPtr::from_register(word(32)),
            control_len: word(40),
        }
    }

    /// Reads a header.
    ///
    /// # Errors
    ///
    /// EFAULT.
    pub(crate) fn read(tid: Tid, from: ChildPtr) -> Result<Self, Errno> {
        let mut bytes = [0; HEADER];
        memory::read(tid, from, &mut bytes)?;
        Ok(Self::parse(&bytes))
    }

    /// Reads what it points to, in the order and with the errors of `copy_msghdr_from_user` and
    /// `____sys_sendmsg` of net/socket.c.
    ///
    /// # Errors
    ///
    /// EINVAL for a negative length, EMSGSIZE for more than 1,024 parts, ENOBUFS for control messages longer than
    /// the kernel would take, EFAULT for what cannot be read.
    pub(crate) fn read_message(&self, tid: Tid) -> Result<Message, Errno> {
        let Ok(wanted) = self.wanted() else {
            return Err(self.first_error(tid)?);
        };
        // Name, parts and control messages in one call.
        let mut bytes = vec![0; wanted.iter().map(|(_, len)| len).sum()];
        let wanted: Vec<_> = wanted.into_iter().filter(|(_, len)| *len > 0).collect();
        match memory::gather(tid, &wanted, &mut bytes) {
            Ok(read) if read == bytes.len() => self.message(&bytes),
            Ok(_) | Err(Errno::FAULT) => Err(self.first_error(tid)?),
            Err(errno) => Err(errno),
        }
    }

    /// What the kernel meets first in a message that is wrong: it reads the name, then part after part, then the control
    /// messages.
    fn first_error(&self, tid: Tid) -> Result<Errno, Errno> {
        let mut name = [0; LONGEST];
        memory::read(tid, self.name, &mut name[..self.name_length()?])?;
        if self.part_count > MOST_PARTS {
            return Err(Errno::MSGSIZE);
        }
        let mut parts = vec![0; self.part_count as usize * PART];
        let read = memory::read_some(tid, self.parts, &mut parts)?;
        parse_parts(&parts[..read / PART * PART])?;
        if read < parts.len() {
            return Err(Errno::FAULT);
        }
        self.control_length()?;
        Ok(Errno::FAULT)
    }

    /// What is to be read for this header, name first, then the parts and the control messages.
    pub(crate) fn wanted(&self) -> Result<[(ChildPtr, usize); 3], Errno> {
        if self.part_count > MOST_PARTS {
            return Err(Errno::MSGSIZE);
        }
        Ok([
            (self.name, self.name_length()?),
            (self.parts, self.part_count as usize * PART),
            (self.control, self.control_length()?),
        ])
    }

    /// Takes apart what was read for [`Header::wanted`].
    pub(crate) fn message(&self, bytes: &[u8]) -> Result<Message, Errno> {
        let (name, rest) = bytes.split_at(self.name_length()?);
        let (parts, control) = rest.split_at(self.part_count as usize * PART);
        Ok(Message {
            name: (!name.is_empty()).then(|| RawAddress::from_bytes(name)),
            parts: parse_parts(parts)?,
            control: control.to_vec(),
        })
    }

    /// A length without a pointer, or a pointer without a length, is no name.
    fn name_length(&self) -> Result<usize, Errno> {
        match usize::try_from(self.name_len) {
            _ if self.name.is_null() => Ok(0),
            Err(_) => Err(Errno::INVAL),
            Ok(len) => Ok(len.min(LONGEST)),
        }
    }

    fn control_length(&self) -> Result<usize, Errno> {
        match usize::try_from(self.control_len) {
            Ok(0) => Ok(0),
            Ok(len) if len < LONGEST_CONTROL => Ok(len),
            _ => Err(Errno::NOBUFS),
        }
    }
}

/// `struct iovec`s, none longer than a signed length, cut where a call ends anyway (`MAX_RW_COUNT`).
fn parse_parts(bytes: &[u8]) -> Result<Vec<(ChildPtr, usize)>, Errno> {
    let words = |part: &[u8]| {
        let mut words = [[0; 8]; 2];
        words.as_flattened_mut().copy_from_slice(part);
        words.map(u64::from_ne_bytes)
    };
    // All lengths first, then where they are.
    if bytes.chunks_exact(PART).any(|part| i64::try_from(words(part)[1]).is_err()) {
        return Err(Errno::INVAL);
    }
    let mut left = LONGEST_CALL;
    let mut parts = Vec::with_capacity(bytes.len() / PART);
    for part in bytes.chunks_exact(PART) {
        let [at, len] = words(part);
        let len = len as usize;
        // A single part is cut before it is judged, several are judged as they are (lib/iov_iter.c).
        let judged = if bytes.len() == PART { len.min(left) } else { len };
        if !may_be_a_users(at, judged) {
            return Err(Errno::FAULT);
        }
        let len = len.min(left);
        left -= len;
        parts.push((ChildPtr::from_register(at), len));
    }
    Ok(parts)
}

/// `access_ok`, roughly: user memory ends below the upper half. What is not there although it could be is told when
/// it is read.
pub(crate) fn may_be_a_users(at: u64, len: usize) -> bool {
    at.checked_add(len as u64).is_some_and(|end| i64::try_from(end).is_ok())
}

/// `sizeof(struct msghdr)`.
pub(crate) const HEADER: usize = 56;
/// `sizeof(struct iovec)`.
const PART: usize = 16;
/// `UIO_MAXIOV`.
const MOST_PARTS: u64 = 1024;
/// `MAX_RW_COUNT`.
pub(crate) const LONGEST_CALL: usize = 0x7fff_f000;
/// `net.core.optmem_max` is as much by default; as much or more is ENOBUFS there as well (`sock_kmalloc`).
const LONGEST_CONTROL: usize = 128 * 1024;
