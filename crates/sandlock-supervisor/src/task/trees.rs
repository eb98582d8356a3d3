//! Whose network rules a process has, in runs with rules for what descends from certain programs.
//!
//! What a process is does not change but by an execution, and forks inherit it. So rules are kept for *images*: what one
//! execution loaded, whoever runs it. An image is known by the addresses in its auxiliary vector, which the kernel chooses
//! at random, and which no process can change here. Executions are trapped, so that each is known with whose rules it
//! began; forks too, so that an image is judged before anybody inherits it, whatever becomes of who does.
//!
//! Which program an image is is asked of the kernel afterwards, not of the call: memory can change in between.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, Stat};
use sandlock_policy::Tree;
use sandlock_sys::process_stat::start_time;
use sandlock_sys::{ChildPtr, Tid};

use super::tree;
use crate::call::{Call, Done, Failure};
use crate::context::Context;
use crate::decision;
use crate::fs::path::{self, Base, Follow};
use crate::lock::lock;

/// A program whose descendants have rules of their own.
#[derive(Clone, Debug)]
pub struct TreeRoot {
    /// Where it may be; the first that can be executed counts.
    pub places: Vec<PathBuf>,
    /// Whether what it executes has its rules as well.
    pub tree: bool,
}

/// What is known of the images of a run.
pub(crate) struct Trees {
    programs: Arc<[Program]>,
    command: Option<Script>,
    /// Nothing, where two have the same addresses: without randomisation of addresses.
    images: HashMap<Image, Option<Membership>>,
    /// Executions that were begun, by process. Those that failed stay until the next.
    executing: HashMap<i32, Arc<Execution>>,
    most_images: usize,
    most_executing: usize,
}

/// Whose rules an image has, and what it executes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Membership {
    now: Tree,
    after: Tree,
    /// This is `env`, which looks for the interpreter of a script: the script itself is not executed yet.
    starts: bool,
}

type Image = [u64; KEPT.len()];
/// Device and inode.
type FileId = (u64, u64);

struct Execution {
    /// When the process began; of the command it need not be known.
    since: Option<u64>,
    before: Option<Image>,
    from: Membership,
    script: Option<Script>,
}

/// A script that is one of the programs, as it was called.
struct Script {
    place: usize,
    name: Vec<u8>,
}

struct Program {
    place: usize,
    tree: bool,
    file: File,
    /// Of a script, what runs it, and whether that is `env`.
    interpreter: Option<(File, bool)>,
}

/// A file that is held, so that its inode is not another's.
struct File {
    id: FileId,
    _held: OwnedFd,
}

impl Membership {
    const RUN: Membership = Membership::all(Tree::Run);
    const UNKNOWN: Membership = Membership::all(Tree::Unknown);

    const fn all(tree: Tree) -> Membership {
        Membership { now: tree, after: tree, starts: false }
    }

    pub(crate) fn tree(self) -> Tree {
        self.now
    }

    fn executes_another(self) -> Membership {
        if self.starts { Membership { starts: false, ..self } } else { Membership::all(self.after) }
    }

    fn executes(self, program: &Program) -> Membership {
        let now = Tree::Of(program.place);
        let after = if program.tree { now } else { self.after };
        Membership { now, after, starts: program.interpreter.as_ref().is_some_and(|(_, is_env)| *is_env) }
    }
}

impl Trees {
    /// Finds the programs, as they are before anything was executed. `command` is what is executed first.
    pub(crate) fn new(roots: Vec<TreeRoot>, command: &Path) -> Trees {
        let programs = roots.into_iter().enumerate();
        let programs = programs.filter_map(|(place, root)| Program::find(place, root)).collect();
        let mut trees = Trees {
            programs,
            command: None,
            images: HashMap::new(),
            executing: HashMap::new(),
            most_images: MOST_IMAGES,
            most_executing: MOST_EXECUTING,
        };
        let id = rustix::fs::stat(command).ok().map(|stat| id_of(&stat));
        trees.command = id.and_then(|id| trees.script(id, command.as_os_str().as_bytes()));
        trees
    }

    /// The command has this number.
    pub(crate) fn with_command(mut self, process: i32) -> Trees {
        let script = self.command.take();
        let execution = Execution { since: None, before: None, from: Membership::RUN, script };
        self.executing.insert(process, Arc::new(execution));
        self
    }

