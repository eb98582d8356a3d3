//! System V segments have keys and numbers of the machine. A run has its own: a program inside must reach no segment of
//! another program or of another run, by key or number, and leave none behind.

use std::time::Duration;

use lab::{Args, Child, Errno, Lab, raw, report, shown};

lab::suite! {
    tests: [
        segments_outside_are_not_reached,
        two_runs_share_no_segment,
        nothing_is_left_behind,
        no_more_than_a_bounded_number_is_made,
    ],
    programs: [hold_segment, reach_segment, leave_segments, many_segments],
}

const CREATE: usize = (libc::IPC_CREAT | 0o666) as usize;
const PAGE: usize = 4096;

fn key(lab: &Lab) -> String {
    let path = lab.root().display().to_string();
    path.bytes()
        .fold(0x2468u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()) & 0x7fff_ffff)
        .to_string()
}

/// A process that holds a segment, and its number.
fn holder(run: lab::Run, key: &str) -> (Child, String) {
    let mut child = run.input_pipe().program("hold_segment", [key]).start();
    let id = child.wait_for("id");
    (child, id)
}

const ACTS: [&str; 6] = ["by key", "attach", "stat", "set", "remove", "lock"];

fn segments_outside_are_not_reached(lab: &Lab) {
    let key = key(lab);
    let (mut outside, id) = holder(lab.bare(), &key);
    let out = lab.sandbox().run("reach_segment", [&key, &id]);
    out.expect("by key", "ENOENT");
    for act in &ACTS[1..] {
        out.expect(act, "EINVAL");
    }
    for act in ["info", "stat by index", "stat any", "info of all"] {
        out.expect(act, "EINVAL");
    }
    outside.send("x");
    outside.finish().expect("content", "own");

    let (mut outside, id) = holder(lab.bare(), &key);
    let bare = lab.bare().run("reach_segment", [&key, &id]);
    for act in ACTS {
        bare.expect(act, "ok");
    }
    outside.send("x");
    outside.finish().expect("content", "taken");
}

fn two_runs_share_no_segment(lab: &Lab) {
    let key = key(lab);
    let (mut one, id) = holder(lab.sandbox(), &key);
    let (mut two, other) = holder(lab.sandbox(), &key);
    assert_ne!(id, other, "one segment for two runs");
    let out = lab.sandbox().run("reach_segment", [&key, &id]);
    out.expect("by key", "ENOENT").expect("attach", "EINVAL").expect("remove", "EINVAL");
    // Nor from outside by key, and by number only for the same user, as every process's memory is.
    lab.bare().run("reach_segment", [&key, "-1"]).expect("by key", "ENOENT");
    for run in [&mut one, &mut two] {
        run.send("x");
    }
    one.finish().expect("content", "own");
    two.finish().expect("content", "own");
}

fn nothing_is_left_behind(lab: &Lab) {
    let ids = |out: &lab::Output| out.value("ids").split(',').map(str::to_owned).collect::<Vec<_>>();
    let there = |id: &str| {
        let id: usize = id.parse().unwrap();
        let mut state = [0u8; 256];
        raw::call(libc::SYS_shmctl, &[id, libc::IPC_STAT as usize, raw::out(&mut state)]).is_ok()
    };
    // Whoever looks at a process that ends (`ps`, say) keeps its memory for a moment.
    let stays = |id: &str| {
        (0..200).all(|_| {
            there(id) && {
                std::thread::sleep(Duration::from_millis(10));
                true
            }
        })
    };
    let bare = lab.bare().run("leave_segments", ["end"]);
    for id in ids(&bare) {
        assert!(there(&id), "{bare}");
        raw::call(libc::SYS_shmctl, &[id.parse().unwrap(), libc::IPC_RMID as usize]).unwrap();
    }
    for end in ["end", "kill"] {
        let out = lab.sandbox().run("leave_segments", [end]);
        for id in ids(&out) {
            assert!(!stays(&id), "{out}");
        }
    }
    // Whoever ends the run: also when nobody is left to do anything about it.
    let mut run = lab.sandbox().program("leave_segments", ["stay"]).start();
    let supervisor = run.wait_for("supervisor").parse::<usize>().unwrap();
    let held = run.wait_for("ids").split(',').map(str::to_owned).collect::<Vec<_>>();
    assert!(held.iter().all(|id| there(id)));
    raw::call(libc::SYS_kill, &[supervisor, libc::SIGKILL as usize]).unwrap();
    run.finish().expect_code(125);
    assert!(!held.iter().any(|id| stays(id)));
}

