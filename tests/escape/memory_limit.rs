//! Memory can be had in many ways: in one process or in many, by descriptors that nobody has mapped, in mappings whose
//! descriptors are closed, on its way from one process to another. Whatever way a program takes, its run ends.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::time::{Duration, Instant};

use lab::message::{control, header, part, sendmsg};
use lab::{Args, Lab, raw, report};

lab::suite! {
    tests: [
        a_hog_is_ended_whatever_way_it_takes,
        shared_pages_count_once_and_the_page_cache_not_at_all,
        what_was_given_back_does_not_count,
        nobody_makes_memory_that_cannot_be_seen,
    ],
    programs: [hog, share_memory, give_back, secret_memory],
}

const WAYS: [&str; 9] = [
    "private",
    "shared",
    "file in memory",
    "file in memory, mapped and closed",
    "files in memory, on their way",
    "segments that nobody has mapped",
    "many processes",
    "many orphans",
    "with signals ignored",
];

fn a_hog_is_ended_whatever_way_it_takes(lab: &Lab) {
    for way in WAYS {
        // It goes up to 200 MiB and stops there.
        lab.bare().run("hog", [way, "0"]).expect("reached", "200");
        lab.sandbox().options(["-m", "1G"]).run("hog", [way, "0"]).expect("reached", "200");
        let out = lab.sandbox().options(["-m", "100M"]).run("hog", [way, "8"]);
        assert_eq!(out.find("reached"), None, "{way}\n{out}");
        out.expect_code(128 + libc::SIGKILL);
        out.expect_said("was ended: it used more memory than it may (--memory 100M)\n");
    }
}

fn shared_pages_count_once_and_the_page_cache_not_at_all(lab: &Lab) {
    let file = lab.path("work/file");
    let out =
        lab.sandbox().write(lab.path("work")).options(["-m", "120M"]).run("share_memory", [file.as_os_str()]);
    out.expect("children", 8).expect("mapped file", "ok").expect("started", "ok").expect_code(0);
}

fn what_was_given_back_does_not_count(lab: &Lab) {
    lab.sandbox().options(["-m", "100M"]).run("give_back", lab::NONE).expect("rounds", 12).expect_code(0);
}

fn nobody_makes_memory_that_cannot_be_seen(lab: &Lab) {
    let out = lab.sandbox().options(["-m", "100M"]).run("secret_memory", lab::NONE);
    out.expect("memfd_secret", "ENOSYS");
}

const MIB: usize = 1 << 20;

fn map(len: usize, flags: i32, file: i32) -> &'static mut [u8] {
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let at = raw::call(libc::SYS_mmap, &[0, len, protection, flags as usize, file as usize, 0]).unwrap();
    // SAFETY: the kernel just mapped so much, and nothing unmaps it but who leaks it here.
    unsafe { std::slice::from_raw_parts_mut(at as *mut u8, len) }
}

fn touch(memory: &mut [u8]) {
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
}

fn memory_file() -> std::fs::File {
    let fd = raw::call(libc::SYS_memfd_create, &[raw::at(b"hog\0"), 1]).unwrap();
    // SAFETY: the kernel just made it.
    unsafe { std::fs::File::from_raw_fd(fd as i32) }
}

