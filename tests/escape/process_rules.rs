//! Rules for what descends from a program are for that file alone: not for a file that says its name, not for one that
//! takes its place between the look and the execution, and not for a process that takes its image's addresses.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use lab::{Args, Lab, TcpServer, raw, report, shown, tool};

lab::suite! {
    tests: [
        a_path_swapped_during_execve_gains_nothing,
        a_name_is_not_a_program,
        an_image_cannot_be_said_to_be_another,
    ],
    programs: [execute_swapped, take_an_image],
}

/// Connects, and says who it is, to the server and by its status.
fn caller(name: &str, port: u16, code: u8) -> String {
    format!(
        "#!/usr/bin/env bash\n(exec 3<>/dev/tcp/127.0.0.1/{port} && echo {name} >&3) 2>/dev/null && exit {}\nexit {code}\n",
        code + 10
    )
}

fn a_path_swapped_during_execve_gains_nothing(lab: &Lab) {
    tool("bash", "bash");
    let server = TcpServer::v4();
    let good = lab.script("bin/good", &caller("good", server.port(), 8));
    lab.script("bin/evil", &caller("evil", server.port(), 7));
    let run = || lab.sandbox().read(lab.path("bin"));
    for flag in ["--for", "--for-only"] {
        let rule = format!("{}={}", good.display(), server.rule());
        let out = run().option(flag).option(rule).run("execute_swapped", [&good]);
        // Both were executed, one after a look at the other.
        assert!(out.value("good").parse::<u32>().unwrap() > 0, "{out}");
        assert!(out.value("evil").parse::<u32>().unwrap() > 0, "{out}");
        out.expect("evil connected", 0);
    }
    let saw = |name| server.saw().iter().filter(|seen| seen.text().contains(name)).count();
    assert_eq!(saw("evil"), 0);
    assert!(saw("good") > 0);
    // Nothing is trapped here, so that the swap has to meet the call in a much shorter moment.
    let won = (0..50).any(|_| {
        let out = run().allow(server.rule()).run("execute_swapped", [&good]);
        out.value("evil connected") != "0" && saw("evil") > 0
    });
    assert!(won);
}

fn execute_swapped(args: &Args) {
    let mut counts = [0; 3];
    for round in 0..60 {
        let child = raw::fork();
        if child == 0 {
            execute(args.text(0), round);
        }
        match libc::WEXITSTATUS(raw::wait(child)) {
            18 => counts[0] += 1,
            7 => counts[1] += 1,
            17 => counts[2] += 1,
            _ => {}
        }
    }
    report("good", counts[0]);
    report("evil", counts[1]);
    report("evil connected", counts[2]);
}

/// Executes a path whose last four letters change all the while.
fn execute(path: &str, round: u32) -> ! {
    let mut bytes = vec![0u8; 8];
    // The letters begin where a word does.
    let shift = (4 - (path.len() - 4) % 4) % 4;
    bytes.truncate(0);
    bytes.resize(shift, b'/');
    bytes.extend(path.as_bytes());
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let words: Vec<AtomicU32> = bytes
        .chunks(4)
        .map(|chunk| AtomicU32::new(u32::from_ne_bytes([chunk[0], chunk[1], chunk[2], chunk[3]])))
        .collect();
    let last = words.len() - 2;
    let variable = c"PATH=/usr/local/bin:/usr/bin:/bin";
    let (none, environment) = ([raw::at(words.as_slice()), 0], [variable.as_ptr() as usize, 0]);
    let changes = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                changes.store(true, Ordering::SeqCst);
                words[last].store(u32::from_ne_bytes(*b"evil"), Ordering::SeqCst);
                words[last].store(u32::from_ne_bytes(*b"good"), Ordering::SeqCst);
            }
        });
        while !changes.load(Ordering::SeqCst) {
            std::hint::spin_loop();
        }
        // At another moment of the change each time.
        (0..round * 7).for_each(|_| std::hint::spin_loop());
        let arguments = [raw::at(words.as_slice()), raw::at(&none), raw::at(&environment)];
        let _ = raw::call(libc::SYS_execve, &arguments);
        raw::exit(1)
    })
}

fn a_name_is_not_a_program(lab: &Lab) {
    let bash = tool("bash", "bash");
    let server = TcpServer::v4();
    let copy = lab.file("bin/agent", std::fs::read(&bash).unwrap());
    let other = lab.file("bin/other/agent", std::fs::read(&bash).unwrap());
    for path in [&copy, &other] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let connects = format!("exec 3<>/dev/tcp/127.0.0.1/{}", server.port());
    let run = || {
        let rule = format!("{}={}", copy.display(), server.rule());
        lab.sandbox().read(lab.path("bin")).option("--for").option(rule)
    };
    let (copy, other) = (copy.display(), other.display());
    run().sh(&format!("{copy} -c '{connects}'; echo x=$?")).expect("x", 0);
    let pretends = [
        format!("{other} -c '{connects}'"),
        format!("bash -c 'exec -a {copy} bash -c \"{connects}\"'"),
        format!("cd {}/other; ./agent -c '{connects}'", lab.path("bin").display()),
        format!("bash -c 'echo agent >/proc/self/comm; {connects}'"),
        // Its loader is another program.
        format!(
            "$(ls /lib64/ld-linux-*.so.2 /lib/ld-linux-*.so.1 2>/dev/null | head -1) {copy} -c '{connects}'"
        ),
        format!("{copy}.missing; {connects}"),
    ];
    let before = server.saw().len();
    for line in pretends {
        let out = run().sh(&format!("({line}) 2>/dev/null; echo x=$?"));
        assert_ne!(out.value("x"), "0", "{line}");
    }
    assert_eq!(server.saw().len(), before);
}

/// By `PR_SET_MM_MAP` a process may write the auxiliary vector by which its image is known.
fn an_image_cannot_be_said_to_be_another(lab: &Lab) {
    lab.sandbox().options(["--for", "sh=:9"]).run("take_an_image", [""; 0]).expect("map", "EINVAL");
    let bare = lab.bare().run("take_an_image", [""; 0]);
    let without = lab.sandbox().run("take_an_image", [""; 0]);
    // A kernel without CONFIG_CHECKPOINT_RESTORE has no such call.
    assert_eq!(bare.value("map"), without.value("map"));
}

fn take_an_image(_: &Args) {
    let mut size = 0u32;
    let arguments = [libc::PR_SET_MM as usize, PR_SET_MM_MAP_SIZE, raw::out(&mut size), 0, 0];
    report("map", shown(raw::call(libc::SYS_prctl, &arguments)));
}

const PR_SET_MM_MAP_SIZE: usize = 15;