    fn execution_of(&self, tid: i32) -> Option<(i32, &Arc<Execution>)> {
        let process = match self.executing.contains_key(&tid) {
            true => tid,
            false if self.executing.is_empty() => return None,
            false => tree::group_of(tid)?,
        };
        let execution = self.executing.get(&process)?;
        // Else it was another process, of the same number.
        let same = execution.since.is_none() || execution.since == start_time(process);
        same.then_some((process, execution))
    }

    fn known(&self, image: &Image) -> Membership {
        self.images.get(image).copied().flatten().unwrap_or(Membership::UNKNOWN)
    }

    fn remember(&mut self, image: Image, membership: Membership) {
        if self.images.len() >= self.most_images {
            let live: HashSet<_> = tree::descendants().into_iter().filter_map(image_of).collect();
            self.images.retain(|image, _| live.contains(image));
            self.most_images = MOST_IMAGES.max(2 * self.images.len());
        }
        let known = self.images.entry(image).or_insert(Some(membership));
        if *known != Some(membership) {
            *known = None;
        }
    }

    fn begin(&mut self, process: i32, execution: Execution) {
        if self.executing.len() >= self.most_executing {
            self.executing.retain(|process, execution| {
                execution.since.is_none() || execution.since == start_time(*process)
            });
            self.most_executing = MOST_EXECUTING.max(2 * self.executing.len());
        }
        self.executing.insert(process, Arc::new(execution));
    }

    fn has_scripts(&self) -> bool {
        self.programs.iter().any(|program| program.interpreter.is_some())
    }

    fn script(&self, id: FileId, name: &[u8]) -> Option<Script> {
        let program = self.programs.iter().find(|one| one.file.id == id && one.interpreter.is_some())?;
        Some(Script { place: program.place, name: name.to_owned() })
    }
}

/// Whose rules a thread has. Its number is to be confirmed afterwards.
pub(crate) fn of(trees: &Mutex<Trees>, tid: Tid) -> Membership {
    look_at(trees, tid.get(), |from| path::read_string(tid, from).ok())
}

/// `read` reads a string from the thread's memory. What it takes to judge may hang, and so is done without the lock.
fn look_at(trees: &Mutex<Trees>, tid: i32, read: impl FnOnce(ChildPtr) -> Option<Vec<u8>>) -> Membership {
    let Some(image) = image_of(tid) else {
        return Membership::UNKNOWN;
    };
    let (programs, process, execution) = {
        let trees = lock(trees);
        match trees.execution_of(tid) {
            Some((process, execution)) if execution.before != Some(image) => {
                (Arc::clone(&trees.programs), process, Arc::clone(execution))
            }
            _ => return trees.known(&image),
        }
    };
    let membership = execution.judge(&programs, tid, &image, read);
    // Else what was judged may be what was executed meanwhile.
    if image_of(tid) != Some(image) {
        return Membership::UNKNOWN;
    }
    let mut trees = lock(trees);
    if trees.executing.get(&process).is_some_and(|now| Arc::ptr_eq(now, &execution)) {
        trees.executing.remove(&process);
    }
    trees.remember(image, membership);
    trees.known(&image)
}

impl Execution {
    /// Whose rules what was executed has.
    fn judge(
        &self,
        programs: &[Program],
        tid: i32,
        image: &Image,
        read: impl FnOnce(ChildPtr) -> Option<Vec<u8>>,
    ) -> Membership {
        let Ok(executed) = rustix::fs::stat(format!("/proc/{tid}/exe")) else {
            return Membership::UNKNOWN;
        };
        let executed = id_of(&executed);
        let by_itself = programs.iter().find(|program| program.file.id == executed);
        let as_script = || {
            let script = self.script.as_ref()?;
            let program = programs.iter().find(|program| program.place == script.place)?;
            let (interpreter, _) = program.interpreter.as_ref()?;
            // The kernel's own note of what was executed; memory may have said something else by then.
            let said = read(ChildPtr::from_register(image[EXECFN]))?;
            (interpreter.id == executed && said == script.name).then_some(program)
        };
        match by_itself.or_else(as_script) {
            Some(program) => self.from.executes(program),
            None => self.from.executes_another(),
        }
    }
}

/// `execve(path, arguments, environment)`.
pub(crate) fn execve(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    begin(cx, call, call.pointer(0), true)?;
    if cx.needs.execs_asked.is_some() { decision::execve(cx, call) } else { Ok(Done::Continue) }
}

