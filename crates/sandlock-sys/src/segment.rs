//! System V shared memory: segments that are gone when this process is, or when nobody has them mapped.

use std::mem::MaybeUninit;

use rustix::io::Errno;

use crate::listener::last_errno;

/// A segment of this process's own making, kept alive by a mapping that nobody reads.
#[derive(Debug)]
pub struct Segment {
    id: i32,
    at: *mut libc::c_void,
}

// SAFETY: the mapping is only ever unmapped, which any thread of the process may do.
unsafe impl Send for Segment {}

impl Segment {
    /// Makes one that no key leads to, for this user only. `flags` may have SHM_HUGETLB and the like.
    ///
    /// It is marked for removal at once, which Linux does when the last mapping goes (shmctl(2)): nothing is left
    /// behind, however this process ends.
    ///
    /// # Errors
    ///
    /// That of `shmget(2)` or `shmat(2)`.
    pub fn make(size: usize, flags: i32) -> Result<Self, Errno> {
        let flags = (flags & !0o777) | 0o600 | libc::IPC_CREAT;
        // SAFETY: takes numbers only.
        let id = unsafe { libc::shmget(libc::IPC_PRIVATE, size, flags) };
        if id < 0 {
            return Err(last_errno());
        }
        // SAFETY: the kernel chooses where; the mapping is never read through.
        let at = unsafe { libc::shmat(id, std::ptr::null(), libc::SHM_RDONLY) };
        let failed = (at as isize == -1).then(last_errno);
        // SAFETY: removal takes no buffer.
        unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) };
        match failed {
            Some(errno) => Err(errno),
            None => Ok(Segment { id, at }),
        }
    }

    /// Its number.
    pub fn id(&self) -> i32 {
        self.id
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // SAFETY: where `make` mapped it; nothing refers to it.
        unsafe { libc::shmdt(self.at) };
    }
}

/// What the kernel says of a segment: `struct shmid_ds`, as bytes, and the parts that are of interest here.
#[derive(Debug)]
pub struct SegmentState(libc::shmid_ds);

impl SegmentState {
    /// Asks for it.
    ///
    /// # Errors
    ///
    /// EINVAL or EIDRM when there is no such segment, EACCES when it may not be read.
    pub fn of(id: i32) -> Result<Self, Errno> {
        let mut state = MaybeUninit::<libc::shmid_ds>::zeroed();
        // SAFETY: the kernel writes one `shmid_ds` to a live buffer of that size.
        if unsafe { libc::shmctl(id, libc::IPC_STAT, state.as_mut_ptr()) } != 0 {
            return Err(last_errno());
        }
        // SAFETY: zeroed, and then written; integers only.
        Ok(SegmentState(unsafe { state.assume_init() }))
    }

    /// Whether it is as those are that this process made: its number, and the mark for removal. Somebody who is gone
    /// may have had the same process id, so it must be known to have been made here besides.
    pub fn is_own(&self) -> bool {
        let marked = self.0.shm_perm.mode as u32 & SHM_DEST != 0;
        marked && self.0.shm_cpid == std::process::id() as i32
    }

    /// As it is to be told to somebody else: without the mapping that keeps it, and without the mark for removal if
    /// it has a keeper.
    #[must_use]
    pub fn told(mut self, kept: Option<(i32, u16, i32)>) -> Self {
        if let Some((key, mode, creator)) = kept {
            self.0.shm_perm.__key = key;
            self.0.shm_perm.mode = mode as _;
            self.0.shm_cpid = creator;
            self.0.shm_nattch = self.0.shm_nattch.saturating_sub(1);
        }
        self
    }

    /// As the caller of `shmctl(2)` reads it, in words of four bytes.
    pub fn words(&self) -> Vec<[u8; 4]> {
        // SAFETY: `shmid_ds` is integers only, zeroed with its padding before the kernel wrote it, and copied whole.
        let bytes = unsafe {
            std::slice::from_raw_parts((&raw const self.0).cast::<u8>(), size_of::<libc::shmid_ds>())
        };
        bytes.as_chunks::<4>().0.to_vec()
    }
}

/// `include/linux/shm.h`.
const SHM_DEST: u32 = 0o1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_there_while_it_is_kept_and_nobody_maps_it_afterwards() {
        let segment = Segment::make(4096, 0).unwrap();
        let id = segment.id();
        assert!(SegmentState::of(id).unwrap().is_own());
        drop(segment);
        assert!(matches!(SegmentState::of(id), Err(Errno::INVAL | Errno::IDRM)));
    }
}