fn no_more_than_a_bounded_number_is_made(lab: &Lab) {
    lab.sandbox().run("many_segments", ["400"]).expect("made", 256).expect("then", "ENOSPC");
}

fn make(key: usize) -> Result<usize, Errno> {
    raw::call(libc::SYS_shmget, &[key, PAGE, CREATE])
}

fn attach(id: usize) -> Result<*mut u8, Errno> {
    raw::call(libc::SYS_shmat, &[id, 0, 0]).map(|at| at as *mut u8)
}

fn write(at: *mut u8, text: &str) {
    // SAFETY: a page was mapped there, for writing.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), at, text.len()) };
}

/// `hold_segment KEY`: until there is input.
fn hold_segment(args: &Args) {
    let id = make(args.get(0)).unwrap();
    let at = attach(id).unwrap();
    write(at, "own\0\0");
    report("id", id);
    let mut byte = [0u8; 1];
    raw::call(libc::SYS_read, &[0, raw::out(&mut byte), 1]).unwrap();
    // SAFETY: a page was mapped there.
    let text = unsafe { std::slice::from_raw_parts(at, 5) };
    report("content", String::from_utf8_lossy(text).trim_end_matches('\0'));
    let _ = raw::call(libc::SYS_shmctl, &[id, libc::IPC_RMID as usize]);
}

/// `reach_segment KEY ID`.
fn reach_segment(args: &Args) {
    report("by key", shown(raw::call(libc::SYS_shmget, &[args.get(0), PAGE, 0])));
    let id: usize = args.get::<i32>(1) as usize;
    let attached = attach(id);
    if let Ok(at) = attached {
        write(at, "taken");
    }
    report("attach", shown(attached));
    let mut state = [0u8; 256];
    let mut control = |act: &str, command: i32| {
        let done = raw::call(libc::SYS_shmctl, &[id, command as usize, raw::out(&mut state)]);
        report(act, shown(done));
    };
    const SHM_STAT: i32 = 13;
    const SHM_INFO: i32 = 14;
    const SHM_STAT_ANY: i32 = 15;
    for (act, command) in [
        ("stat", libc::IPC_STAT),
        ("set", libc::IPC_SET),
        ("lock", libc::SHM_LOCK),
        ("info", libc::IPC_INFO),
        ("info of all", SHM_INFO),
        ("stat by index", SHM_STAT),
        ("stat any", SHM_STAT_ANY),
        ("remove", libc::IPC_RMID),
    ] {
        control(act, command);
    }
}

/// `leave_segments end|kill|stay`.
fn leave_segments(args: &Args) {
    let ids: Vec<usize> = (0..3).map(|_| make(0).unwrap()).collect();
    ids.iter().for_each(|&id| assert!(attach(id).is_ok()));
    let ids: Vec<String> = ids.iter().map(usize::to_string).collect();
    report("supervisor", std::os::unix::process::parent_id());
    report("ids", ids.join(","));
    match args.text(0) {
        "stay" => drop(raw::call(libc::SYS_pause, &[])),
        "kill" => drop(raw::call(libc::SYS_kill, &[std::process::id() as usize, libc::SIGKILL as usize])),
        _ => {}
    }
}

/// `many_segments COUNT`.
fn many_segments(args: &Args) {
    let wanted: usize = args.get(0);
    let mut made = 0;
    let refused = (0..wanted).find_map(|_| make(0).inspect(|_| made += 1).err());
    report("made", made);
    report("then", refused.map_or_else(|| "nothing".to_owned(), |errno| errno.to_string()));
}
