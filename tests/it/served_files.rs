//! `/etc/hosts` and `/etc/resolv.conf` as programs find them in runs with a name in some rule: by every path that leads
//! there, and to those only who read them.

use std::os::unix::fs::symlink;

use lab::{Args, Lab, NONE, Output, raw, report, tool};

lab::suite! {
    tests: [
        every_spelling_leads_to_the_served_file,
        what_a_path_does_not_mean_is_not_served,
        what_does_not_only_read_is_as_bare,
        descriptors_are_as_ordinary_ones,
        without_names_the_machines_own_is_read,
        the_c_library_finds_names_in_it,
        a_machine_without_the_files_or_with_links_serves_them_too,
        other_daemons_are_not_asked,
        older_kernels_serve_too,
    ],
    programs: [read_by, open_bare, descriptors, openat2_within],
}

const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n";

fn named(lab: &Lab) -> lab::Run {
    // Pinned, so that what it means does not depend on this machine.
    lab.sandbox().allow("localhost:9").option("--pin-names")
}

#[track_caller]
fn is_hosts(out: &Output) {
    let content = out.value("content").replace("\\n", "\n");
    assert!(content.starts_with(HOSTS), "{out}");
    out.expect("kind", "/memfd:hosts (deleted)");
}

fn every_spelling_leads_to_the_served_file(lab: &Lab) {
    symlink("/etc/hosts", lab.path("work/link")).unwrap();
    symlink("link", lab.path("work/link-to-link")).unwrap();
    symlink("/etc", lab.path("work/directory")).unwrap();
    let up = format!("{}etc/hosts", "../".repeat(lab.path("work").components().count()));
    symlink(&up, lab.path("work/relative-link")).unwrap();
    for path in [
        "/etc/hosts",
        "//etc/./hosts",
        "/etc/../etc//hosts",
        "/proc/self/root/etc/hosts",
        "/proc/thread-self/root/etc/hosts",
        &up,
        "link",
        "./link-to-link",
        "relative-link",
        "directory/hosts",
        "/proc/self/cwd/link",
        lab.path("work/link").to_str().unwrap(),
        lab.path("work/directory/hosts").to_str().unwrap(),
    ] {
        for way in ["open", "openat", "openat2", "below", "openat2 below"] {
            if cfg!(target_arch = "x86_64") || way != "open" {
                is_hosts(&named(lab).run("read_by", [way, path]));
            }
        }
    }
    is_hosts(&named(lab).run("read_by", ["in etc", "hosts"]));
    is_hosts(&named(lab).run("read_by", ["below etc", "hosts"]));
    is_hosts(&named(lab).run("read_by", ["by handle", "/etc/hosts"]));
    let out = named(lab).run("read_by", ["openat", "/etc/resolv.conf"]);
    out.expect("content", "nameserver 127.53.53.53\\nsearch .\\noptions use-vc\\n");
    // Whatever may be read of /etc: what is served is not the machine's.
    is_hosts(
        &named(lab)
            .option("--bare")
            .read("/usr")
            .read("/lib")
            .read("/lib64")
            .run("read_by", ["openat", "/etc/hosts"]),
    );
    // By what openat2 demands of the way.
    for (resolve, directory, path, served) in [
        (0x08, "/etc", "hosts", true),   // BENEATH
        (0x10, "/", "/etc/hosts", true), // IN_ROOT
        (0x10, "/etc", "/hosts", true),  // IN_ROOT
        (0x04, "/", "etc/hosts", true),  // NO_SYMLINKS
        (0x02, "/", "etc/hosts", true),  // NO_MAGICLINKS
        (0x04, ".", "link", false),
        (0x08, ".", "link", false),
        (0x08, ".", "directory/hosts", false),
        (0x10, "/etc", "/etc/hosts", false),
    ] {
        let args = [resolve.to_string(), directory.to_owned(), path.to_owned()];
        let out = named(lab).run("openat2_within", &args);
        if served {
            is_hosts(&out);
        } else {
            out.expect("open", lab.bare().run("openat2_within", &args).value("open"));
        }
    }
}

fn what_a_path_does_not_mean_is_not_served(lab: &Lab) {
    lab.file("work/hosts", "mine");
    lab.file("work/etc/hosts", "mine");
    lab.file("work/other", "mine");
    symlink("other", lab.path("work/link")).unwrap();
    symlink("/no/such/hosts", lab.path("work/dangling")).unwrap();
    for path in ["hosts", "./etc/hosts", "etc/../hosts", "other", "link", "/proc/self/cwd/etc/hosts"] {
        named(lab).run("read_by", ["openat", path]).expect("content", "mine");
    }
    for path in ["/etc/hosts/", "/etc/hosts/.", "dangling", "", "/etc/no-such-file", "/etc/hosts/x"] {
        let bare = lab.bare().run("read_by", ["openat", path]);
        named(lab).run("read_by", ["openat", path]).expect("open", bare.value("open"));
    }
    // A resolver that can be reached is the program's to use.
    let other = named(lab).allow("udp://192.0.2.1:53").run("read_by", ["openat", "/etc/resolv.conf"]);
    other.expect("kind", std::fs::canonicalize("/etc/resolv.conf").unwrap().display());
}

