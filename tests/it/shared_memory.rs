//! System V shared memory inside is as on a bare kernel, for the programs of one run.

use lab::{Args, Errno, Lab, raw, report, shown};

lab::suite! { tests: [it_is_as_bare, without_a_supervisor_it_is_absent], programs: [use_segments, one_segment] }

fn it_is_as_bare(lab: &Lab) {
    let key = lab.root().display().to_string();
    let key =
        key.bytes().fold(0x1234u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()) & 0x7fff_ffff);
    let bare = lab.bare().run("use_segments", [key.to_string()]);
    let out = lab.sandbox().run("use_segments", [key.to_string()]);
    assert_eq!(out.stdout, bare.stdout);
    out.expect("heard", "from the child").expect("again", "the same").expect("attached", 3);
    out.expect("key of it", "the same").expect("mode", "600").expect("maker", "the same");
}

fn without_a_supervisor_it_is_absent(lab: &Lab) {
    lab.sandbox().option("--kernel-only").run("one_segment", lab::NONE).expect("made", "ENOSYS");
    lab.sandbox().run("one_segment", lab::NONE).expect("made", "ok");
}

const PAGE: usize = 4096;

fn get(key: usize, size: usize, flags: i32) -> Result<usize, Errno> {
    raw::call(libc::SYS_shmget, &[key, size, flags as usize])
}

fn state(id: usize) -> Result<libc::shmid_ds, Errno> {
    // SAFETY: integers only.
    let mut state: libc::shmid_ds = unsafe { std::mem::zeroed() };
    raw::call(libc::SYS_shmctl, &[id, libc::IPC_STAT as usize, raw::out(&mut state)]).map(|_| state)
}

fn one_segment(_: &Args) {
    let made = get(0, PAGE, libc::IPC_CREAT | 0o600);
    report("made", shown(made));
    if let Ok(id) = made {
        raw::call(libc::SYS_shmctl, &[id, libc::IPC_RMID as usize]).unwrap();
    }
}

/// `use_segments KEY`.
fn use_segments(args: &Args) {
    let key: usize = args.get(0);
    report("absent", shown(get(key, PAGE, 0o600)));
    report("empty", shown(get(key, 0, libc::IPC_CREAT | 0o600)));
    let id = get(key, PAGE, libc::IPC_CREAT | libc::IPC_EXCL | 0o600).unwrap();
    report("exclusive", shown(get(key, PAGE, libc::IPC_CREAT | libc::IPC_EXCL | 0o600)));
    report("again", if get(key, PAGE, libc::IPC_CREAT | 0o600) == Ok(id) { "the same" } else { "another" });
    report("smaller", if get(key, 100, 0) == Ok(id) { "the same" } else { "another" });
    report("larger", shown(get(key, PAGE + 1, 0)));
    let at = raw::call(libc::SYS_shmat, &[id, 0, 0]).unwrap();
    let child = raw::fork();
    if child == 0 {
        let id = get(key, 0, 0).unwrap();
        let at = raw::call(libc::SYS_shmat, &[id, 0, 0]).unwrap();
        let text = b"from the child";
        // SAFETY: a page was mapped there, for writing.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), at as *mut u8, text.len()) };
        report("attached", state(id).map_or(0, |state| state.shm_nattch));
        raw::call(libc::SYS_shmdt, &[at]).unwrap();
        report("read only", shown(raw::call(libc::SYS_shmat, &[id, 0, libc::SHM_RDONLY as usize])));
        raw::exit(0);
    }
    raw::wait(child);
    // SAFETY: a page was mapped there.
    let text = unsafe { std::slice::from_raw_parts(at as *const u8, 14) };
    report("heard", String::from_utf8_lossy(text));
    let told = state(id).unwrap();
    report("size", told.shm_segsz);
    report("attachments", told.shm_nattch);
    report("mode", format!("{:o}", told.shm_perm.mode));
    report("key of it", if told.shm_perm.__key as usize == key { "the same" } else { "another" });
    report("maker", if told.shm_cpid == std::process::id() as i32 { "the same" } else { "another" });
    report("lock", shown(raw::call(libc::SYS_shmctl, &[id, libc::SHM_LOCK as usize])));
    report("stat to nowhere", shown(raw::call(libc::SYS_shmctl, &[id, libc::IPC_STAT as usize, 8])));
    report("remove", shown(raw::call(libc::SYS_shmctl, &[id, libc::IPC_RMID as usize])));
    report("by key afterwards", shown(get(key, PAGE, 0)));
    // Linux lets a segment be attached that is removed and still in use.
    report("attach afterwards", shown(raw::call(libc::SYS_shmat, &[id, 0, 0])));
    report("size afterwards", state(id).map_or(0, |state| state.shm_segsz));
    raw::call(libc::SYS_shmdt, &[at]).unwrap();
    report("detach again", shown(raw::call(libc::SYS_shmdt, &[at])));
}
