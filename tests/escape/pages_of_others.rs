//! `move_pages` and `migrate_pages` tell where the pages of a process of the same user are, and move them: which of
//! them exist is a map of what it does. Only one's own are left, by the number 0.

use lab::{Args, Lab, Outsider, raw, report, shown};

lab::suite! { tests: [only_ones_own_pages_are_told], programs: [pages] }

const CALLS: [&str; 3] = ["move_pages to tell", "move_pages to move", "migrate_pages"];

fn only_ones_own_pages_are_told(lab: &Lab) {
    let outsider = lab.outsider("here");
    let args = |outsider: &Outsider| [outsider.pid().to_string(), outsider.secret_at().to_string()];
    let bare = lab.bare().run("pages", args(&outsider));
    CALLS.iter().for_each(|call| _ = bare.expect(call, "ok"));
    // The node that the page is on.
    bare.expect("told", 0);
    for options in [vec![], vec!["--landlock-at-most", "1"], vec!["--kernel-only"]] {
        for target in [outsider.pid().to_string(), "parent".to_owned()] {
            let words = [target, outsider.secret_at().to_string()];
            let out = lab.sandbox().options(&options).run("pages", words);
            CALLS.iter().for_each(|call| _ = out.expect(call, "EPERM"));
            out.expect("told", NOTHING)
                .expect("own move_pages to tell", "ok")
                .expect("own migrate_pages", "ok");
        }
    }
}

const NOTHING: i32 = -1000;

/// `pages PID|parent ADDRESS`.
fn pages(args: &Args) {
    // SAFETY: has no precondition.
    let parent = unsafe { libc::getppid() };
    let pid = if args.text(0) == "parent" { parent as usize } else { args.get(0) };
    let of = |prefix: &str, pid: usize, page: usize| {
        let (page, node, mut status) = ([page & !4095], [0i32], [NOTHING]);
        let words = [pid, 1, raw::at(&page), 0, raw::out(&mut status), 0];
        report(format!("{prefix}{}", CALLS[0]), shown(raw::call(libc::SYS_move_pages, &words)));
        report(format!("{prefix}told"), status[0]);
        // MPOL_MF_MOVE.
        let words = [pid, 1, raw::at(&page), raw::at(&node), raw::out(&mut status), 2];
        report(format!("{prefix}{}", CALLS[1]), shown(raw::call(libc::SYS_move_pages, &words)));
        let nodes = [1u64; 1];
        let words = [pid, 64, raw::at(&nodes), raw::at(&nodes)];
        report(format!("{prefix}{}", CALLS[2]), shown(raw::call(libc::SYS_migrate_pages, &words)));
    };
    of("", pid, args.get(1));
    of("own ", 0, raw::at(&pid));
}
