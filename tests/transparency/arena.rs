//! Memory at addresses that are the same in every run: what a call reads lies here, or is missing here.

use lab::raw;

use crate::random::Random;

/// Where it begins: far from what the kernel places by itself.
const START: usize = 0x10_0000_0000;
const SIZE: usize = 1 << 20;
const PAGE: usize = 4096;
/// The payload: a pattern, read only by the kernel.
const PAYLOAD: usize = 256 << 10;

const END: usize = START + SIZE;
/// Nothing is mapped from here to the start. A second end, so that a name and what names it can both lie at one.
const NAMES_END: usize = START - PAGE;
/// A page that may be read, not written; holds nothing but what [`Arena::freeze`] puts there.
const FROZEN: usize = END + PAGE;
/// A page that may neither be read nor written.
const CLOSED: usize = FROZEN + 2 * PAGE;
/// An address that no program can have.
const KERNEL: usize = 0xffff_8000_0000_0000;
/// Nothing is mapped here.
const NOWHERE: usize = 0x4000;

pub(crate) struct Arena {
    next: usize,
}

impl Arena {
    pub(crate) fn map() -> Self {
        for (at, len, protection) in [
            (START, SIZE, libc::PROT_READ | libc::PROT_WRITE),
            (NAMES_END - PAGE, PAGE, libc::PROT_READ | libc::PROT_WRITE),
            (FROZEN, PAGE, libc::PROT_READ),
            (CLOSED, PAGE, libc::PROT_NONE),
        ] {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
            raw::call(libc::SYS_mmap, &[at, len, protection as usize, flags as usize, usize::MAX, 0])
                .unwrap();
        }
        let arena = Arena { next: START + PAYLOAD };
        let pattern: Vec<u8> = (0..PAYLOAD).map(|index| (index * 7 + index / 251) as u8).collect();
        write(START, &pattern);
        arena
    }

    /// Forgets what the last call used.
    pub(crate) fn clear(&mut self) {
        self.next = START + PAYLOAD;
    }

    /// Puts bytes somewhere, with zeroes behind them up to `room`.
    pub(crate) fn put(&mut self, bytes: &[u8], room: usize) -> usize {
        let at = self.next;
        let size = room.max(bytes.len());
        self.next += (size + 64).next_multiple_of(16);
        assert!(self.next < END - 8 * PAGE, "the arena is full");
        write(at, &vec![0; size + 64]);
        write(at, bytes);
        at
    }

    /// Puts bytes so that only the first `readable` can be read.
    pub(crate) fn put_at_end(bytes: &[u8], readable: usize) -> usize {
        Self::put_before(END, bytes, readable)
    }

    /// As [`Arena::put_at_end`], for names.
    pub(crate) fn put_name_at_end(bytes: &[u8], readable: usize) -> usize {
        Self::put_before(NAMES_END, bytes, readable)
    }

    fn put_before(end: usize, bytes: &[u8], readable: usize) -> usize {
        let readable = readable.min(bytes.len());
        write(end - readable, &bytes[..readable]);
        end - readable
    }

    /// Where `readable` bytes of payload are, and nothing after them.
    pub(crate) fn payload_at_end(readable: usize) -> usize {
        Self::put_at_end(&vec![0x5A; readable], readable)
    }

    /// Puts bytes where they can be read only.
    pub(crate) fn freeze(bytes: &[u8]) -> usize {
        let protect = |protection: i32| {
            raw::call(libc::SYS_mprotect, &[FROZEN, PAGE, protection as usize]).unwrap();
        };
        protect(libc::PROT_READ | libc::PROT_WRITE);
        write(FROZEN, bytes);
        protect(libc::PROT_READ);
        FROZEN
    }

    /// Where `len` bytes of payload are.
    pub(crate) fn payload(random: &mut Random) -> usize {
        START + random.below(64)
    }

    /// A pointer to nothing, and its name.
    pub(crate) fn bad(random: &mut Random) -> (usize, &'static str) {
        random.of(&[(0, "null"), (NOWHERE, "unmapped"), (CLOSED, "closed"), (KERNEL, "kernel"), (END, "end")])
    }
}

fn write(at: usize, bytes: &[u8]) {
    // SAFETY: all of it lies in mappings that `map` made.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at as *mut u8, bytes.len()) };
}

/// Reads a number that the kernel may have written.
pub(crate) fn read_u32(at: usize) -> u32 {
    // SAFETY: in a mapping that `map` made.
    unsafe { (at as *const u32).read_volatile() }
}

/// Reads what the kernel may have written.
pub(crate) fn read_bytes(at: usize, len: usize) -> Vec<u8> {
    assert!((START..END - len).contains(&at));
    // SAFETY: in a mapping that `map` made.
    unsafe { std::slice::from_raw_parts(at as *const u8, len) }.to_vec()
}
