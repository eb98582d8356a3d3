//! A program that may write files could make a program of its own there and execute it, or one in memory, in no
//! directory at all. With `--noexec-writable` neither is executed, by whatever call and name; with `-x` only what it names
//! and the system's.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use lab::{Args, Errno, Lab, raw, report};

use crate::place::{Ground, Place};

lab::suite! {
    tests: [
        what_is_written_cannot_be_executed,
        memory_cannot_be_executed_as_a_file,
        only_what_is_named_can_be_executed,
        what_is_to_be_executable_cannot_be_written,
        what_can_be_written_in_a_root_is_not_executed,
    ],
    programs: [execute],
}

const WAYS: [&str; 11] = [
    "path",
    "relative",
    "symlink",
    "hard link",
    "renamed",
    "script",
    "descriptor",
    "handle",
    "descriptor in proc",
    "removed",
    "of no directory",
];
const IN_MEMORY: [&str; 4] =
    ["memory", "memory by handle in proc", "memory made executable", "memory for programs"];

fn what_is_written_cannot_be_executed(lab: &Lab) {
    let work = lab.path("work");
    let run = |run: lab::Run, way: &str| run.run("execute", [way.as_ref(), work.as_os_str()]);
    for way in WAYS {
        run(lab.bare(), way).expect("executed", "ok");
        run(lab.sandbox().write(&work), way).expect("executed", "ok");
        // Readable from above, too: the working directory is in the base.
        for options in [&["--noexec-writable"][..], &["--noexec-writable", "--kernel-only"]] {
            let out = run(lab.sandbox().write(&work).options(options), way);
            out.expect("executed", "EACCES");
        }
        let above = lab.sandbox().write(&work).read(lab.root()).option("--noexec-writable");
        run(above, way).expect("executed", "EACCES");
        let within = lab.sandbox().write(lab.root()).read(&work).option("--noexec-writable");
        run(within, way).expect("executed", "EACCES");
    }
    // Its temporary directory.
    let line = "cp /bin/true $TMPDIR/program; $TMPDIR/program; echo code=$?; /bin/true; echo system=$?";
    lab.sandbox().sh(line).expect("code", 0);
    lab.sandbox().option("--noexec-writable").sh(line).expect("code", 126).expect("system", 0);
}

fn memory_cannot_be_executed_as_a_file(lab: &Lab) {
    let work = lab.path("work");
    let run = |run: lab::Run, way: &str| run.run("execute", [way.as_ref(), work.as_os_str()]);
    for way in IN_MEMORY {
        run(lab.bare(), way).expect("executed", "ok");
        run(lab.sandbox(), way).expect("executed", "ok");
        for options in
            [&["--noexec-writable"][..], &["-x", "/usr/bin"], &["--noexec-writable", "--kernel-only"]]
        {
            let out = run(lab.sandbox().options(options), way);
            assert!(["EACCES", "EPERM"].contains(&out.value("executed")), "{way} {options:?}\n{out}");
        }
    }
    // One that is no program is made all the same.
    for way in ["memory that is none", "sealed memory"] {
        run(lab.bare(), way).expect("made", "ok");
        run(lab.sandbox().option("--noexec-writable"), way).expect("made", "ok");
    }
}

fn only_what_is_named_can_be_executed(lab: &Lab) {
    let work = lab.path("work");
    let tool = lab.script("tools/tool", "#!/bin/sh\necho tool=ran\n");
    let other = lab.script("work/other", "#!/bin/sh\necho other=ran\n");
    let line = format!("{}; echo code=$?; {}; echo code_of_other=$?", tool.display(), other.display());
    let read = || lab.sandbox().write(&work).read(lab.path("tools"));
    read().sh(&line).expect("tool", "ran").expect("other", "ran");
    let out = lab.sandbox().write(&work).options(["-x".as_ref(), tool.as_os_str()]).sh(&line);
    out.expect("tool", "ran").expect("code_of_other", 126);
    let out = read().options(["-x", "/usr/bin"]).sh(&line);
    out.expect("code", 126).expect("code_of_other", 126);
    // Reading stays.
    let out = read().options(["-x", "/usr/bin"]).sh(&format!("/bin/sh {}", tool.display()));
    out.expect("tool", "ran");
}

fn what_is_to_be_executable_cannot_be_written(lab: &Lab) {
    let tools = lab.directory("tools");
    let run = |place: &Path| {
        let words = ["-w".as_ref(), place.as_os_str(), "-x".as_ref(), tools.as_os_str()];
        lab.sandbox().options(words).option("--noexec-writable").sh("echo executed")
    };
    for place in [tools.clone(), lab.root(), lab.directory("tools/below")] {
        let out = run(&place);
        out.expect_code(125).expect_said("--noexec-writable: what is below ");
        assert_eq!(out.stdout, "", "{out}");
    }
    run(&lab.path("work")).expect_code(0);
    let out = lab.sandbox().write("/").option("--noexec-writable").sh("echo executed");
    out.expect_code(125).expect_said("--noexec-writable: what is below ");
}

fn what_can_be_written_in_a_root_is_not_executed(lab: &Lab) {
    for ground in Ground::writable(lab) {
        let place = Place::new(lab, ground, "place");
        let line = format!(
            "cd '{}' && cp /usr/bin/env copy; ./copy true; echo copy=$?; env true; echo system=$?",
            place.root.display()
        );
        place.run().sh(&line).expect("copy", 0).expect("system", 0);
        // What is mounted has to be named as well.
        for options in [&["--noexec-writable"][..], &["-x", "/usr"]] {
            place.run().options(options).sh(&line).expect("copy", 126).expect("system", 0);
        }
    }
}

