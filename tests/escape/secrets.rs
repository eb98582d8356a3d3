//! Secrets that the proxy adds to requests are the launcher's alone: whoever has one can use it elsewhere. The program
//! looks for them wherever a process of its user could find them.

use std::fs::File;

use lab::{Args, Lab, report};

lab::suite! { tests: [the_program_never_has_a_secret], programs: [look_for_secrets] }

const SECRET: &str = "lab-secret-5d1f";

fn the_program_never_has_a_secret(lab: &Lab) {
    let file = lab.file("home/key", SECRET);
    let run = |run: lab::Run| run.env("API_KEY", SECRET).descriptor(7, File::open(&file).unwrap());
    let args = ["7".as_ref(), file.as_os_str()];

    let bare = run(lab.bare()).run("look_for_secrets", args);
    for place in ["variable", "descriptor", "file", "environ of parent"] {
        assert!(bare.value(place).contains("secret") || place.contains("parent"), "{bare}");
    }
    let given = run(lab.sandbox()).options(["--pass-fd", "7"]).read(&file).run("look_for_secrets", args);
    for place in ["variable", "descriptor", "file"] {
        given.expect(place, SECRET);
    }

    let path = format!("c=file:{}", file.display());
    let auth = |name: &str| format!("GET 127.0.0.1:9/ bearer {name}");
    let out = run(lab.sandbox())
        .options(["--http-allow", "GET 127.0.0.1:9", "--danger-cleartext-credentials"])
        .options(["--credential", "a=env:API_KEY", "--credential", "b=fd:7", "--credential", &path])
        .options(["--http-auth", &auth("a"), "--http-auth", &auth("b"), "--http-auth", &auth("c")])
        .run("look_for_secrets", args);
    assert!(!out.stdout.contains("secret-"), "{out}");
    for (place, nothing) in [("variable", "unset"), ("descriptor", "EBADF"), ("file", "EACCES")] {
        out.expect(place, nothing);
    }
    for place in ["environ of parent", "environ of launcher", "mem of parent", "mem of launcher"] {
        assert!(out.value(place).starts_with('E'), "{out}");
    }
}

/// `look_for_secrets DESCRIPTOR FILE`.
fn look_for_secrets(args: &Args) {
    let told = |content: std::io::Result<Vec<u8>>| match content {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => lab::Errno::from(&error).to_string(),
    };
    report("variable", std::env::var("API_KEY").unwrap_or("unset".to_owned()));
    let mut bytes = [0u8; 64];
    let descriptor: usize = args.get(0);
    let read = lab::raw::call(libc::SYS_pread64, &[descriptor, lab::raw::out(&mut bytes), 64, 0]);
    let read = read.map(|len| String::from_utf8_lossy(&bytes[..len]).into_owned());
    report("descriptor", read.unwrap_or_else(|errno| errno.to_string()));
    report("file", told(std::fs::read(args.path(1))));
    let parent = parent_of(std::process::id() as i32);
    for (who, pid) in [("parent", parent), ("launcher", parent_of(parent))] {
        report(format!("environ of {who}"), told(std::fs::read(format!("/proc/{pid}/environ"))));
        report(format!("mem of {who}"), told(File::open(format!("/proc/{pid}/mem")).map(|_| b"ok".to_vec())));
    }
}

fn parent_of(pid: i32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    parent.and_then(|pid| pid.trim().parse().ok()).unwrap_or(0)
}
