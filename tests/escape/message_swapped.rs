//! A message is a tree of pointers in memory that another thread can write: the vector of `sendmmsg`, the header, the
//! name, the parts, the control messages. Whoever checks it and then lets the kernel read it again has checked one
//! message and sent another.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lab::{Args, Lab, Output, UdpServer, raw, report};

use lab::message::{Entry, control, entry, part, sendmmsg, udp};

lab::suite! {
    tests: [the_name_that_is_checked_is_where_it_goes, the_options_that_are_checked_are_those_that_go],
    programs: [swap_message],
}

/// What is swapped, and whether a swap shows as a refusal.
const NAMES: [(&str, bool); 6] = [
    ("the bytes of the name", true),
    ("the pointer to the name", true),
    ("the length of the name", true),
    ("the pointer to the parts", false),
    ("the number of parts", false),
    ("a name in the vector", true),
];

fn the_name_that_is_checked_is_where_it_goes(lab: &Lab) {
    for (what, refuses) in NAMES {
        let (allowed, other) = (UdpServer::v4(), UdpServer::v4());
        let args = [what.to_owned(), allowed.address().to_string(), other.address().to_string()];
        let bare = lab.bare().run("swap_message", &args);
        let other_bare = other.saw().len();
        assert_eq!(other_bare > 0, refuses, "the swap never showed\n{bare}");

        let wide = format!("udp://127.0.0.9:{}", other.port());
        let before = allowed.saw().len();
        let out = lab.sandbox().allow(allowed.rule()).allow(&wide).run("swap_message", &args);
        let refused = out.value("refused").parse::<u32>().unwrap();
        assert_eq!(refused > 0, refuses, "the swap never showed\n{out}");
        assert_eq!(out.value("another error"), "none", "{out}");
        assert_eq!(other.saw().len(), other_bare, "{what}\n{out}");
        let seen = allowed.saw();
        assert!(seen.len() > before, "{out}");
        // Whatever was read, it was one of the two.
        let texts = ["first", "another", "anothermore"];
        let odd = seen.iter().find(|seen| !texts.contains(&seen.text().as_str()));
        assert_eq!(odd, None, "{what}\n{out}");
    }
}

fn the_options_that_are_checked_are_those_that_go(lab: &Lab) {
    for what in
        ["a control message", "the pointer to the control messages", "the length of the control messages"]
    {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_nonblocking(true).unwrap();
        let on = [receiver.as_raw_fd() as usize, 0, libc::IP_RECVOPTS as usize, raw::at(&1i32), 4];
        raw::call(libc::SYS_setsockopt, &on).unwrap();
        let to = receiver.local_addr().unwrap().to_string();
        let args = [what.to_owned(), to.clone(), to.clone()];
        let bare = || lab.bare().run("swap_message", &args);
        let (bare, (plain, with_options)) = while_receiving(&receiver, bare);
        assert!(plain > 0 && with_options > 0, "the swap never showed\n{bare}");
        let run = || lab.sandbox().allow(format!("udp://{to}")).run("swap_message", &args);
        let (out, (plain, with_options)) = while_receiving(&receiver, run);
        assert!(out.value("refused").parse::<u32>().unwrap() > 0, "the swap never showed\n{out}");
        assert!(plain > 0, "{out}");
        assert_eq!(with_options, 0, "{what}\n{out}");
    }
}