/// `hog WAY SECONDS`: takes 200 MiB, a part at a time, and has them for so long.
fn hog(args: &Args) {
    let pace = || std::thread::sleep(Duration::from_millis(10));
    let anonymous = libc::MAP_ANONYMOUS;
    let (mut kept, mut segments) = (Vec::new(), Vec::new());
    // Children live as long as their parent.
    let (mut alive, held) = std::io::pipe().unwrap();
    let mut child = |held: &std::io::PipeWriter| {
        raw::close(held.as_raw_fd());
        touch(map(10 * MIB, anonymous | libc::MAP_PRIVATE, -1));
        let _ = alive.read(&mut [0; 1]);
        raw::exit(0);
    };
    match args.text(0) {
        "private" => (0..20).for_each(|_| {
            touch(map(10 * MIB, anonymous | libc::MAP_PRIVATE, -1));
            pace();
        }),
        "shared" => (0..20).for_each(|_| {
            touch(map(10 * MIB, anonymous | libc::MAP_SHARED, -1));
            pace();
        }),
        "file in memory" => {
            let mut file = memory_file();
            (0..20).for_each(|_| {
                file.write_all(&vec![1; 10 * MIB]).unwrap();
                pace();
            });
            kept.push(file);
        }
        "file in memory, mapped and closed" => (0..20).for_each(|_| {
            let file = memory_file();
            file.set_len(10 * MIB as u64).unwrap();
            let memory = map(10 * MIB, libc::MAP_SHARED, file.as_raw_fd());
            drop(file);
            touch(memory);
            // The pages stay with the file, and in nobody's tables.
            let len = memory.len();
            raw::call(libc::SYS_madvise, &[raw::at(memory), len, libc::MADV_DONTNEED as usize]).unwrap();
            pace();
        }),
        "files in memory, on their way" => {
            let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
            (0..20).for_each(|_| {
                let mut file = memory_file();
                file.write_all(&vec![1; 10 * MIB]).unwrap();
                let rights = control(libc::SOL_SOCKET, libc::SCM_RIGHTS, &file.as_raw_fd().to_ne_bytes());
                let parts = [part(b"x")];
                sendmsg(one.as_raw_fd(), &header(&[], &parts, &rights), 0).unwrap();
                pace();
            });
            std::mem::forget((one, other));
        }
        "segments that nobody has mapped" => (0..20).for_each(|_| {
            let create = (libc::IPC_CREAT | 0o600) as usize;
            let id = raw::call(libc::SYS_shmget, &[libc::IPC_PRIVATE as usize, 10 * MIB, create]).unwrap();
            let at = raw::call(libc::SYS_shmat, &[id, 0, 0]).unwrap();
            // SAFETY: the kernel just mapped so much; it is not used after it is unmapped.
            touch(unsafe { std::slice::from_raw_parts_mut(at as *mut u8, 10 * MIB) });
            raw::call(libc::SYS_shmdt, &[at]).unwrap();
            segments.push(id);
            pace();
        }),
        "many orphans" => (0..20).for_each(|_| {
            if raw::fork() == 0 {
                raw::call(libc::SYS_setsid, &[]).unwrap();
                if raw::fork() == 0 {
                    child(&held);
                }
                raw::exit(0);
            }
            pace();
        }),
        way => {
            if way == "with signals ignored" {
                // SAFETY: SIG_IGN is a disposition.
                (1..=64).for_each(|signal| _ = unsafe { libc::signal(signal, libc::SIG_IGN) });
            }
            (0..20).for_each(|_| {
                if raw::fork() == 0 {
                    child(&held);
                }
                pace();
            });
        }
    }
    std::thread::sleep(Duration::from_secs(args.get(1)));
    for id in segments {
        raw::call(libc::SYS_shmctl, &[id, libc::IPC_RMID as usize, 0]).unwrap();
    }
    report("reached", 200);
    raw::exit(0);
}

/// `share_memory FILE`: eight children with their parent's 60 MiB, a file of 200 MiB that is mapped and read, and a program
/// started while all of that is there.
fn share_memory(args: &Args) {
    touch(map(60 * MIB, libc::MAP_ANONYMOUS | libc::MAP_PRIVATE, -1));
    let children = (0..8)
        .filter(|_| {
            let child = raw::fork();
            if child == 0 {
                std::thread::sleep(Duration::from_millis(800));
                raw::exit(0);
            }
            child > 0
        })
        .count();
    report("children", children);
    let mut file = std::fs::File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(args.path(0))
        .unwrap();
    (0..200).for_each(|_| file.write_all(&vec![1; MIB]).unwrap());
    let memory = map(200 * MIB, libc::MAP_SHARED, file.as_raw_fd());
    let sum: usize = memory.iter().step_by(4096).map(|byte| usize::from(*byte)).sum();
    report("mapped file", if sum == 200 * 256 { "ok" } else { "wrong" });
    // By vfork: until it executes, the child has its parent's memory.
    let until = Instant::now() + Duration::from_millis(600);
    while Instant::now() < until {
        assert!(std::process::Command::new("/bin/true").status().unwrap().success());
    }
    report("started", "ok");
}

/// Sixty MiB at a time, in each way in turn.
fn give_back(_: &Args) {
    let mut rounds = 0;
    for round in 0..12 {
        match round % 3 {
            0 => {
                let memory = map(60 * MIB, libc::MAP_ANONYMOUS | libc::MAP_PRIVATE, -1);
                touch(memory);
                raw::call(libc::SYS_munmap, &[raw::at(memory), memory.len()]).unwrap();
            }
            1 => {
                let mut file = memory_file();
                (0..60).for_each(|_| file.write_all(&vec![1; MIB]).unwrap());
                std::io::Seek::rewind(&mut file).unwrap();
                assert_eq!(file.read(&mut [0; 1]).unwrap(), 1);
            }
            _ => {
                let file = memory_file();
                file.set_len(60 * MIB as u64).unwrap();
                let memory = map(60 * MIB, libc::MAP_SHARED, file.as_raw_fd());
                touch(memory);
                drop(file);
                raw::call(libc::SYS_munmap, &[raw::at(memory), memory.len()]).unwrap();
            }
        }
        std::thread::sleep(Duration::from_millis(50));
        rounds += 1;
    }
    report("rounds", rounds);
}

fn secret_memory(_: &Args) {
    report("memfd_secret", lab::shown(raw::call(libc::SYS_memfd_secret, &[0])));
}
