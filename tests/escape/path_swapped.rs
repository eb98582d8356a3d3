//! Where `open` is looked at, it goes on in the kernel afterwards, and the path is in memory that another thread can
//! write. So a path that was swapped in between must be no way to a file that the kernel would not open anyway.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use lab::{Args, Lab, Rounds, raw, report};

lab::suite! { tests: [a_swapped_path_opens_nothing_else], programs: [swap_path] }

fn a_swapped_path_opens_nothing_else(lab: &Lab) {
    let (allowed, secret) = (lab.file("place/a", "allowed"), lab.file("place/b", "secret"));
    // A link that is served, one that leads outside.
    symlink("/etc/hosts", lab.path("work/a")).unwrap();
    symlink(&secret, lab.path("work/b")).unwrap();
    for (path, name) in [(allowed.clone(), "allowed"), (lab.path("work/a"), "hosts")] {
        let bare = lab.bare().run("swap_path", [&path]);
        assert!(bare.value("secret") != "0" && bare.value(name) != "0", "the swap never showed\n{bare}");
        let out = lab.sandbox().allow("localhost:9").read(&allowed).run("swap_path", [&path]);
        assert!(out.value("refused") != "0" && out.value(name) != "0", "the swap never showed\n{out}");
        out.expect("secret", 0);
    }
}

/// `swap_path PATH`: opens it again and again, while another thread makes its last letter `a` and `b`.
fn swap_path(args: &Args) {
    let path: Vec<AtomicU8> = args.text(0).bytes().chain([0]).map(AtomicU8::new).collect();
    let last = &path[path.len() - 2];
    let stop = AtomicBool::new(false);
    let (mut allowed, mut hosts, mut secret, mut refused) = (0, 0, 0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for letter in [b'a', b'b'] {
                    last.store(letter, Ordering::Relaxed);
                    std::hint::spin_loop();
                }
            }
        });
        let rounds = Rounds::begin();
        while rounds.go_on(allowed + hosts > SHOWN && secret + refused > SHOWN) {
            let Ok(fd) = raw::call(libc::SYS_openat, &[libc::AT_FDCWD as usize, raw::at(&path[..]), 0])
            else {
                refused += 1;
                continue;
            };
            let mut content = [0u8; 7];
            let _ = raw::call(libc::SYS_read, &[fd, raw::out(&mut content), content.len()]);
            raw::close(fd as i32);
            match &content {
                b"allowed" => allowed += 1,
                b"secret\0" => secret += 1,
                _ => hosts += 1,
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    for (key, count) in [("allowed", allowed), ("hosts", hosts), ("secret", secret), ("refused", refused)] {
        report(key, count);
    }
}

/// How often each side must have shown before a race counts as run.
const SHOWN: u32 = 20;
