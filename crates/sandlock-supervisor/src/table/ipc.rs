//! System V and POSIX message passing: their names and numbers are the machine's, not the sandbox's.

use sandlock_filter::TableError;
use sandlock_sys::Errno;
use syscalls::Sysno;

use super::Rows;

pub(super) fn rows(rows: &mut Rows) -> Result<(), TableError> {
    rows.refuse(
        Errno::NOSYS,
        "reaches the segments and queues of other programs of the same user; absent as on a kernel without them",
        &[
            Sysno::shmget, Sysno::shmat, Sysno::shmctl, Sysno::shmdt, Sysno::semget, Sysno::semop, Sysno::semctl,
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
