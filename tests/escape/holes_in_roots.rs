//! `--fs-deny`, `-x` and `--noexec-writable` in a root of the run's own: the attacks of `file_holes` once more, where paths are
//! looked up after the root was entered, and mounts show places under more than one name.

use std::path::Path;

use lab::{Lab, Run};

use crate::file_holes::{CHANGES, MAKES, Place};

lab::suite! {
    tests: [
        nothing_reads_what_is_denied,
        nothing_changes_what_is_denied,
        what_is_not_there_is_not_made,
        a_path_exchanged_while_it_is_looked_up_leads_nowhere_else,
        what_is_beside_is_used_as_ever,
        what_somebody_outside_puts_there_is_denied,
        a_mount_that_shows_what_is_denied_is_an_error,
        a_place_of_the_root_is_denied,
        what_can_be_written_is_not_executed,
    ],
    programs: [],
}

/// The machine's own root with a mount, and another root with the places mounted where they are outside as well.
const ROOTS: [&str; 2] = ["mounts", "root"];

fn sandbox(lab: &Lab, root: &str, places: &[&Path]) -> Run {
    let own = lab.sandbox();
    if root == "mounts" {
        let run = own.option("--tmpfs").option(lab.directory("empty"));
        return places.iter().fold(run, |run, place| run.write(place));
    }
    let directory = lab.path("system");
    let directory = if directory.exists() { directory } else { lab.system("system") };
    places.iter().fold(own.in_root(directory), |run, place| run.mount(place, place, ""))
}

fn nothing_reads_what_is_denied(lab: &Lab) {
    let work = lab.path("work");
    for root in ROOTS {
        let place = Place::new(lab, root);
        let run = || sandbox(lab, root, &[&place.root, &work]);
        let out = run().sh(&format!("cat {}", place.file.display()));
        assert_eq!(out.expect_code(0).stdout, "a secret\n");
        let files = [place.root.clone(), place.file.clone(), place.directory.join("inner/secret")];
        let out = place.deny(run()).run("read_by_all_ways", files);
        assert!(out.stdout.lines().count() > 30, "{out}");
        assert!(!out.stdout.lines().any(|line| line.ends_with("=secret")), "{out}");
        out.expect("beside", "ok");
        assert!(place.is_whole(), "{out}");
        out.expect_said(&format!("  {}, which --fs-deny refuses", place.file.display()));
    }
}

fn nothing_changes_what_is_denied(lab: &Lab) {
    let work = lab.path("work");
    for root in ROOTS {
        let place = Place::new(lab, root);
        let run = place.deny(sandbox(lab, root, &[&place.root, &work]));
        let out = run.run("change_by_all_ways", ["all".as_ref(), place.root.as_os_str()]);
        for act in CHANGES {
            assert!(out.value(act) != "ok", "{act}\n{out}");
        }
        assert!(place.is_whole(), "{out}");
    }
}

fn what_is_not_there_is_not_made(lab: &Lab) {
    let work = lab.path("work");
    for root in ROOTS {
        let place = lab.directory(root);
        let run = || sandbox(lab, root, &[&place, &work]);
        let out = run().run("make_by_all_ways", [&place.join("allowed")]);
        out.expect("file", "ok").expect("renamed", "ok");
        for denied in ["later", "later/below/it"] {
            let out = run().option("--fs-deny").option(place.join(denied));
            let out = out.run("make_by_all_ways", [&place.join("later")]);
            MAKES.iter().for_each(|way| _ = out.expect(way, "EACCES"));
            assert!(std::fs::symlink_metadata(place.join("later")).is_err());
        }
    }
}

fn a_path_exchanged_while_it_is_looked_up_leads_nowhere_else(lab: &Lab) {
    let work = lab.path("work");
    for root in ROOTS {
        for way in ["link", "directory", "memory"] {
            let place = Place::new(lab, &format!("{root} {way}"));
            let run = place.deny(sandbox(lab, root, &[&place.root, &work]));
            let out = run.run("race_for", [way.as_ref(), place.root.as_os_str()]);
            out.expect("secret", "never").expect("ok", "read");
            assert!(place.is_whole(), "{out}");
        }
    }
}

