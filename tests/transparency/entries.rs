//! Calls that open files, and that make, move, look at and remove names, in a directory that begins anew with each
//! episode.

use std::ffi::{CString, OsStr};
use std::fs;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use lab::raw;

use crate::arena::{Arena, read_bytes};
use crate::program::{World, answer, register};

pub(crate) struct Entries {
    /// Where the episodes' directories are.
    below: PathBuf,
    /// Descriptors of the episode, and what they are.
    open: Vec<(RawFd, &'static str)>,
}

/// Numbers that are not one of the other calls'.
const FIRST: RawFd = 400;
/// A name that is not UTF-8.
const BYTES: &[u8] = b"\xff\xfe\x01";
/// Descriptors whose directory is a good one.
const DIRECTORIES: &[&str] = &["cwd", "here", "dir", "path-dir"];

impl Entries {
    pub(crate) fn new() -> Self {
        Entries { below: std::env::current_dir().unwrap(), open: Vec::new() }
    }

    /// Makes the directory of an episode, and goes there.
    pub(crate) fn renew(&mut self, episode: usize) {
        for (fd, _) in self.open.drain(..).skip(3) {
            raw::close(fd);
        }
        fs::create_dir(self.place(episode)).unwrap();
        self.enter(episode);
        for name in ["dir", "dir/inner", "empty"] {
            fs::create_dir(name).unwrap();
        }
        for name in ["file", "other", "dir/below"] {
            fs::write(name, name).unwrap();
        }
        fs::write(OsStr::from_bytes(BYTES), "bytes").unwrap();
        fs::hard_link("file", "linked").unwrap();
        for (to, name) in
            [("file", "link"), ("missing", "dangling"), ("loop", "loop"), ("dir", "link-to-dir")]
        {
            symlink(to, name).unwrap();
        }
        for (name, kind) in [("fifo", libc::S_IFIFO), ("socket", libc::S_IFSOCK)] {
            let path = CString::new(name).unwrap();
            let arguments = [libc::AT_FDCWD as usize, path.as_ptr() as usize, (kind | 0o644) as usize, 0];
            raw::call(libc::SYS_mknodat, &arguments).unwrap();
        }
        self.open = vec![(libc::AT_FDCWD, "cwd"), (-1, "-1"), (FIRST + 50, "closed")];
        for (path, flags, name) in [
            (".", libc::O_RDONLY | libc::O_DIRECTORY, "here"),
            ("dir", libc::O_RDONLY | libc::O_DIRECTORY, "dir"),
            ("dir", libc::O_PATH | libc::O_DIRECTORY, "path-dir"),
            ("file", libc::O_RDONLY, "ro"),
            ("other", libc::O_PATH, "path"),
            ("link", libc::O_PATH | libc::O_NOFOLLOW, "path-link"),
        ] {
            let path = CString::new(path).unwrap();
            let arguments = [libc::AT_FDCWD as usize, path.as_ptr() as usize, flags as usize];
            let fd = raw::call(libc::SYS_openat, &arguments).unwrap() as RawFd;
            let to = FIRST + self.open.len() as RawFd;
            raw::call(libc::SYS_dup2, &[fd as usize, to as usize]).unwrap();
            raw::close(fd);
            self.open.push((to, name));
        }
    }

    pub(crate) fn enter(&self, episode: usize) {
        std::env::set_current_dir(self.place(episode)).unwrap();
    }

    fn place(&self, episode: usize) -> PathBuf {
        self.below.join(format!("episode{episode}"))
    }

