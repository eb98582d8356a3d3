//! What containers refuse by their seccomp profiles: a run works there, or says at its start who refuses what.

use lab::{Args, Lab, TcpServer};

lab::suite! {
    tests: [
        calls_that_nobody_needs_are_missed_by_nobody,
        what_is_needed_is_named_before_anything_runs,
        the_kernel_alone_needs_less,
    ],
    programs: [under],
}

/// What Docker's default profile refuses to whoever has no `CAP_SYS_ADMIN`, as numbers.
const ADMINISTRATION: [i64; 12] = [
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_mount_setattr,
    libc::SYS_bpf,
    libc::SYS_sethostname,
    libc::SYS_quotactl,
    libc::SYS_perf_event_open,
];

/// `sandlock` with these arguments, below a filter that answers these calls with EPERM.
fn refused(lab: &Lab, calls: &[i64], words: &[&str]) -> lab::Output {
    let calls = calls.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
    let sandlock = lab.sandlock().binaries().join("sandlock");
    let first = [calls, sandlock.display().to_string()];
    lab.bare().run("under", first.iter().map(String::as_str).chain(words.iter().copied()))
}

fn calls_that_nobody_needs_are_missed_by_nobody(lab: &Lab) {
    let (allowed, other) = (TcpServer::v4(), TcpServer::v4());
    let binaries = lab.sandlock().binaries().display().to_string();
    let work = lab.path("work").display().to_string();
    for calls in [&ADMINISTRATION[..], &[libc::SYS_process_madvise, libc::SYS_userfaultfd]] {
        let line = "umask 027; touch made; stat -c mode=%a made; mkdir sub; cd sub; touch ../made; rm -r ../made ../sub; echo done=$?";
        let words = [
            "run",
            "--cwd",
            &work,
            "-w",
            ".",
            "--fs-deny",
            "denied",
            "-r",
            &binaries,
            "--",
            "sh",
            "-c",
            line,
        ];
        refused(lab, calls, &words).expect("mode", 640).expect("done", 0);
        let rule = allowed.rule();
        let python = "import socket,sys\nfor name in sys.argv[1:]:\n h,p=name.rsplit(':',1)\n s=socket.socket(); print(name, s.connect_ex((h,int(p))))";
        let other_rule = other.rule();
        let words = ["run", "--net-allow", &rule, "--", "/usr/bin/python3", "-c", python, &rule, &other_rule];
        let out = refused(lab, calls, &words);
        assert_eq!(out.stdout, format!("{rule} 0\n{other_rule} {}\n", libc::ECONNREFUSED), "{out}");
    }
    assert_eq!((allowed.saw().len(), other.saw().len()), (2, 0));
}

fn what_is_needed_is_named_before_anything_runs(lab: &Lab) {
    for (call, said) in [
        (
            libc::SYS_pidfd_getfd,
            "refuses pidfd_open, pidfd_getfd or process_vm_readv; have them allowed (docker run --cap-add SYS_PTRACE",
        ),
        (
            libc::SYS_pidfd_open,
            "refuses pidfd_open, pidfd_getfd or process_vm_readv; have them allowed (docker run --cap-add SYS_PTRACE",
        ),
        (
            libc::SYS_process_vm_readv,
            "refuses pidfd_open, pidfd_getfd or process_vm_readv; have them allowed (docker run --cap-add SYS_PTRACE",
        ),
        (libc::SYS_landlock_create_ruleset, "seccomp profile must allow landlock_*"),
        (libc::SYS_seccomp, "seccomp profile must allow seccomp(2)"),
    ] {
        for words in [
            &["run", "--", "echo", "executed"][..],
            &["run", "--net-allow", ":443", "--", "echo", "executed"],
        ] {
            let out = refused(lab, &[call], words);
            out.expect_code(125).expect_said(said);
            assert_eq!(out.stdout, "", "{out}");
        }
        refused(lab, &[call], &["check"]).expect_code(1);
    }
}

fn the_kernel_alone_needs_less(lab: &Lab) {
    let calls =
        [&ADMINISTRATION[..], &[libc::SYS_pidfd_getfd, libc::SYS_kcmp, libc::SYS_process_vm_readv]].concat();
    let out =
        refused(lab, &calls, &["run", "--kernel-only", "--", "sh", "-c", "echo done=$?; cat /etc/shadow"]);
    out.expect("done", 0).expect_code(1);
}

/// Forbids itself the calls of the first argument, and executes the rest.
fn under(args: &Args) {
    use std::os::unix::process::CommandExt;

    let load = |offset| libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: offset };
    let answer = |what| libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: what };
    let mut filter = vec![load(0)];
    for call in args.text(0).split(',') {
        filter.push(libc::sock_filter { code: 0x15, jt: 0, jf: 1, k: call.parse().unwrap() });
        filter.push(answer(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32));
    }
    filter.push(answer(libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: takes numbers only.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the program and its instructions live on until it is installed.
    let installed =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(installed, 0, "{}", std::io::Error::last_os_error());
    let words: Vec<_> = (2..args.count()).map(|index| args.text(index)).collect();
    panic!("{}", std::process::Command::new(args.path(1)).args(words).exec());
}
