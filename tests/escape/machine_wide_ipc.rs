//! System V segments, queues and semaphores, POSIX queues and shared memory have names and numbers of the machine: no
//! path leads to them that Landlock could judge, and every process of the user may read and change them.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use lab::{Args, Errno, Lab, Output, raw, report, shown};

lab::suite! { tests: [nothing_of_an_outsider_is_reached], programs: [make_ipc, use_ipc, look_at_ipc, remove_ipc] }

/// What an outsider has. Gone when it is dropped.
struct Outside<'a> {
    lab: &'a Lab,
    numbers: Vec<String>,
    file: PathBuf,
}

impl<'a> Outside<'a> {
    fn make(lab: &'a Lab) -> Self {
        // A key of its own for every test.
        let key =
            lab.root().as_os_str().as_bytes().iter().fold(0x1357u32, |sum, byte| {
                sum.wrapping_mul(31).wrapping_add(u32::from(*byte)) & 0x7fff_ffff
            });
        let file = Path::new("/dev/shm").join(format!("sandlock-lab-{key}"));
        let mut outside = Outside { lab, numbers: vec![key.to_string()], file };
        let out = lab.bare().run("make_ipc", outside.words());
        for number in ["segment", "queue", "semaphores"] {
            outside.numbers.push(out.value(number).to_owned());
        }
        out.expect_code(0);
        outside
    }

    fn words(&self) -> Vec<String> {
        [vec![self.file.display().to_string()], self.numbers.clone()].concat()
    }

    fn state(&self) -> Output {
        self.lab.bare().run("look_at_ipc", self.words())
    }
}

impl Drop for Outside<'_> {
    fn drop(&mut self) {
        self.lab.bare().run("remove_ipc", self.words());
    }
}

const ACTS: [&str; 10] = [
    "segment by key",
    "segment by number",
    "queue by key",
    "queue by number",
    "send to queue",
    "semaphores by key",
    "semaphore by number",
    "posix queue",
    "message of it",
    "shared memory",
];

fn nothing_of_an_outsider_is_reached(lab: &Lab) {
    let outside = Outside::make(lab);
    let before = outside.state();
    before.expect("segment", "secret").expect("messages", 1).expect("semaphore", 3);
    before.expect("posix messages", 1).expect("shared memory", "secret");

    for options in [vec![], vec!["--net-allow", "*:*", "-w", "/tmp"], vec!["--kernel-only"]] {
        let alone = options.contains(&"--kernel-only");
        let out = lab.sandbox().options(options).run("use_ipc", outside.words());
        for act in ACTS {
            out.expect(
                act,
                match act {
                    "shared memory" => "EACCES",
                    // A run has segments of its own.
                    "segment by key" if !alone => "ENOENT",
                    "segment by number" if !alone => "EINVAL",
                    _ => "ENOSYS",
                },
            );
        }
        assert_eq!(outside.state().stdout, before.stdout, "{out}");
    }
    // Nor can it be made or removed from inside.
    lab.sandbox().run("remove_ipc", outside.words());
    assert_eq!(outside.state().stdout, before.stdout);

    let bare = lab.bare().run("use_ipc", outside.words());
    for act in ACTS {
        bare.expect(act, "ok");
    }
    let after = outside.state();
    after.expect("segment", "change").expect("semaphore", 5).expect("shared memory", "change");
}

const CREATE: usize = (libc::IPC_CREAT | libc::IPC_EXCL | 0o600) as usize;
const PAGE: usize = 4096;

/// `FILE KEY`: of the System V things the key is the only name.
fn make_ipc(args: &Args) {
    let key: usize = args.get(1);
    let segment = raw::call(libc::SYS_shmget, &[key, PAGE, CREATE]).unwrap();
    write_segment(segment, b"secret").unwrap();
    let queue = raw::call(libc::SYS_msgget, &[key, CREATE]).unwrap();
    send(queue).unwrap();
    let semaphores = raw::call(libc::SYS_semget, &[key, 1, CREATE]).unwrap();
    raw::call(libc::SYS_semctl, &[semaphores, 0, libc::SETVAL as usize, 3]).unwrap();
    let posix = open_queue(args, (libc::O_RDWR | libc::O_CREAT) as usize).unwrap();
    raw::call(libc::SYS_mq_timedsend, &[posix, raw::at(b"secret"), 6, 0, 0]).unwrap();
    std::fs::write(args.path(0), "secret").unwrap();
    report("segment", segment);
    report("queue", queue);
    report("semaphores", semaphores);
}