fn terminated(path: &Path) -> Vec<u8> {
    [path.as_os_str().as_bytes(), b"\0"].concat()
}

const HERE: usize = -100isize as usize;

fn open(path: &Path, flags: i32) -> usize {
    raw::call(libc::SYS_openat, &[HERE, raw::at(&terminated(path)[..]), flags as usize, 0o755]).unwrap()
}

/// `execute WAY DIRECTORY`.
fn execute(args: &Args) {
    let (way, place) = (args.text(0), args.path(1));
    if way.starts_with("memory") || way == "sealed memory" {
        return execute_memory(way);
    }
    let program = place.join("program");
    let _ = std::fs::remove_file(&program);
    let content =
        if way == "script" { b"#!/bin/true\n".to_vec() } else { std::fs::read("/bin/true").unwrap() };
    // By a process of its own, so that nobody has it open for writing (ETXTBSY).
    in_child(|| {
        let file = open(&program, libc::O_WRONLY | libc::O_CREAT);
        write_all(file, &content);
        0
    });
    let beside = place.join("beside");
    let _ = std::fs::remove_file(&beside);
    let path = |path: &Path| executed(|| by_path(path));
    let result = match way {
        "relative" => {
            std::env::set_current_dir(place).unwrap();
            path(Path::new("./program"))
        }
        "symlink" => {
            std::os::unix::fs::symlink(&program, &beside).unwrap();
            path(&beside)
        }
        "hard link" => {
            std::fs::hard_link(&program, &beside).unwrap();
            path(&beside)
        }
        "renamed" => {
            std::fs::rename(&program, &beside).unwrap();
            path(&beside)
        }
        "descriptor" => executed(|| by_descriptor(open(&program, libc::O_RDONLY))),
        "handle" => executed(|| by_descriptor(open(&program, libc::O_PATH))),
        "descriptor in proc" => {
            let file = open(&program, libc::O_RDONLY);
            path(&PathBuf::from(format!("/proc/self/fd/{file}")))
        }
        "removed" => {
            let file = open(&program, libc::O_RDONLY);
            std::fs::remove_file(&program).unwrap();
            executed(|| by_descriptor(file))
        }
        "of no directory" => executed(|| {
            let file = open(place, libc::O_TMPFILE | libc::O_RDWR);
            write_all(file, &std::fs::read("/bin/true").unwrap());
            let name = PathBuf::from(format!("/proc/self/fd/{file}"));
            let reader = open(&name, libc::O_RDONLY);
            raw::close(file as i32);
            by_descriptor(reader)
        }),
        _ => path(&program),
    };
    report("executed", result);
}

fn execute_memory(way: &str) {
    // MFD_EXEC, MFD_ALLOW_SEALING.
    let flags = match way {
        "memory for programs" => 0x10,
        "sealed memory" => 2,
        _ => 0,
    };
    let made = raw::call(libc::SYS_memfd_create, &[raw::at(b"program\0"), flags]);
    let file = match made {
        Ok(file) => file,
        // Where memory without code has to be asked for.
        Err(errno) if errno == Errno(libc::EACCES) => return report("executed", errno),
        Err(errno) => panic!("{errno}"),
    };
    write_all(file, &std::fs::read("/bin/true").unwrap());
    if ["memory that is none", "sealed memory"].contains(&way) {
        // F_ADD_SEALS, F_SEAL_GROW: only who asked for seals may.
        let sealed = raw::call(libc::SYS_fcntl, &[file, 1033, 4]);
        let expected = if way == "sealed memory" { Ok(0) } else { Err(Errno(libc::EPERM)) };
        return report("made", if sealed == expected { "ok".to_owned() } else { format!("{sealed:?}") });
    }
    if way == "memory made executable" {
        let _ = raw::call(libc::SYS_fchmod, &[file, 0o777]);
    }
    let name = PathBuf::from(format!("/proc/self/fd/{file}"));
    report(
        "executed",
        match way {
            "memory by handle in proc" => executed(|| by_path(&name)),
            _ => executed(|| by_descriptor(file)),
        },
    );
}

fn write_all(file: usize, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let count = raw::call(libc::SYS_write, &[file, raw::at(bytes), bytes.len()]).unwrap();
        bytes = &bytes[count..];
    }
}

fn by_path(path: &Path) -> i32 {
    let path = terminated(path);
    let arguments = [raw::at(&path[..]), 0];
    let failed =
        raw::call(libc::SYS_execve, &[raw::at(&path[..]), raw::at(&arguments), raw::at(&[0usize; 1])]);
    failed.unwrap_err().0
}

fn by_descriptor(file: usize) -> i32 {
    let arguments = [raw::at(b"true\0"), 0];
    let words =
        [file, raw::at(b"\0"), raw::at(&arguments), raw::at(&[0usize; 1]), libc::AT_EMPTY_PATH as usize];
    raw::call(libc::SYS_execveat, &words).unwrap_err().0
}

/// What became of executing in a child: the program exits with 0, a failure with its number.
fn executed(act: impl FnOnce() -> i32) -> String {
    match in_child(act) {
        0 => "ok".to_owned(),
        errno => Errno(errno).to_string(),
    }
}

fn in_child(act: impl FnOnce() -> i32) -> i32 {
    let child = raw::fork();
    if child == 0 {
        raw::exit(act());
    }
    raw::wait(child) >> 8 & 0xff
}