/// Receives during a run, since the receiver's buffer is short.
fn while_receiving(receiver: &UdpSocket, run: impl FnOnce() -> Output) -> (Output, (usize, usize)) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let counting = scope.spawn(|| {
            let (mut plain, mut with_options) = (0, 0);
            loop {
                let last = stop.load(Ordering::Relaxed);
                let more = received(receiver);
                (plain, with_options) = (plain + more.0, with_options + more.1);
                if last {
                    return (plain, with_options);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let out = run();
        stop.store(true, Ordering::Relaxed);
        (out, counting.join().unwrap())
    })
}

/// How many datagrams wait without IP options, and how many with them.
fn received(receiver: &UdpSocket) -> (usize, usize) {
    let (mut plain, mut with_options) = (0, 0);
    loop {
        let (mut payload, mut control) = ([0u8; 64], [0u8; 256]);
        let parts = [[raw::out(&mut payload), 64]];
        let mut header = [0, 0, raw::at(&parts), 1, raw::out(&mut control), 256, 0];
        let words = [receiver.as_raw_fd() as usize, raw::out(&mut header), 0];
        if raw::call(libc::SYS_recvmsg, &words).is_err() {
            return (plain, with_options);
        }
        *if header[5] > 0 { &mut with_options } else { &mut plain } += 1;
    }
}

/// `swap_message WHAT ALLOWED OTHER`: sends again and again, by `sendmsg` and `sendmmsg`, while another thread writes
/// one word of the message, now so, now so.
fn swap_message(args: &Args) {
    let what = args.text(0);
    let good = raw::internet(args.get::<SocketAddr>(1));
    let bad = raw::internet(args.get::<SocketAddr>(2));
    let mut name = good.clone();
    let first = [part(b"first"), part(b"more")];
    let second = [part(b"another"), part(b"more")];
    let harmless = control(libc::SOL_SOCKET, 1, &[7, 7, 4, 0, 0, 0, 0, 0]);
    let options = control(libc::IPPROTO_IP, libc::IP_RETOPTS, &[7, 7, 4, 0, 0, 0, 0, 0]);
    let mut control = harmless.clone();
    let socket = udp(args.get(1));
    let mut vector: [Entry; 3] = [entry(&good, &first[..1], &[]); 3];
    let header = &mut vector[0];
    let word64 = |bytes: &[u8]| u64::from_ne_bytes(bytes[..8].try_into().unwrap());
    // Which word, and what it is to be.
    let (word, values): (*mut u64, [usize; 2]) = match what {
        "the bytes of the name" => {
            header[0] = raw::at(&name[..]);
            (name.as_mut_ptr().cast(), [word64(&good) as usize, word64(&bad) as usize])
        }
        "the pointer to the name" => (word_of(header, 0), [raw::at(&good[..]), raw::at(&bad[..])]),
        "the length of the name" => {
            raw::connect(socket, &good).unwrap();
            header[0] = raw::at(&bad[..]);
            (word_of(header, 1), [0, 16])
        }
        "the pointer to the parts" => (word_of(header, 2), [raw::at(&first), raw::at(&second)]),
        "the number of parts" => {
            header[2] = raw::at(&second);
            (word_of(header, 3), [1, 2])
        }
        "a name in the vector" => (word_of(&mut vector[1], 0), [raw::at(&good[..]), raw::at(&bad[..])]),
        "a control message" => {
            (header[4], header[5]) = (raw::at(&control[..]), control.len());
            // Level and type together.
            (
                control[8..].as_mut_ptr().cast(),
                [word64(&harmless[8..]) as usize, word64(&options[8..]) as usize],
            )
        }
        "the pointer to the control messages" => {
            header[5] = options.len();
            (word_of(header, 4), [raw::at(&harmless[..]), raw::at(&options[..])])
        }
        "the length of the control messages" => {
            header[4] = raw::at(&options[..]);
            (word_of(header, 5), [0, options.len()])
        }
        other => panic!("swap {other}?"),
    };
    // SAFETY: the word is aligned (allocations and arrays of words are), outlives the threads, and the other thread
    // writes it atomically; this one lets only the kernel read it.
    let word = unsafe { AtomicU64::from_ptr(word) };
    let at = raw::at(&vector);
    let (stop, swaps) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (mut sent, mut refused, mut another) = (0, 0, None);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let count = swaps.fetch_add(1, Ordering::Relaxed);
                for (index, value) in values.into_iter().enumerate() {
                    word.store(value as u64, Ordering::Relaxed);
                    (0..7).for_each(|_| std::hint::spin_loop());
                    // Where both threads have to share a processor, the other one goes on here.
                    if count % 15 == index {
                        std::thread::yield_now();
                    }
                }
            }
        });
        // On a busy machine one thread may get far before the other one has its turn.
        let (begun, mut rounds, mut turns, mut last) = (Instant::now(), 0, 0, 0);
        while rounds < ROUNDS || (turns < TURNS && begun.elapsed() < LONGEST) {
            rounds += 1;
            let now = swaps.load(Ordering::Relaxed);
            turns += usize::from(now != last);
            last = now;
            let result = match rounds % 2 {
                0 if what != "a name in the vector" => {
                    raw::call(libc::SYS_sendmsg, &[socket as usize, at, 0]).map(|_| 3)
                }
                _ => raw::call(libc::SYS_sendmmsg, &[socket as usize, at, 3, 0]),
            };
            match result {
                Ok(3) => sent += 1,
                // What ended the batch is told by the next call.
                Ok(_) => refused += 1,
                Err(errno) if [libc::ECONNREFUSED, libc::EPERM].contains(&errno.0) => refused += 1,
                Err(errno) => another = Some(errno),
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    report("sent", sent);
    report("refused", refused);
    report("another error", another.map_or("none".to_owned(), |errno| errno.to_string()));
    let _ = sendmmsg(socket, &mut [], 0);
}

fn word_of(entry: &mut Entry, index: usize) -> *mut u64 {
    (&raw mut entry[index]).cast()
}

const ROUNDS: usize = 2000;
const TURNS: usize = 100;
const LONGEST: Duration = Duration::from_secs(2);