/// `FILE KEY SEGMENT QUEUE SEMAPHORES`: by key and by number, reading and writing.
fn use_ipc(args: &Args) {
    let [key, segment, queue, semaphores] = [1, 2, 3, 4].map(|index| args.get::<usize>(index));
    report("segment by key", shown(raw::call(libc::SYS_shmget, &[key, PAGE, 0])));
    report("segment by number", shown(write_segment(segment, b"change")));
    report("queue by key", shown(raw::call(libc::SYS_msgget, &[key, 0])));
    let mut message = [0u8; 64];
    let words = [queue, raw::out(&mut message), 56, 0, libc::IPC_NOWAIT as usize];
    report("queue by number", shown(raw::call(libc::SYS_msgrcv, &words)));
    report("send to queue", shown(send(queue)));
    report("semaphores by key", shown(raw::call(libc::SYS_semget, &[key, 1, 0])));
    let set = raw::call(libc::SYS_semctl, &[semaphores, 0, libc::SETVAL as usize, 5]);
    report("semaphore by number", shown(set));
    let posix = open_queue(args, libc::O_RDWR as usize);
    report("posix queue", shown(posix));
    // No descriptor of its own answers as a missing call does.
    let words = [posix.unwrap_or(usize::MAX), raw::out(&mut message), 64, 0, 0];
    report("message of it", shown(raw::call(libc::SYS_mq_timedreceive, &words)));
    let written = std::fs::File::options().write(true).open(args.path(0));
    let written = written.and_then(|mut file| std::io::Write::write_all(&mut file, b"change"));
    report("shared memory", shown(written.map_err(|error| Errno::from(&error))));
}

/// As `use_ipc`, changing nothing.
fn look_at_ipc(args: &Args) {
    let [segment, queue, semaphores] = [2, 3, 4].map(|index| args.get::<usize>(index));
    let at = raw::call(libc::SYS_shmat, &[segment, 0, libc::SHM_RDONLY as usize]).unwrap();
    // SAFETY: a page was just mapped there.
    let text = unsafe { std::slice::from_raw_parts(at as *const u8, 6) };
    report("segment", String::from_utf8_lossy(text));
    // `struct msqid_ds`: the number of messages is behind the permissions, three times, and the bytes.
    let mut about = [0usize; 64];
    raw::call(libc::SYS_msgctl, &[queue, libc::IPC_STAT as usize, raw::out(&mut about)]).unwrap();
    report("messages", about[(size_of::<libc::ipc_perm>() + 4 * 8) / 8]);
    report("semaphore", raw::call(libc::SYS_semctl, &[semaphores, 0, libc::GETVAL as usize]).unwrap());
    let posix = open_queue(args, libc::O_RDWR as usize).unwrap();
    // `struct mq_attr`: flags, most messages, their size, how many there are.
    let mut attributes = [0usize; 8];
    raw::call(libc::SYS_mq_getsetattr, &[posix, 0, raw::out(&mut attributes)]).unwrap();
    report("posix messages", attributes[3]);
    report("shared memory", std::fs::read_to_string(args.path(0)).unwrap());
}

fn remove_ipc(args: &Args) {
    let remove = libc::IPC_RMID as usize;
    let key: usize = args.get(1);
    let segment = raw::call(libc::SYS_shmget, &[key, 0, 0]);
    let queue = raw::call(libc::SYS_msgget, &[key, 0]);
    let semaphores = raw::call(libc::SYS_semget, &[key, 0, 0]);
    let _ = segment.and_then(|segment| raw::call(libc::SYS_shmctl, &[segment, remove]));
    let _ = queue.and_then(|queue| raw::call(libc::SYS_msgctl, &[queue, remove]));
    let _ = semaphores.and_then(|set| raw::call(libc::SYS_semctl, &[set, 0, remove]));
    let _ = raw::call(libc::SYS_mq_unlink, &[raw::at(&queue_name(args)[..])]);
    let _ = std::fs::remove_file(args.path(0));
}

fn write_segment(segment: usize, text: &[u8; 6]) -> Result<(), Errno> {
    let at = raw::call(libc::SYS_shmat, &[segment, 0, 0])?;
    // SAFETY: a page was just mapped there, for writing.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), at as *mut u8, text.len()) };
    raw::call(libc::SYS_shmdt, &[at]).map(drop)
}

/// `struct msgbuf`: a type, and text.
fn send(queue: usize) -> Result<usize, Errno> {
    raw::call(libc::SYS_msgsnd, &[queue, raw::at(&[1usize, 2]), 8, libc::IPC_NOWAIT as usize])
}

/// The system call takes no slash in front.
fn queue_name(args: &Args) -> Vec<u8> {
    format!("sandlock-lab-{}\0", args.text(1)).into_bytes()
}

fn open_queue(args: &Args, flags: usize) -> Result<usize, Errno> {
    let attributes = [0usize, 4, 64, 0];
    raw::call(libc::SYS_mq_open, &[raw::at(&queue_name(args)[..]), flags, 0o600, raw::at(&attributes)])
}