/// `execveat(dirfd, path, arguments, environment, flags)`.
pub(crate) fn execveat(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    begin(cx, call, call.pointer(1), call.descriptor(0).get() == AT_FDCWD)?;
    if cx.needs.execs_asked.is_some() { decision::execveat(cx, call) } else { Ok(Done::Continue) }
}

/// `fork`, `vfork`, `clone` of a process: the child has its parent's image, which is judged now if it was not before.
pub(crate) fn fork(cx: &Context<'_>, call: &Call) -> Result<Done, Failure> {
    cx.tree_of(call)?;
    Ok(Done::Continue)
}

/// Notes that an image is to be executed. The call goes on whatever it says: only what the kernel makes of it counts.
fn begin(cx: &Context<'_>, call: &Call, name: ChildPtr, from_directory: bool) -> Result<(), Failure> {
    let Some(trees) = &cx.trees else {
        return Ok(());
    };
    let id = || {
        let name = path::read(call.tid, name).ok()?;
        if name.first() != Some(&b'/') && !from_directory {
            return None;
        }
        let found = path::pin(cx, call, &Base::WorkingDirectory, &name, Follow::Yes).ok()?;
        Some((id_of(&rustix::fs::fstat(found).ok()?), name))
    };
    let found = if lock(trees).has_scripts() { id() } else { None };
    let from = of(trees, call.tid);
    let process = tree::group_of(call.tid.get()).ok_or(Failure::Gone)?;
    let since = Some(start_time(process).ok_or(Failure::Gone)?);
    let before = image_of(call.tid.get());
    cx.confirm(call)?;
    let mut trees = lock(trees);
    let script = found.and_then(|(id, name)| trees.script(id, &name));
    trees.begin(process, Execution { since, before, from, script });
    Ok(())
}

impl Program {
    fn find(place: usize, root: TreeRoot) -> Option<Program> {
        let executable = |path: &&PathBuf| {
            rustix::fs::accessat(CWD, path.as_path(), Access::EXEC_OK, AtFlags::EACCESS).is_ok()
                && std::fs::metadata(path).is_ok_and(|found| found.is_file())
        };
        let path = root.places.iter().find(executable)?;
        Some(Program {
            place,
            tree: root.tree,
            file: File::open(path)?,
            interpreter: interpreter(path, DEEPEST),
        })
    }
}

impl File {
    fn open(path: &Path) -> Option<File> {
        let held = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let stat = rustix::fs::fstat(held.as_fd()).ok()?;
        FileType::from_raw_mode(stat.st_mode).is_file().then(|| File { id: id_of(&stat), _held: held })
    }
}

/// What runs a script in the end, and whether it is `env`; nothing for what is none.
fn interpreter(path: &Path, depth: usize) -> Option<(File, bool)> {
    let mut start = Vec::new();
    std::fs::File::open(path).ok()?.take(LONGEST_FIRST_LINE).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t' | 0)).filter(|word| !word.is_empty());
    let path = Path::new(std::ffi::OsStr::from_bytes(words.next()?));
    if !path.is_absolute() || depth == 0 {
        return None;
    }
    if let Some(deeper) = interpreter(path, depth - 1) {
        return Some(deeper);
    }
    Some((File::open(path)?, path.file_name() == Some("env".as_ref())))
}

/// By what the image of a thread is known; nothing when it cannot be looked into.
fn image_of(tid: i32) -> Option<Image> {
    let vector = std::fs::read(format!("/proc/{tid}/auxv")).ok()?;
    let mut image = [0; KEPT.len()];
    let (pairs, _) = vector.as_chunks::<16>();
    for pair in pairs {
        let (key, value) = pair.split_at(8);
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_ne_bytes).ok();
        let key = number(key)?;
        if let Some(at) = KEPT.iter().position(|kept| *kept == key) {
            image[at] = number(value)?;
        }
    }
    // Of no image both are there.
    (image[RANDOM] != 0 && image[EXECFN] != 0).then_some(image)
}

fn id_of(stat: &Stat) -> FileId {
    (stat.st_dev, stat.st_ino)
}