fn what_does_not_only_read_is_as_bare(lab: &Lab) {
    symlink("/etc/hosts", lab.path("work/link")).unwrap();
    let (path, nofollow, directory) = (libc::O_PATH, libc::O_NOFOLLOW, libc::O_DIRECTORY);
    for (file, flags) in [
        ("/etc/hosts", path),
        ("/etc/hosts", directory),
        ("/etc/hosts", libc::O_CREAT | libc::O_EXCL),
        ("link", nofollow),
        ("link", path | nofollow),
    ] {
        let args = [file, &flags.to_string()];
        let bare = lab.bare().run("open_bare", args);
        let out = named(lab).run("open_bare", args);
        out.expect("open", bare.value("open"));
        if let Some(kind) = bare.find("kind") {
            out.expect("kind", kind);
        }
    }
    let out = named(lab).run("open_bare", ["/etc/hosts", &nofollow.to_string()]);
    if !std::fs::symlink_metadata("/etc/hosts").unwrap().is_symlink() {
        out.expect("kind", "/memfd:hosts (deleted)");
    }
}

fn descriptors_are_as_ordinary_ones(lab: &Lab) {
    let (bare, out) = (lab.bare().run("descriptors", NONE), named(lab).run("descriptors", NONE));
    for key in ["lowest", "closed by exec", "kept by exec", "access", "at the start", "too many", "mode"] {
        out.expect(key, bare.value(key));
    }
}

fn without_names_the_machines_own_is_read(lab: &Lab) {
    let own = std::fs::read_to_string("/etc/hosts").unwrap();
    let out = lab.sandbox().allow("127.0.0.1:9").run("read_by", ["openat", "/etc/hosts"]);
    out.expect("content", own.replace('\n', "\\n"));
}

fn the_c_library_finds_names_in_it(lab: &Lab) {
    let python = tool("python3", "python3");
    let code = "import socket; print(sorted({a[4][0] for a in socket.getaddrinfo('localhost', 80)}))";
    let out = named(lab).command(&python, ["-c", code]).output();
    out.expect_code(0);
    assert!(out.stdout.contains("127.0.0.1"), "{out}");
    let code = "import os; os.chdir('/etc'); print(open('hosts').read(), end='')";
    assert!(named(lab).command(&python, ["-c", code]).output().stdout.starts_with(HOSTS));

    let source = lab.file("find.c", C_PROGRAM);
    let program = lab.path("work/find");
    let gcc = tool("gcc", "gcc libc6-dev");
    let made = lab.bare().command(gcc, [source.as_os_str(), "-o".as_ref(), program.as_os_str()]).output();
    made.expect_code(0);
    let out = named(lab).command(&program, ["localhost"]).output();
    out.expect_code(0);
    assert!(out.stdout.contains("127.0.0.1"), "{out}");
    // A name that no rule speaks of: the machine's own file may know it, the run does not.
    let own = std::fs::read_to_string("/etc/hosts").unwrap();
    let other = own
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| line.split_whitespace().skip(1))
        .find(|name| !name.contains("localhost"));
    if let Some(name) = other {
        assert!(named(lab).command(&program, [name]).output().code() != 0, "{name}");
    }
}

/// Only root can give a run another `/etc` to find.
fn a_machine_without_the_files_or_with_links_serves_them_too(lab: &Lab) {
    if !lab.user().is_root() {
        return;
    }
    let links = |to: &str| format!("ln -s ../{to}/resolv.conf etc; ln -s /{to}/hosts etc");
    let real = lab.directory("run").display().to_string();
    lab.file("run/hosts", "real");
    lab.file("run/resolv.conf", "real");
    for make in ["true".to_owned(), links("no/such/place"), links(real.trim_start_matches('/'))] {
        // Without a hosts file some machines do not know localhost.
        let script = format!(
            "set -e; cp -a /etc etc; rm -f etc/hosts etc/resolv.conf; {make}; mount --bind etc /etc; ln -sf /etc/hosts \
             work/link; {} run --net-allow localhost:9 --pin-names --names-may-fail --cwd work -- cat /etc/hosts link /etc/resolv.conf; \
             umount /etc; rm -r etc",
            env!("CARGO_BIN_EXE_sandlock-under-test"),
        );
        let unshare = tool("unshare", "util-linux");
        let run = lab.bare().directory(lab.root());
        let out = run.command(unshare, ["-m", "/bin/sh", "-c", &script]).output();
        out.expect_code(0);
        assert_eq!(out.stdout.matches(HOSTS).count(), 2, "{out}");
        assert!(out.stdout.ends_with("nameserver 127.53.53.53\nsearch .\noptions use-vc\n"), "{out}");
    }
}

/// Daemons that answer for names have unix sockets, which are reached only where they may be written.
fn other_daemons_are_not_asked(lab: &Lab) {
    for socket in ["/run/nscd/socket", "/var/run/nscd/socket", "/run/systemd/resolve/io.systemd.Resolve"] {
        let bare = lab.bare().run("unix", [socket]);
        let out = named(lab).run("unix", [socket]);
        assert!(out.value("connect") != "ok", "{out}");
        if bare.value("connect") == "ok" {
            out.expect("connect", "ECONNREFUSED").expect_said("-w ");
        }
    }
}

