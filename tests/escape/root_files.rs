//! In a root of its own a run's `/etc/hosts` and `/etc/resolv.conf` are mounts. Whoever could write them, or take them
//! away, would decide what names mean to other programs of the run, or see what is below.

use std::fs::{self, File};

use lab::{Args, Errno, Lab, TcpServer, raw, report, shown};

lab::suite! {
    tests: [the_files_of_a_run_cannot_be_changed_or_taken_away],
    programs: [change_files],
}

fn the_files_of_a_run_cannot_be_changed_or_taken_away(lab: &Lab) {
    let server = TcpServer::v4();
    let rule = format!("localhost:{}", server.port());
    let root = lab.system("root");
    let files = ["/etc/hosts", "/etc/resolv.conf"];
    for name in files {
        lab.file(format!("root{name}"), "below\n");
    }
    // Without names they are files of the root, which may be changed where that may be written.
    let out = lab.sandbox().in_root(&root).write("/etc").run("change_files", files);
    for file in files {
        out.expect(&format!("write {file}"), "ok").expect(&format!("read {file}"), "below");
        out.expect(&format!("rename {file}"), "ok").expect(&format!("remove {file}"), "ok");
    }
    for name in files {
        lab.file(format!("root{name}"), "below\n");
    }
    for options in [&["-w", "/etc"][..], &["-w", "/"], &["-w", "/etc/hosts", "-w", "/etc/resolv.conf"]] {
        let out = lab.sandbox().in_root(&root).allow(&rule).options(options).run("change_files", files);
        for file in files {
            let read = out.value(&format!("read {file}"));
            assert!(read.contains("localhost") || read.contains("nameserver"), "{out}");
            for act in ["write", "append", "chmod", "rename", "replace", "remove", "umount"] {
                let result = out.value(&format!("{act} {file}"));
                assert!(["EROFS", "EBUSY", "EACCES", "EPERM", "EXDEV"].contains(&result), "{act}\n{out}");
            }
            assert_eq!(fs::read_to_string(root.join(&file[1..])).unwrap(), "below\n", "{out}");
        }
    }
}

fn change_files(args: &Args) {
    let io = |result: std::io::Result<()>| shown(result.map_err(|error| Errno::from(&error)));
    for index in 0..args.count() {
        let file = args.text(index);
        let say = |act: &str, result| report(format!("{act} {file}"), result);
        let text = fs::read_to_string(file).unwrap_or_default();
        say("read", text.lines().collect::<Vec<_>>().join(" "));
        say("write", io(File::options().write(true).open(file).map(drop)));
        say("append", io(File::options().append(true).open(file).map(drop)));
        let name = [file.as_bytes(), b"\0"].concat();
        say("umount", shown(raw::call(libc::SYS_umount2, &[raw::at(&name[..]), 2]).map(drop)));
        say("chmod", shown(raw::call(libc::SYS_chmod, &[raw::at(&name[..]), 0o666]).map(drop)));
        let beside = format!("{file}.new");
        say("rename", io(fs::rename(file, &beside).and_then(|()| fs::rename(&beside, file))));
        let _ = fs::write(&beside, "");
        say("replace", io(fs::rename(if fs::exists(&beside).unwrap() { &beside } else { "/tmp" }, file)));
        say("remove", io(fs::remove_file(file)));
    }
}
