//! System V and POSIX message passing: their names and numbers are the machine's, not the sandbox's.

use sandlock_filter::TableError;
use sandlock_sys::Errno;
use syscalls::Sysno;

use super::{Needs, Rows};
use crate::call::Handler;
use crate::task::shared_memory;

pub(super) fn rows(rows: &mut Rows, needs: &Needs) -> Result<(), TableError> {
    shared_memory(rows, needs)?;
    rows.refuse(
        Errno::NOSYS,
        "reaches the semaphores and queues of other programs of the same user; absent as on a kernel without them",
        &[
            Sysno::semget, Sysno::semop, Sysno::semctl,
            Sysno::semtimedop, Sysno::msgget, Sysno::msgsnd, Sysno::msgrcv, Sysno::msgctl, Sysno::mq_open,
            Sysno::mq_unlink, Sysno::mq_timedsend, Sysno::mq_timedreceive, Sysno::mq_notify, Sysno::mq_getsetattr,
        ],
    )?;
    rows.refuse(
        Errno::PERM,
        "the keyrings are the user's",
        &[Sysno::add_key, Sysno::request_key, Sysno::keyctl],
    )
}

/// PostgreSQL and others need it: so each run has keys and segments of its own.
fn shared_memory(rows: &mut Rows, needs: &Needs) -> Result<(), TableError> {
    if !needs.supervised {
        return rows.refuse(
            Errno::NOSYS,
            "reaches the segments of other programs of the same user; absent as on a kernel without them",
            &[Sysno::shmget, Sysno::shmat, Sysno::shmctl, Sysno::shmdt],
        );
    }
    rows.allow("unmaps the caller's own memory", &[Sysno::shmdt])?;
    for (call, handler) in [
        (Sysno::shmget, shared_memory::shmget as Handler),
        (Sysno::shmat, shared_memory::shmat),
        (Sysno::shmctl, shared_memory::shmctl),
    ] {
        rows.trap(
            call,
            handler,
            "keys and segments of the run's own; those of other programs are not there",
        )?;
    }
    Ok(())
}