fn older_kernels_serve_too(lab: &Lab) {
    for version in 1..=7 {
        let run = || named(lab).options(["--landlock-at-most", &version.to_string()]);
        is_hosts(&run().run("read_by", ["openat", "/etc/hosts"]));
        let file = lab.file("work/file", "kept");
        let truncating = (libc::O_TRUNC | libc::O_RDONLY).to_string();
        let out = run().run("open_bare", [file.as_os_str(), truncating.as_ref()]);
        out.expect("open", "EACCES");
        assert_eq!(std::fs::read(&file).unwrap(), b"kept");
    }
}

const C_PROGRAM: &str = r#"
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
int main(int count, char **words) {
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
    if (getaddrinfo(words[count - 1], "80", &hints, &found) != 0)
        return 1;
    for (; found; found = found->ai_next) {
        char text[64];
        if (getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof text, 0, 0, NI_NUMERICHOST) == 0)
            puts(text);
    }
    return 0;
}
"#;

fn string(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}

fn told(opened: Result<usize, lab::Errno>) {
    let fd = match opened {
        Ok(fd) => fd,
        Err(errno) => return report("open", errno),
    };
    report("open", "ok");
    report("kind", std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap().display());
    let mut bytes = vec![0u8; 65536];
    if let Ok(len) = raw::call(libc::SYS_read, &[fd, raw::out(&mut bytes[..]), bytes.len()]) {
        report("content", String::from_utf8_lossy(&bytes[..len]).replace('\n', "\\n"));
    }
}

const HERE: usize = libc::AT_FDCWD as usize;

fn handle(path: &str) -> usize {
    raw::call(libc::SYS_openat, &[HERE, raw::at(&string(path)[..]), libc::O_PATH as usize]).unwrap()
}

/// `read_by WAY PATH`.
fn read_by(args: &Args) {
    let path = string(args.text(1));
    let how = [0u64; 3];
    let at = |directory: usize| raw::call(libc::SYS_openat, &[directory, raw::at(&path[..]), 0]);
    let at2 = |directory: usize| {
        raw::call(libc::SYS_openat2, &[directory, raw::at(&path[..]), raw::at(&how), size_of_val(&how)])
    };
    told(match args.text(0) {
        #[cfg(target_arch = "x86_64")]
        "open" => raw::call(libc::SYS_open, &[raw::at(&path[..]), 0]),
        "openat" => at(HERE),
        "openat2" => at2(HERE),
        "below" => at(handle(".")),
        "openat2 below" => at2(handle(".")),
        "in etc" => {
            std::env::set_current_dir("/etc").unwrap();
            at(HERE)
        }
        "below etc" => at(handle("/etc")),
        _ => {
            let link = string(&format!("/proc/self/fd/{}", handle(args.text(1))));
            raw::call(libc::SYS_openat, &[HERE, raw::at(&link[..]), 0])
        }
    });
}

/// `open_bare PATH FLAGS`.
fn open_bare(args: &Args) {
    let flags: i32 = args.get(1);
    told(raw::call(libc::SYS_openat, &[HERE, raw::at(&string(args.text(0))[..]), flags as usize]));
}

/// `openat2_within RESOLVE DIRECTORY PATH`.
fn openat2_within(args: &Args) {
    let how = [0, 0, args.get::<u64>(0)];
    let path = string(args.text(2));
    let words = [handle(args.text(1)), raw::at(&path[..]), raw::at(&how), size_of_val(&how)];
    told(raw::call(libc::SYS_openat2, &words));
}

/// What descriptors of `/etc/hosts` are like.
fn descriptors(_: &Args) {
    let path = string("/etc/hosts");
    let open = |flags: i32| raw::call(libc::SYS_openat, &[HERE, raw::at(&path[..]), flags as usize]);
    let get = |fd: usize, command: i32| raw::call(libc::SYS_fcntl, &[fd, command as usize]).unwrap();
    let null = handle("/dev/null");
    raw::close(null as i32);
    let (kept, closed) = (open(0).unwrap(), open(libc::O_CLOEXEC).unwrap());
    report("lowest", kept == null);
    report("kept by exec", get(kept, libc::F_GETFD));
    report("closed by exec", get(closed, libc::F_GETFD));
    report("access", get(kept, libc::F_GETFL) as i32 & libc::O_ACCMODE);
    report("at the start", raw::call(libc::SYS_lseek, &[kept, 0, libc::SEEK_CUR as usize]).unwrap());
    let writable_by_others =
        std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(format!("/proc/self/fd/{kept}")).unwrap())
            & 0o022;
    report("mode", writable_by_others);
    let limit = [8u64, 8];
    raw::call(libc::SYS_prlimit64, &[0, libc::RLIMIT_NOFILE as usize, raw::at(&limit), 0]).unwrap();
    let refused = (0..10).find_map(|_| open(0).err());
    report("too many", refused.map_or("none".to_owned(), |errno| errno.to_string()));
}