    pub(crate) fn call(&mut self, world: &mut World) -> (String, String) {
        let line = match world.random.below(32) {
            0..4 => self.open(world, Spelling::Openat),
            4 | 5 => self.open(world, Spelling::Open),
            6 | 7 => self.openat2(world),
            8 => self.open(world, Spelling::Creat),
            9 | 10 => self.named_by_link(world),
            11 => self.one(world, libc::SYS_mkdir, "mkdir", None, Rest::DirectoryMode),
            12 => self.one(world, libc::SYS_mkdirat, "mkdirat", Some(()), Rest::DirectoryMode),
            13 => self.one(world, libc::SYS_mknodat, "mknodat", Some(()), Rest::Node),
            14 => self.one(world, libc::SYS_mknod, "mknod", None, Rest::Node),
            15 => self.one(world, libc::SYS_unlink, "unlink", None, Rest::Nothing),
            16 => self.one(world, libc::SYS_unlinkat, "unlinkat", Some(()), Rest::RemoveFlags),
            17 => self.one(world, libc::SYS_rmdir, "rmdir", None, Rest::Nothing),
            18 => self.two(world, libc::SYS_rename, "rename", false, &[]),
            19 => self.two(world, libc::SYS_renameat, "renameat", true, &[]),
            20 | 21 => self.two(world, libc::SYS_renameat2, "renameat2", true, &[0, 0, 1, 2, 3, 8]),
            22 => self.two(world, libc::SYS_link, "link", false, &[]),
            23 | 24 => {
                self.two(world, libc::SYS_linkat, "linkat", true, &[0, 0, 0x400, 0x1000, 0x100, 0x1400])
            }
            25 => self.link_to(world),
            26 => self.one(world, libc::SYS_truncate, "truncate", None, Rest::Length),
            27 => self.one(world, libc::SYS_faccessat2, "faccessat2", Some(()), Rest::Access),
            28 => self.one(world, libc::SYS_access, "access", None, Rest::AccessMode),
            29 => self.read_link(world),
            30 => self.look(world),
            _ => self.list(world),
        };
        let left = Self::left();
        ("entries".to_owned(), format!("{line} {left}"))
    }

    fn directory(&self, world: &mut World) -> (usize, &'static str) {
        let (fd, shown) = if world.random.percent(40) { self.open[0] } else { world.random.of(&self.open) };
        world.oddities += u32::from(!DIRECTORIES.contains(&shown));
        (register(&mut world.random, fd), shown)
    }

    fn one(&self, world: &mut World, number: libc::c_long, name: &str, at: Option<()>, rest: Rest) -> String {
        let mut arguments = Vec::new();
        let mut shown = String::new();
        if at.is_some() {
            let (fd, of) = self.directory(world);
            arguments.push(fd);
            shown = format!("{of}, ");
        }
        let (path, of) = path(world, false);
        arguments.push(path);
        shown += &of;
        for value in rest.draw(world) {
            arguments.push(value);
            shown += &format!(", {value:#o}");
        }
        format!("{name}({shown}) = {}", answer(number, &arguments).1)
    }

    fn two(&self, world: &mut World, number: libc::c_long, name: &str, at: bool, flags: &[usize]) -> String {
        let mut arguments = Vec::new();
        let mut shown = Vec::new();
        for _ in 0..2 {
            if at {
                let (fd, of) = self.directory(world);
                arguments.push(fd);
                shown.push(of.to_owned());
            }
            let (path, of) = path(world, false);
            arguments.push(path);
            shown.push(of);
        }
        if !flags.is_empty() {
            let odd = world.random.percent(5);
            let flags =
                if odd { world.random.of(&[0x10usize, 0x8000_0000, 0x2000]) } else { world.random.of(flags) };
            world.oddities += u32::from(odd);
            arguments.push(flags);
            shown.push(format!("{flags:#x}"));
        }
        format!("{name}({}) = {}", shown.join(", "), answer(number, &arguments).1)
    }

    fn link_to(&self, world: &mut World) -> String {
        let text = world.random.of(&["file", "missing", "dir/below", "", "empty/..", "new", "../dir"]);
        let at_text = match world.random.below(12) {
            0 => Arena::bad(&mut world.random),
            _ => (world.arena.put(&[text.as_bytes(), b"\0"].concat(), 0), text),
        };
        let (fd, of) = self.directory(world);
        let (path, shown) = path(world, false);
        let given = answer(libc::SYS_symlinkat, &[at_text.0, fd, path]).1;
        format!("symlinkat({}, {of}, {shown}) = {given}", at_text.1)
    }

    fn open(&self, world: &mut World, spelling: Spelling) -> String {
        let (fd, of) = self.directory(world);
        let (flags, mode) = (open_flags(world), file_mode(world));
        let (path, shown) = path(world, flags & libc::O_NONBLOCK as usize == 0);
        let (number, arguments, shown) = match spelling {
            Spelling::Openat => {
                let arguments = vec![fd, path, flags, mode];
                (libc::SYS_openat, arguments, format!("openat({of}, {shown}, {flags:#o}, {mode:o})"))
            }
            Spelling::Open => {
                (libc::SYS_open, vec![path, flags, mode], format!("open({shown}, {flags:#o}, {mode:o})"))
            }
            // Waits for a reader of a FIFO, as it cannot be told not to.
            Spelling::Creat if shown.contains("fifo") => return "creat(fifo) left out = 0".into(),
            Spelling::Creat => (libc::SYS_creat, vec![path, mode], format!("creat({shown}, {mode:o})")),
        };
        let (result, given) = answer(number, &arguments);
        format!("{shown} = {given} {}", result.map_or(String::new(), |fd| seen(world, fd)))
    }