/// AT_PHDR, AT_BASE, AT_ENTRY, AT_RANDOM, AT_EXECFN, AT_SYSINFO_EHDR of getauxval(3).
const KEPT: [u64; 6] = [3, 7, 9, 25, 31, 33];
const RANDOM: usize = 3;
const EXECFN: usize = 4;
const AT_FDCWD: i32 = -100;
/// `BINPRM_BUF_SIZE`.
const LONGEST_FIRST_LINE: u64 = 256;
/// As deep as the kernel goes.
const DEEPEST: usize = 4;
const MOST_IMAGES: usize = 16384;
const MOST_EXECUTING: usize = 1024;

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn trees() -> Mutex<Trees> {
        let places = vec!["/nonexistent/sleep".into(), "/bin/sleep".into()];
        Mutex::new(Trees::new(vec![TreeRoot { places, tree: false }], Path::new("/nonexistent")))
    }

    fn sleeping() -> (Child, i32) {
        let child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let tid = child.id() as i32;
        // The parent goes on before the new image has its vector.
        while image_of(tid).is_none() {}
        (child, tid)
    }

    fn of(trees: &Mutex<Trees>, tid: i32) -> Membership {
        look_at(trees, tid, |_| None)
    }

    fn begun(since: Option<u64>) -> Execution {
        Execution { since, before: image_of(std::process::id() as i32), from: Membership::RUN, script: None }
    }

    #[test]
    fn a_process_whose_execution_was_not_seen_is_of_no_tree() {
        let ((mut child, tid), trees) = (sleeping(), trees());
        assert_eq!(of(&trees, tid), Membership::UNKNOWN);
        // Of another process, which had the same number.
        lock(&trees).begin(tid, begun(Some(1)));
        assert_eq!(of(&trees, tid), Membership::UNKNOWN);
        lock(&trees).begin(tid, begun(start_time(tid)));
        let of_itself = Membership { now: Tree::Of(0), after: Tree::Run, starts: false };
        assert_eq!(of(&trees, tid), of_itself);
        assert_eq!((of(&trees, tid), lock(&trees).executing.len()), (of_itself, 0));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(of(&trees, tid), Membership::UNKNOWN);
    }

    #[test]
    fn an_execution_that_failed_changes_nothing() {
        let ((mut child, tid), trees) = (sleeping(), trees());
        lock(&trees).begin(tid, begun(start_time(tid)));
        let before = of(&trees, tid);
        let failed = Execution { before: image_of(tid), ..begun(start_time(tid)) };
        lock(&trees).begin(tid, failed);
        assert_eq!(of(&trees, tid), before);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn images_that_cannot_be_told_apart_are_of_no_tree() {
        let ((mut child, tid), trees) = (sleeping(), trees());
        lock(&trees).remember(image_of(tid).unwrap(), Membership::all(Tree::Of(0)));
        assert_eq!(of(&trees, tid).tree(), Tree::Of(0));
        lock(&trees).remember(image_of(tid).unwrap(), Membership::RUN);
        assert_eq!(of(&trees, tid), Membership::UNKNOWN);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn no_more_is_remembered_than_there_may_be() {
        let trees = trees();
        for number in 0..3 * MOST_IMAGES as u64 {
            lock(&trees).remember([number; KEPT.len()], Membership::RUN);
        }
        let gone = i32::MAX - 1;
        for number in 0..3 * MOST_EXECUTING as i32 {
            lock(&trees).begin(gone - number, begun(Some(1)));
        }
        let trees = lock(&trees);
        assert!(trees.images.len() <= MOST_IMAGES && trees.executing.len() <= MOST_EXECUTING);
    }

    #[test]
    fn the_interpreter_of_a_script_is_what_runs_it() {
        let place = std::env::temp_dir().join(format!("sandlock-trees-{}", std::process::id()));
        std::fs::create_dir(&place).unwrap();
        let write = |name: &str, text: &str| {
            let path = place.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let sh = id_of(&rustix::fs::stat("/bin/sh").unwrap());
        let found = |path: &Path| interpreter(path, DEEPEST).map(|(file, is_env)| (file.id == sh, is_env));
        let direct = write("direct", "#! /bin/sh -e\ntrue\n");
        assert_eq!(found(&direct), Some((true, false)));
        assert_eq!(found(&write("twice", &format!("#!{}\n", direct.display()))), Some((true, false)));
        assert_eq!(found(&write("env", "#!/usr/bin/env sh\n")), Some((false, true)));
        for text in ["", "#!", "#!sh\n", "true\n", "#!/nonexistent\n"] {
            assert_eq!(found(&write("none", text)), None, "{text}");
        }
        std::fs::remove_dir_all(place).unwrap();
    }
}