fn what_is_beside_is_used_as_ever(lab: &Lab) {
    let bare = Place::new(lab, "bare");
    let expected = lab.bare().run("work_beside", [&bare.root]);
    for root in ROOTS {
        let place = Place::new(lab, root);
        let out = place.deny(sandbox(lab, root, &[&place.root])).run("work_beside", [&place.root]);
        assert_eq!(out.stdout, expected.stdout, "{out}\n{expected}");
        assert!(place.is_whole());
    }
}

/// Editors replace a file by renaming another over it. A mount over it would be taken away by that, in all namespaces.
fn what_somebody_outside_puts_there_is_denied(lab: &Lab) {
    for root in ROOTS {
        let place = Place::new(lab, root);
        let line = format!(
            "echo ready=yes; read go; cat {}; echo read=$?; cat {} && echo && echo other=0",
            place.file.display(),
            place.root.join("ok").display()
        );
        let run = place.deny(sandbox(lab, root, &[&place.root])).input_pipe();
        let mut run = run.command("/bin/sh", ["-c", &line]).start();
        run.wait_for("ready");
        let new = place.file.with_extension("new");
        std::fs::write(&new, "a new secret\n").unwrap();
        std::fs::rename(&new, &place.file).unwrap();
        run.send("go\n");
        let out = run.finish();
        assert!(out.value("read") != "0" && out.value("other") == "0", "{out}");
        assert!(!out.stdout.contains("secret"), "{out}");
    }
}

/// To Landlock a directory is one, wherever it is mounted: what is granted of it by one name is by all.
fn a_mount_that_shows_what_is_denied_is_an_error(lab: &Lab) {
    let place = Place::new(lab, "place");
    let at = lab.directory("at");
    let run = |what: &Path, denied: &Path| {
        let run = sandbox(lab, "mounts", &[&place.root]).mount(&at, what, ":ro");
        run.option("--fs-deny").option(denied).sh("echo executed")
    };
    let sub = place.root.join("sub");
    std::os::unix::fs::symlink(place.directory.join("inner"), lab.path("link")).unwrap();
    assert_eq!(run(&sub, &place.directory).expect_code(0).stdout, "executed\n");
    for (what, denied) in [
        (place.root.as_path(), place.directory.as_path()),
        (&sub, &place.file),
        (&sub.join("deep"), &sub),
        (&place.directory, &place.directory),
        (&place.directory.join("inner"), &place.directory),
        (&lab.path("link"), &place.directory),
    ] {
        let out = run(what, denied);
        out.expect_code(125).expect_said("shows it under another name");
        assert_eq!(out.stdout, "", "{out}");
    }
}

/// A path that only the root has, below the grant of all of it.
fn a_place_of_the_root_is_denied(lab: &Lab) {
    let root = lab.system("other");
    lab.file("other/srv/secret", "a secret\n");
    lab.file("other/srv/open", "open\n");
    let line = "cat /srv/secret; echo secret=$?; cat /srv/open; echo open=$?";
    let run = || lab.sandbox().in_root(&root);
    run().sh(line).expect("secret", 0).expect("open", 0);
    for denied in ["/srv/secret", "srv/secret"] {
        let out = run().option("--fs-deny").option(denied).sh(line);
        out.expect("secret", 1).expect("open", 0);
        assert!(!out.stdout.contains("a secret"), "{out}");
    }
    let out = run().option("--fs-deny").option("/srv").sh(line);
    out.expect("secret", 1).expect("open", 1);
}

fn what_can_be_written_is_not_executed(lab: &Lab) {
    for root in ROOTS {
        let place = lab.directory(root);
        let line = format!(
            "cp /usr/bin/env {0}/copy; {0}/copy true; echo copy=$?; env true; echo system=$?",
            place.display()
        );
        let run = || sandbox(lab, root, &[&place]);
        run().sh(&line).expect("copy", 0).expect("system", 0);
        // What is mounted has to be named as well.
        let named = if root == "mounts" { "/usr/bin/env" } else { "/usr" };
        for options in [&["--noexec-writable"][..], &["-x", named]] {
            run().options(options).sh(&line).expect("copy", 126).expect("system", 0);
        }
    }
}
