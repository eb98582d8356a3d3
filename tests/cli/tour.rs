//! `sandlock tour`: it shows the main job, checks itself, and leaves nothing behind.

use lab::Lab;

lab::suite! {
    tests: [
        all_comes_out_as_promised_and_nothing_is_left,
        the_tour_needs_no_curl,
        a_tour_that_cannot_be_shown_fails,
    ],
}

fn all_comes_out_as_promised_and_nothing_is_left(lab: &Lab) {
    let out = lab.sandlock().arguments(["tour"]).output();
    out.expect_code(0);
    for text in [
        "   $ sandlock run -- ",
        "   | hello from server one\n",
        "hint: allow it with --net-allow 127.0.0.1:",
        " came out as promised.\n",
    ] {
        assert!(out.stdout.contains(text), "not there: {text}\n{out}");
    }
    assert_eq!(out.stderr, "", "{out}");
    assert_eq!(std::fs::read_dir(lab.path("tmp")).unwrap().count(), 0);
}

fn the_tour_needs_no_curl(lab: &Lab) {
    let tools = lab.directory("tools");
    for name in ["cat", "ls", "sh"] {
        std::os::unix::fs::symlink(format!("/bin/{name}"), tools.join(name)).unwrap();
    }
    let out = lab.sandlock().arguments(["tour"]).env("PATH", &tools).output();
    out.expect_code(0);
    assert!(out.stdout.contains("-- sandlock __fetch 127.0.0.1:"), "{out}");
}

/// Where the servers cannot be started, all is refused, and proves nothing.
fn a_tour_that_cannot_be_shown_fails(lab: &Lab) {
    lab.sandbox().run("sandlock_itself", ["tour"]).expect_code(1);
}