    fn openat2(&self, world: &mut World) -> String {
        let (fd, of) = self.directory(world);
        let (flags, mode) = (open_flags(world), file_mode(world));
        let (path, shown) = path(world, flags & libc::O_NONBLOCK as usize == 0);
        let resolve = world.random.of(&[0u64, 0, 0, 1, 2, 4, 8, 0x10, 0x0c, 0x40, 0x18]);
        let size = world.random.of(&[24usize, 24, 24, 24, 24, 24, 23, 0, 32, 40, 4096, 4097]);
        let more = u8::from(world.random.percent(20));
        world.oddities += u32::from(size != 24) + u32::from(resolve & 0x58 != 0);
        let mode = if flags & (libc::O_CREAT | 0o20_000_000) as usize == 0 { 0 } else { mode };
        let mut how: Vec<u8> =
            [flags as u64, mode as u64, resolve].into_iter().flat_map(u64::to_ne_bytes).collect();
        how.resize(size.max(24), 0);
        if size > 24 {
            how[size - 1] = more;
        }
        let at = match world.random.below(20) {
            0 => Arena::bad(&mut world.random).0,
            _ => world.arena.put(&how, 0),
        };
        let (result, given) = answer(libc::SYS_openat2, &[fd, path, at, size]);
        let seen = result.map_or(String::new(), |fd| seen(world, fd));
        format!("openat2({of}, {shown}, {flags:#o}, {mode:o}, {resolve:#x}, {size}) = {given} {seen}")
    }

    /// A file without a name, which is then given one, by its descriptor or by its link in /proc.
    fn named_by_link(&self, world: &mut World) -> String {
        let flags =
            world.random.of(&[libc::O_RDWR, libc::O_WRONLY, libc::O_RDONLY, libc::O_RDWR | libc::O_EXCL])
                | libc::O_TMPFILE;
        let mode = file_mode(world);
        let (fd, of) = self.directory(world);
        let (at, shown) = path(world, false);
        let (made, given) = answer(libc::SYS_openat, &[fd, at, flags as usize, mode]);
        let (to, of_to) = self.directory(world);
        let (target, to_shown) = path(world, false);
        let by_descriptor = world.random.percent(50);
        let empty = world.arena.put(b"\0", 0);
        let said = made.map_or(String::new(), |fd| {
            let spelled = world.arena.put(format!("/proc/self/fd/{fd}\0").as_bytes(), 0);
            let linked = match by_descriptor {
                true => answer(libc::SYS_linkat, &[fd, empty, to, target, libc::AT_EMPTY_PATH as usize]),
                false => answer(
                    libc::SYS_linkat,
                    &[libc::AT_FDCWD as usize, spelled, to, target, libc::AT_SYMLINK_FOLLOW as usize],
                ),
            };
            format!("{} {}", linked.1, seen(world, fd))
        });
        format!(
            "tmpfile({of}, {shown}, {flags:#o}, {mode:o}), linkat({of_to}, {to_shown}, {by_descriptor}) = {given} {said}"
        )
    }

    fn read_link(&self, world: &mut World) -> String {
        let (fd, of) = self.directory(world);
        let (at, shown) = path(world, false);
        let size = world.random.of(&[0usize, 1, 3, 4, 100]);
        let buffer = world.arena.put(&[0; 100], 0);
        let (result, given) = answer(libc::SYS_readlinkat, &[fd, at, buffer, size]);
        let text = result.map_or(Vec::new(), |len| read_bytes(buffer, len));
        format!("readlinkat({of}, {shown}, {size}) = {given} {}", text.escape_ascii())
    }

    fn look(&self, world: &mut World) -> String {
        let (fd, of) = self.directory(world);
        let (at, shown) = path(world, false);
        let flags = world.random.of(&[0usize, 0x100, 0x1000, 0x1100, 0x800, 0x4000, 0x8]);
        world.oddities += u32::from(flags & 0x8 != 0);
        // What is the same in both runs: type and mode, links, size.
        let wanted = (libc::STATX_TYPE | libc::STATX_MODE | libc::STATX_NLINK | libc::STATX_SIZE) as usize;
        let buffer = world.arena.put(&[0; 256], 0);
        let (result, given) = answer(libc::SYS_statx, &[fd, at, flags, wanted, buffer]);
        let fields = result.map_or(Vec::new(), |_| read_bytes(buffer, 48));
        let fields: Vec<&[u8]> = if fields.is_empty() {
            Vec::new()
        } else {
            vec![&fields[16..20], &fields[28..30], &fields[40..48]]
        };
        format!("statx({of}, {shown}, {flags:#x}) = {given} {fields:?}")
    }

