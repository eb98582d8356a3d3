//! Calls that change metadata, on files of a writable directory.

use std::ffi::CString;
use std::os::fd::RawFd;

use lab::raw;

use crate::arena::Arena;
use crate::program::{World, answer, register};
use crate::random::Random;

pub(crate) struct Files {
    /// Descriptors, and what they are.
    open: Vec<(RawFd, &'static str)>,
}

/// Numbers that are not one of the sockets'.
const FIRST: RawFd = 300;

impl Files {
    pub(crate) fn make() -> Self {
        let call = |number, arguments: &[usize]| raw::call(number, arguments).unwrap();
        std::fs::write("file", "content").unwrap();
        for name in ["dir", "dir/inner"] {
            std::fs::create_dir(name).unwrap();
        }
        std::fs::write("dir/below", "content").unwrap();
        for (to, name) in [
            ("file", "link"),
            ("missing", "dangling"),
            ("loop", "loop"),
            ("stream", "link-to-stream"),
            ("dir", "link-to-dir"),
            ("/proc/self/fd/300", "magic"),
        ] {
            std::os::unix::fs::symlink(to, name).unwrap();
        }
        let fifo = CString::new("fifo").unwrap();
        call(
            libc::SYS_mknodat,
            &[libc::AT_FDCWD as usize, fifo.as_ptr() as usize, (libc::S_IFIFO | 0o644) as usize, 0],
        );
        let mut pipe = [0i32; 2];
        call(libc::SYS_pipe2, &[raw::out(&mut pipe), 0]);
        let mut open = vec![(libc::AT_FDCWD, "cwd"), (-1, "-1"), (FIRST + 50, "closed")];
        let mut keep = |fd: RawFd, name| {
            let to = FIRST + open.len() as RawFd - 3;
            call(libc::SYS_dup2, &[fd as usize, to as usize]);
            raw::close(fd);
            open.push((to, name));
        };
        for (path, flags, name) in [
            ("file", libc::O_RDWR, "rw"),
            ("file", libc::O_RDONLY, "ro"),
            ("file", libc::O_PATH, "path"),
            ("link", libc::O_PATH | libc::O_NOFOLLOW, "path-link"),
            ("dir", libc::O_RDONLY | libc::O_DIRECTORY, "dir"),
            ("dir", libc::O_PATH | libc::O_DIRECTORY, "path-dir"),
        ] {
            let path = CString::new(path).unwrap();
            let arguments = [libc::AT_FDCWD as usize, path.as_ptr() as usize, flags as usize];
            keep(call(libc::SYS_openat, &arguments) as RawFd, name);
        }
        keep(pipe[1], "pipe");
        raw::close(pipe[0]);
        keep(raw::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).unwrap(), "socket");
        Files { open }
    }

    /// Gives every file its first modes again.
    pub(crate) fn renew(&mut self) {
        use std::os::unix::fs::PermissionsExt;
        for (name, mode) in
            [("file", 0o644), ("dir", 0o755), ("dir/below", 0o644), ("dir/inner", 0o755), ("fifo", 0o644)]
        {
            let path = CString::new(name).unwrap();
            std::fs::set_permissions(name, std::fs::Permissions::from_mode(mode)).unwrap();
            let times = [0i64; 4];
            raw::call(
                libc::SYS_utimensat,
                &[libc::AT_FDCWD as usize, path.as_ptr() as usize, raw::at(&times), 0],
            )
            .unwrap();
            remove_attributes(&path);
        }
    }

    pub(crate) fn call(&mut self, world: &mut World) -> (String, String) {
        let line = match world.random.below(19) {
            0 => self.by_path(world, libc::SYS_chmod, "chmod", Rest::Mode),
            1 => self.by_descriptor(world, libc::SYS_fchmod, "fchmod", Rest::Mode),
            2 => self.at(world, libc::SYS_fchmodat, "fchmodat", Rest::Mode, false),
            3 => self.at(world, libc::SYS_fchmodat2, "fchmodat2", Rest::Mode, true),
            4 => self.by_path(world, libc::SYS_chown, "chown", Rest::Owner),
            5 => self.by_path(world, libc::SYS_lchown, "lchown", Rest::Owner),
            6 => self.by_descriptor(world, libc::SYS_fchown, "fchown", Rest::Owner),
            7 => self.at(world, libc::SYS_fchownat, "fchownat", Rest::Owner, true),
            8 | 9 => self.at(world, libc::SYS_utimensat, "utimensat", Rest::Nanoseconds, true),
            10 => self.at(world, libc::SYS_futimesat, "futimesat", Rest::Microseconds, false),
            11 => self.by_path(world, libc::SYS_utimes, "utimes", Rest::Microseconds),
            12 => self.by_path(world, libc::SYS_utime, "utime", Rest::Seconds),
            13 => self.by_path(world, libc::SYS_setxattr, "setxattr", Rest::Set),
            14 => self.by_path(world, libc::SYS_lsetxattr, "lsetxattr", Rest::Set),
            15 => self.by_descriptor(world, libc::SYS_fsetxattr, "fsetxattr", Rest::Set),
            16 => self.by_path(world, libc::SYS_removexattr, "removexattr", Rest::Remove),
            17 => self.by_path(world, libc::SYS_lremovexattr, "lremovexattr", Rest::Remove),
            _ => self.by_descriptor(world, libc::SYS_fremovexattr, "fremovexattr", Rest::Remove),
        };
        ("files".to_owned(), format!("{line} {}", state()))
    }

