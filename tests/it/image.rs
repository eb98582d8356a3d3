//! Images as the root of a run.

use std::fs;

use lab::{Image, Lab};

lab::suite! {
    tests: [
        an_image_is_run_as_it_says,
        what_is_written_in_an_image_is_gone_afterwards,
        an_image_that_is_not_whole_is_not_run,
        many_runs_unpack_an_image_once,
    ],
}

/// Of two layers; the second takes away what the first brought.
fn image(lab: &Lab) -> Image {
    let system = lab.system("first");
    lab.file("first/etc/motd", "of the image\n");
    lab.file("first/etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1234:2345::/:/bin/sh\n");
    lab.file("first/srv/old", "old\n");
    lab.directory("first/work");
    lab.script("first/entry", "#!/bin/sh\necho entry \"$@\"\nexec \"$@\"\n");
    lab.file("second/srv/.wh.old", "");
    lab.file("second/srv/new", "new\n");
    lab.image("image", &[&system, &lab.path("second")], CONFIG)
}

const CONFIG: &str = r#"{"architecture":"amd64","os":"linux","config":{
    "Env":["PATH=/usr/bin:/bin","GREETING=hello"],"Entrypoint":["/entry"],"Cmd":["/bin/echo","by","default"],
    "WorkingDir":"/work","User":"app"}}"#;

fn an_image_is_run_as_it_says(lab: &Lab) {
    let image = image(lab);
    let run = || image.run(lab).env("API_TOKEN", "of the caller");
    let script = "echo $GREETING ${API_TOKEN-none}; pwd; id -u; id -g; cat /etc/motd /srv/*";
    let out = run().sh(script);
    let said =
        "entry /bin/sh -c ".to_owned() + script + "\nhello none\n/work\n1234\n2345\nof the image\nnew\n";
    assert_eq!(out.expect_code(0).stdout, said, "{out}");
    // Its own command; and what the person says wins.
    let words = ["run", "--image", &format!("{}:latest", image.word(lab)), "--mount", "/usr:/usr:ro"];
    let out = lab.sandlock().env("XDG_CACHE_HOME", image.cache(lab)).arguments(words).output();
    assert_eq!(out.expect_code(0).stdout, "entry /bin/echo by default\nby default\n", "{out}");
    let given = ["--env", "GREETING=bye", "--uid", "0", "--cwd", "/etc", "--env-pass", "API_TOKEN"];
    let out = run().options(given).sh("echo $GREETING $API_TOKEN; pwd; id -u");
    assert!(out.stdout.ends_with("bye of the caller\n/etc\n0\n"), "{out}");
    let other = format!("{}:other", image.word(lab));
    lab.sandbox()
        .env("XDG_CACHE_HOME", image.cache(lab))
        .options(["--image", &other])
        .sh("true")
        .expect_code(125)
        .expect_said("there is no image \"other\"");
}

fn what_is_written_in_an_image_is_gone_afterwards(lab: &Lab) {
    let image = image(lab);
    let write = "echo changed > /etc/motd; echo x > /work/x; echo y > /tmp/y; cat /etc/motd";
    // It may be read, and not written unless that is said.
    let out = image.run(lab).sh(write);
    assert!(out.stdout.ends_with("\nof the image\n") && out.stderr.contains("Permission denied"), "{out}");
    let out = image.run(lab).write("/").sh(write);
    let there = out.stdout.ends_with("\nchanged\n");
    // Where there is no overlay, an image can be read alone.
    assert!(there || out.stderr.contains("Read-only file system"), "{out}");
    let out = image.run(lab).sh("cat /etc/motd; ls /work /tmp | wc -l");
    assert!(out.stdout.contains("\nof the image\n"), "{out}");
    assert_eq!(fs::read_dir(lab.path("tmp")).unwrap().count(), 0);
}

fn an_image_that_is_not_whole_is_not_run(lab: &Lab) {
    let image = image(lab);
    for layer in image.layers(lab) {
        let whole = fs::read(&layer).unwrap();
        let mut changed = whole.clone();
        let last = changed.len() - 1;
        changed[last] ^= 1;
        fs::write(&layer, &changed).unwrap();
        image.run(lab).sh("echo executed").expect_code(125).expect_said("--image oci:");
        fs::write(&layer, &whole[..whole.len() / 2]).unwrap();
        image.run(lab).sh("echo executed").expect_code(125).expect_said("--image oci:");
        fs::write(&layer, &whole).unwrap();
    }
    // Nothing of it was kept.
    assert_eq!(fs::read_dir(image.unpacked(lab)).unwrap().count(), 0);
    image.run(lab).sh("true").expect_code(0);
}

fn many_runs_unpack_an_image_once(lab: &Lab) {
    let image = image(lab);
    let mut runs: Vec<_> =
        (0..6).map(|_| image.run(lab).command("/bin/cat", ["/etc/motd"]).start()).collect();
    for run in runs.drain(..) {
        let out = run.finish();
        assert!(out.expect_code(0).stdout.ends_with("of the image\n"), "{out}");
    }
    assert_eq!(fs::read_dir(image.unpacked(lab)).unwrap().count(), 1);
    image.layers(lab).iter().for_each(|layer| fs::remove_file(layer).unwrap());
    image.run(lab).sh("true").expect_code(0);
}