    /// Names are told in an order that differs between two directories of the same names.
    fn list(&self, world: &mut World) -> String {
        let (fd, of) = self.directory(world);
        let size = world.random.of(&[0usize, 10, 24, 4096, 4096]);
        if size < 4096 {
            world.oddities += 1;
        }
        let buffer = match world.random.below(8) {
            0 => Arena::bad(&mut world.random).0,
            _ => world.arena.put(&[0; 4096], 0),
        };
        raw::call(libc::SYS_lseek, &[fd, 0, 0]).ok();
        let (result, given) = answer(libc::SYS_getdents64, &[fd, buffer, size]);
        let mut names = Vec::new();
        if let Ok(len) = result {
            let bytes = read_bytes(buffer, len);
            let mut rest = &bytes[..];
            while rest.len() > 19 {
                let (entry, after) = rest.split_at(usize::from(u16::from_ne_bytes([rest[16], rest[17]])));
                let name = entry[19..].split(|byte| *byte == 0).next().unwrap_or_default();
                names.push(format!("{}:{}", name.escape_ascii(), entry[18]));
                rest = after;
            }
        }
        names.sort();
        format!("getdents64({of}, {size}) = {given} {}", names.join(" "))
    }

    /// All that is in the directory.
    fn left() -> String {
        let mut lines = Vec::new();
        list_below(Path::new("."), &mut lines);
        lines.sort();
        format!("| {}", lines.join(" "))
    }
}

#[derive(Clone, Copy)]
enum Spelling {
    Open,
    Openat,
    Creat,
}

/// What comes after the path.
#[derive(Clone, Copy)]
enum Rest {
    Nothing,
    DirectoryMode,
    Node,
    RemoveFlags,
    Length,
    Access,
    AccessMode,
}

impl Rest {
    fn draw(self, world: &mut World) -> Vec<usize> {
        let random = &mut world.random;
        match self {
            Rest::Nothing => Vec::new(),
            // The owner keeps what is needed to go on.
            Rest::DirectoryMode => vec![0o700 | random.of(&[0o777, 0, 0o3000, 0o1777, 0o170_000])],
            Rest::Node => {
                let kind = random.of(&[
                    libc::S_IFIFO,
                    libc::S_IFIFO,
                    libc::S_IFREG,
                    0,
                    libc::S_IFSOCK,
                    libc::S_IFDIR,
                    libc::S_IFLNK,
                    0o150_000,
                ]);
                vec![(kind | random.of(&[0o644, 0o777, 0o4755, 0o600])) as usize, random.of(&[0, 0, 0x103])]
            }
            Rest::RemoveFlags => vec![random.of(&[0, 0, 0x200, 0x200, 0x100, 0x1200])],
            Rest::Length => vec![random.of(&[0, 1, 10, 100, usize::MAX, 1 << 62])],
            Rest::Access => {
                vec![random.of(&[0, 1, 2, 4, 6, 7, 8]), random.of(&[0, 0, 0x200, 0x100, 0x1000, 0x400])]
            }
            Rest::AccessMode => vec![random.of(&[0, 1, 2, 4, 6, 7, 8])],
        }
    }
}

fn open_flags(world: &mut World) -> usize {
    let random = &mut world.random;
    let mut flags = random.of(&[libc::O_RDONLY, libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR, 3]);
    for (flag, chance) in [
        (libc::O_CREAT, 40),
        (libc::O_EXCL, 15),
        (libc::O_TRUNC, 15),
        (libc::O_APPEND, 10),
        (libc::O_NONBLOCK, 30),
        (libc::O_CLOEXEC, 30),
        (libc::O_DIRECTORY, 12),
        (libc::O_NOFOLLOW, 12),
        (libc::O_PATH, 8),
        (libc::O_NOCTTY, 5),
        (libc::O_DSYNC, 5),
        (libc::O_SYNC, 3),
        (libc::O_NOATIME, 5),
        (libc::O_ASYNC, 3),
        (0o100_000, 5),
        (libc::O_TMPFILE, 3),
        // No flag of any kernel.
        (1 << 29, 2),
    ] {
        if random.percent(chance) {
            flags |= flag;
        }
    }
    flags as usize
}

fn file_mode(world: &mut World) -> usize {
    world.random.of(&[0o644, 0o600, 0o777, 0o400, 0o4755, 0o2775, 0o200, 0])
}

/// What a descriptor is: its flags, its size, what can be read and written there. Closes it.
fn seen(world: &mut World, fd: usize) -> String {
    let control = |command: i32| match raw::call(libc::SYS_fcntl, &[fd, command as usize]) {
        Ok(value) => format!("{value:o}"),
        Err(errno) => errno.to_string(),
    };
    let mut text = format!("[{} {}", control(libc::F_GETFL), control(libc::F_GETFD));
    let buffer = world.arena.put(&[0; 16], 0);
    for (number, arguments) in [
        (libc::SYS_read, [fd, buffer, 16]),
        (libc::SYS_write, [fd, buffer, 2]),
        (libc::SYS_lseek, [fd, 0, 1]),
        (libc::SYS_ftruncate, [fd, 4, 0]),
        (libc::SYS_fchdir, [fd, 0, 0]),
    ] {
        text.push_str(&format!(" {}", answer(number, &arguments).1));
        if number == libc::SYS_fchdir {
            // Back, wherever that was.
            raw::call(libc::SYS_fchdir, &[FIRST as usize + 3]).unwrap();
        }
    }
    raw::close(fd as RawFd);
    text + "]"
}

fn path(world: &mut World, waits: bool) -> (usize, String) {
    let random = &mut world.random;
    let own = std::env::current_dir().unwrap();
    let own = own.as_os_str().as_bytes();
    let which = random.below(60);
    world.oddities += u32::from(which >= 40);
    let name: Vec<u8> = match which {
        0..6 => b"file".to_vec(),
        6..9 => b"other".to_vec(),
        9..16 => random.of(&[b"new1", b"new2", b"new3"]).to_vec(),
        16 | 17 => b"linked".to_vec(),
        18 | 19 => b"link".to_vec(),
        20 => b"dangling".to_vec(),
        21 | 22 => b"dir".to_vec(),
        23 => b"dir/below".to_vec(),
        24 => b"dir/inner".to_vec(),
        25 => b"dir/new".to_vec(),
        26 => b"link-to-dir".to_vec(),
        27 => b"link-to-dir/below".to_vec(),
        28 => b"empty".to_vec(),
        29 => b"empty/new".to_vec(),
        30 => BYTES.to_vec(),
        31 => [BYTES, b"new"].concat(),
        32 => b"dir/../file".to_vec(),
        33 => b"./dir//inner/../below".to_vec(),
        34 if waits => b"socket".to_vec(),
        34 => b"fifo".to_vec(),
        35 => b"socket".to_vec(),
        36 => [own, b"/file"].concat(),
        37 => [own, b"/new1"].concat(),
        38 => b"below".to_vec(),
        39 => b"inner".to_vec(),
        40 => b"loop".to_vec(),
        41 => b"loop/file".to_vec(),
        42 => b"missing/file".to_vec(),
        43 => b"file/".to_vec(),
        44 => b"new1/".to_vec(),
        45 => b"dir/".to_vec(),
        46 => b"link-to-dir/".to_vec(),
        47 => b"file/below".to_vec(),
        48 => b".".to_vec(),
        49 => b"..".to_vec(),
        50 => b"dir/.".to_vec(),
        51 => b"dir/..".to_vec(),
        52 => b"dangling/".to_vec(),
        53 => Vec::new(),
        54 => b"n".repeat(255),
        55 => b"n".repeat(256),
        56 => [b"./".repeat(2045), b"file".to_vec()].concat(),
        57 => b"./".repeat(2048),
        58 => b"dir/inner/..".to_vec(),
        _ => {
            let (at, name) = Arena::bad(random);
            return (at, name.into());
        }
    };
    let shown = match name.strip_prefix(own) {
        Some(rest) => format!("(here){}", rest.escape_ascii()),
        None if name.len() > 30 => format!("{}...{}", name[..2].escape_ascii(), name.len()),
        None => name.escape_ascii().to_string(),
    };
    (world.arena.put(&[&name[..], b"\0"].concat(), 0), format!("`{shown}`"))
}

fn list_below(directory: &Path, lines: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let stat = fs::symlink_metadata(&path).unwrap();
        let to = fs::read_link(&path).map_or(String::new(), |to| format!(">{}", to.display()));
        let name = path.as_os_str().as_bytes();
        let name = if name.len() > 60 { b"long" } else { &name[2..] };
        let size = if stat.is_dir() { 0 } else { stat.len() };
        lines.push(format!("{}:{:o}:{}:{size}{to}", name.escape_ascii(), stat.mode(), stat.nlink()));
        if stat.is_dir() {
            list_below(&path, lines);
        }
    }
}