    fn by_path(&self, world: &mut World, number: libc::c_long, name: &str, rest: Rest) -> String {
        let (path, shown) = path(world);
        let (mut arguments, rest_shown) = rest.draw(world);
        arguments.insert(0, path);
        format!("{name}({shown}, {rest_shown}) = {}", answer(number, &arguments).1)
    }

    fn by_descriptor(&self, world: &mut World, number: libc::c_long, name: &str, rest: Rest) -> String {
        let (fd, shown) = world.random.of(&self.open);
        world.oddities += u32::from(!["rw", "ro", "dir"].contains(&shown));
        let (mut arguments, rest_shown) = rest.draw(world);
        arguments.insert(0, register(&mut world.random, fd));
        format!("{name}({shown}, {rest_shown}) = {}", answer(number, &arguments).1)
    }

    fn at(&self, world: &mut World, number: libc::c_long, name: &str, rest: Rest, flags: bool) -> String {
        let (fd, shown) = if world.random.percent(40) { self.open[0] } else { world.random.of(&self.open) };
        world.oddities += u32::from(!["cwd", "dir", "path-dir"].contains(&shown));
        let (path, path_shown) = path(world);
        let (mut arguments, rest_shown) = rest.draw(world);
        arguments.splice(0..0, [register(&mut world.random, fd), path]);
        let flags = if flags {
            world.random.of(&[0u32, 0, 0x100, 0x1000, 0x1100, 0x400, 0x800, 1, 0x8000_0000])
        } else {
            0
        };
        world.oddities += u32::from(flags & !0x1100 != 0);
        arguments.push(flags as usize);
        format!("{name}({shown}, {path_shown}, {rest_shown}, {flags:#x}) = {}", answer(number, &arguments).1)
    }
}

/// What comes after the file in the arguments.
#[derive(Clone, Copy)]
enum Rest {
    Mode,
    Owner,
    Nanoseconds,
    Microseconds,
    Seconds,
    Set,
    Remove,
}

impl Rest {
    fn draw(self, world: &mut World) -> (Vec<usize>, String) {
        let random = &mut world.random;
        match self {
            Rest::Mode => {
                // The owner keeps what is needed to reach the files.
                let mode: usize = 0o700
                    | random.of(&[0o777, 0, 0o55, 0o4755, 0o2755, 0o1777, 0o7777, 0o100_644, usize::MAX]);
                (vec![mode], format!("{mode:o}"))
            }
            Rest::Owner => {
                let (user, group) = (lab::raw::uid(), lab::raw::gid());
                let mut one = |own: u32| match random.below(8) {
                    0..4 => (u32::MAX, "-1"),
                    4..7 => (own, "own"),
                    _ => (4242, "4242"),
                };
                let (user, group) = (one(user), one(group));
                (vec![user.0 as usize, group.0 as usize], format!("{}, {}", user.1, group.1))
            }
            Rest::Nanoseconds | Rest::Microseconds | Rest::Seconds => times(world),
            Rest::Set => {
                let (name, shown) = attribute(world);
                let random = &mut world.random;
                let size = random.of(&[0usize, 1, 5, 100, 2000, 65536, 65537, usize::MAX]);
                let flags = random.of(&[0usize, 0, 0, 1, 2, 3, 4, 0x8000_0000]);
                world.oddities += u32::from(flags > 2) + u32::from(size > 65535);
                let (value, place) =
                    if random.percent(15) { Arena::bad(random) } else { (Arena::payload(random), "good") };
                (vec![name, value, size, flags], format!("{shown}, {place}, {size}, {flags}"))
            }
            Rest::Remove => {
                let (name, shown) = attribute(world);
                (vec![name], shown)
            }
        }
    }
}

fn times(world: &mut World) -> (Vec<usize>, String) {
    world.oddities += 1;
    let random = &mut world.random;
    let fraction = |random: &mut Random| {
        random.of(&[
            0i64,
            0,
            1,
            999_999,
            1_000_000,
            999_999_999,
            1_000_000_000,
            -1,
            0x3fff_ffff,
            0x3fff_fffe,
            i64::MIN,
        ])
    };
    let mut words = [0i64; 4];
    for half in 0..2 {
        words[half * 2] = random.of(&[0i64, 1, 1_000_000_000, -1, i64::MAX, i64::MIN]);
        words[half * 2 + 1] = fraction(random);
    }
    let bytes: Vec<u8> = words.into_iter().flat_map(i64::to_ne_bytes).collect();
    match random.below(10) {
        0 => (vec![0], "now".into()),
        1 => {
            let (at, name) = Arena::bad(random);
            (vec![at], name.into())
        }
        2 => {
            let readable = random.of(&[8, 16, 24, 31]);
            (vec![Arena::put_at_end(&bytes, readable)], format!("{words:?}|{readable}"))
        }
        _ => (vec![world.arena.put(&bytes, 32)], format!("{words:?}")),
    }
}

