//! Calls that no sandboxed program needs and that open the kernel or the machine: mounts and roots, keyrings, perf,
//! bpf, userfaultfd (which holds the kernel in the middle of a copy, to widen races), modules, clocks, handles.

use lab::{Args, Lab, NONE, raw, report, shown};

lab::suite! { tests: [every_door_is_closed], programs: [doors] }

/// What a call does with arguments that cannot do harm, as a name, a number, arguments and the errno inside.
type Door = (&'static str, libc::c_long, &'static [usize], &'static str);

const BAD: usize = 1;

#[rustfmt::skip]
const DOORS: &[Door] = &[
    ("mount", libc::SYS_mount, &[BAD, BAD, BAD, 0, 0], "EPERM"),
    ("umount2", libc::SYS_umount2, &[BAD, 0], "EPERM"),
    ("chroot", libc::SYS_chroot, &[BAD], "EPERM"),
    ("pivot_root", libc::SYS_pivot_root, &[BAD, BAD], "EPERM"),
    ("open_tree", libc::SYS_open_tree, &[0, BAD, 0], "EPERM"),
    ("move_mount", libc::SYS_move_mount, &[0, BAD, 0, BAD, 0], "EPERM"),
    ("fsopen", libc::SYS_fsopen, &[BAD, 0], "EPERM"),
    ("fsconfig", libc::SYS_fsconfig, &[0, 0, 0, 0, 0], "EPERM"),
    ("fsmount", libc::SYS_fsmount, &[0, 0, 0], "EPERM"),
    ("fspick", libc::SYS_fspick, &[0, BAD, 0], "EPERM"),
    ("mount_setattr", libc::SYS_mount_setattr, &[0, BAD, 0, BAD, 32], "EPERM"),
    ("statmount", 457, &[BAD, BAD, 0, 0], "EPERM"),
    ("listmount", 458, &[BAD, BAD, 0, 0], "EPERM"),
    ("add_key", libc::SYS_add_key, &[BAD, BAD, 0, 0, 0], "EPERM"),
    ("request_key", libc::SYS_request_key, &[BAD, BAD, 0, 0], "EPERM"),
    // KEYCTL_GET_KEYRING_ID of the user's keyring, made if there is none: no.
    ("keyctl", libc::SYS_keyctl, &[0, -4isize as usize, 0], "EPERM"),
    ("perf_event_open", libc::SYS_perf_event_open, &[BAD, 0, 0, 0, 0], "EPERM"),
    ("bpf", libc::SYS_bpf, &[0, BAD, 0], "EPERM"),
    ("userfaultfd", libc::SYS_userfaultfd, &[1], "EPERM"),
    ("open_by_handle_at", libc::SYS_open_by_handle_at, &[0, BAD, 0], "EPERM"),
    ("fanotify_init", libc::SYS_fanotify_init, &[0, 0], "EPERM"),
    ("quotactl", libc::SYS_quotactl, &[0, 0, 0, 0], "EPERM"),
    ("init_module", libc::SYS_init_module, &[BAD, 0, BAD], "EPERM"),
    ("finit_module", libc::SYS_finit_module, &[usize::MAX, BAD, 0], "EPERM"),
    ("delete_module", libc::SYS_delete_module, &[BAD, 0], "EPERM"),
    ("kexec_load", libc::SYS_kexec_load, &[0, 99, BAD, 0], "EPERM"),
    ("kexec_file_load", libc::SYS_kexec_file_load, &[usize::MAX, usize::MAX, 0, BAD, 0], "EPERM"),
    ("syslog", libc::SYS_syslog, &[10, 0, 0], "EPERM"),
    ("acct", libc::SYS_acct, &[BAD], "EPERM"),
    ("settimeofday", libc::SYS_settimeofday, &[BAD, 0], "EPERM"),
    ("adjtimex", libc::SYS_adjtimex, &[BAD], "EPERM"),
    ("clock_settime", libc::SYS_clock_settime, &[0, BAD], "EPERM"),
    ("clock_adjtime", libc::SYS_clock_adjtime, &[0, BAD], "EPERM"),
    ("swapon", libc::SYS_swapon, &[BAD, 0], "EPERM"),
    ("swapoff", libc::SYS_swapoff, &[BAD], "EPERM"),
    ("reboot", libc::SYS_reboot, &[0, 0, 0, 0], "EPERM"),
    ("sethostname", libc::SYS_sethostname, &[BAD, 1], "EPERM"),
    ("setdomainname", libc::SYS_setdomainname, &[BAD, 1], "EPERM"),
    ("msgget", libc::SYS_msgget, &[1, 0], "ENOSYS"),
    ("semget", libc::SYS_semget, &[1, 1, 0], "ENOSYS"),
    ("mq_open", libc::SYS_mq_open, &[BAD, 0, 0, 0], "ENOSYS"),
    ("a call of a later kernel", 1000, &[], "ENOSYS"),
    #[cfg(target_arch = "x86_64")]
    ("iopl", libc::SYS_iopl, &[0], "EPERM"),
    #[cfg(target_arch = "x86_64")]
    ("ioperm", libc::SYS_ioperm, &[0x80, 1, 0], "EPERM"),
    #[cfg(target_arch = "x86_64")]
    ("modify_ldt", libc::SYS_modify_ldt, &[0, 0, 0], "ENOSYS"),
];

/// Arguments are faulty, so that a call that got through would say something else than what the filter says.
fn every_door_is_closed(lab: &Lab) {
    let bare = lab.bare().run("doors", NONE);
    let differ = DOORS.iter().filter(|door| bare.value(door.0) != door.3).count();
    // An ordinary user meets the kernel's own EPERM at many.
    let enough = if lab.user().is_root() { DOORS.len() * 4 / 5 } else { DOORS.len() / 3 };
    assert!(differ >= enough, "only {differ} of them would be told apart\n{bare}");
    for options in [vec![], vec!["--net-allow", "*:*", "-w", "/tmp"], vec!["--kernel-only"]] {
        let out = lab.sandbox().options(options).run("doors", NONE);
        for door in DOORS {
            out.expect(door.0, door.3);
        }
    }
}

fn doors(_: &Args) {
    for (name, number, arguments, _) in DOORS {
        report(name, shown(raw::call(*number, arguments)));
    }
}