fn attribute(world: &mut World) -> (usize, String) {
    let random = &mut world.random;
    let which = random.below(14);
    world.oddities += u32::from(which < 10);
    let name = match which {
        0 => {
            let (at, name) = Arena::bad(random);
            return (at, name.into());
        }
        1 => String::new(),
        2 => "n".repeat(255),
        3 => "n".repeat(256),
        4 => "n".repeat(5000),
        5 => "trusted.one".into(),
        6 => "security.one".into(),
        7 => "system.posix_acl_access".into(),
        8 => format!("user.{}", "n".repeat(random.of(&[0, 249, 250, 251]))),
        9 => "nonsense.one".into(),
        _ => random.of(&["user.one", "user.two"]).into(),
    };
    let shown =
        if name.len() > 30 { format!("{}...{}", &name[..6], name.len()) } else { format!("{name:?}") };
    (world.arena.put(&[name.as_bytes(), b"\0"].concat(), 0), shown)
}

fn path(world: &mut World) -> (usize, String) {
    let random = &mut world.random;
    let own = std::env::current_dir().unwrap();
    let which = random.below(34);
    world.oddities += u32::from(which > 11 && which != 19 && which != 20 && which != 28);
    let name = match which {
        0..8 => "file".to_owned(),
        8 | 9 => "dir".into(),
        10 => "dir/below".into(),
        11 => "link".into(),
        12 => "dangling".into(),
        13 => "loop".into(),
        14 => "loop/file".into(),
        15 => "missing".into(),
        16 => "missing/file".into(),
        17 => "file/".into(),
        18 => "file/below".into(),
        19 => "link-to-dir/below".into(),
        20 => "dir/../file".into(),
        21 => "fifo".into(),
        22 => "stream".into(),
        23 | 24 => String::new(),
        25 => "n".repeat(256),
        26 => "n/".repeat(2047) + "n",
        27 => "n/".repeat(2048),
        28 => format!("{}/file", own.display()),
        29 => "/proc/self/cwd/file".into(),
        30 => "/proc/self/fd/300".into(),
        31 => "magic".into(),
        32 => "below".into(),
        _ => {
            if random.percent(30) {
                let readable = random.of(&[1, 2, 4]);
                return (Arena::put_at_end(b"file\0", readable), format!("file|{readable}"));
            }
            let (at, name) = Arena::bad(random);
            return (at, name.into());
        }
    };
    let shown = if name.starts_with(&*own.to_string_lossy()) {
        "(here)/file".to_owned()
    } else if name.len() > 30 {
        format!("{}...{}", &name[..2], name.len())
    } else {
        name.clone()
    };
    (world.arena.put(&[name.as_bytes(), b"\0"].concat(), 0), shown)
}

/// What the calls have made of the files.
fn state() -> String {
    use std::os::unix::fs::MetadataExt;
    let mut text = String::from("|");
    for name in ["file", "dir", "dir/below", "fifo", "link", "stream"] {
        let seen = std::fs::symlink_metadata(name).unwrap();
        // Times that were set, not those that the clock gave.
        let time = |seconds: i64, fraction: i64| match seconds {
            1_500_000_000..4_000_000_000 => "now".to_owned(),
            _ => format!("{seconds}.{fraction}"),
        };
        let accessed = match name {
            "link" | "dir" => String::new(),
            _ => time(seen.atime(), seen.atime_nsec()),
        };
        let attributes = attributes(name);
        text.push_str(&format!(
            " {:o} {accessed} {} {attributes}",
            seen.mode() & 0o7777,
            time(seen.mtime(), seen.mtime_nsec())
        ));
    }
    text
}

fn remove_attributes(path: &CString) {
    let mut names = vec![0u8; 65536];
    let arguments = [path.as_ptr() as usize, raw::out(&mut names[..]), names.len()];
    let len = raw::call(libc::SYS_llistxattr, &arguments).unwrap_or(0);
    for name in names[..len].split_inclusive(|byte| *byte == 0) {
        let _ = raw::call(libc::SYS_lremovexattr, &[path.as_ptr() as usize, raw::at(name)]);
    }
}

/// How many bytes the names of the attributes take.
fn attributes(name: &str) -> String {
    let name = CString::new(name).unwrap();
    match raw::call(libc::SYS_llistxattr, &[name.as_ptr() as usize, 0, 0]) {
        Ok(len) => len.to_string(),
        Err(errno) => errno.to_string(),
    }
}
