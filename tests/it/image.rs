//! Images as the root of a run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lab::{Lab, Run};

lab::suite! {
    tests: [
        an_image_is_run_as_it_says,
        what_is_written_in_an_image_is_gone_afterwards,
        an_image_that_is_not_whole_is_not_run,
        many_runs_unpack_an_image_once,
        what_is_denied_in_an_image_is_denied,
    ],
}

/// An image of two layers in the directory `image`; the second takes away what the first brought.
struct Layout {
    place: PathBuf,
}

impl Layout {
    fn new(lab: &Lab, config: &str) -> Self {
        let place = lab.directory("image");
        lab.directory("image/blobs/sha256");
        let system = lab.system("first");
        lab.file("first/etc/motd", "of the image\n");
        lab.file("first/etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1234:2345::/:/bin/sh\n");
        lab.file("first/srv/old", "old\n");
        lab.directory("first/work");
        lab.script("first/entry", "#!/bin/sh\necho entry \"$@\"\nexec \"$@\"\n");
        lab.file("second/srv/.wh.old", "");
        lab.file("second/srv/new", "new\n");
        let layout = Layout { place };
        let first = layout.layer(lab, &system, "");
        let second = layout.layer(lab, &lab.path("second"), "+gzip");
        let config = layout.blob(lab, config.as_bytes());
        let describe = |kind: &str, (digest, size): &(String, u64)| {
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"sha256:{digest}","size":{size}}}"#
            )
        };
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{},{}]}}"#,
            describe("config.v1+json", &config),
            describe("layer.v1.tar", &first),
            describe("layer.v1.tar+gzip", &second),
        );
        let (digest, size) = layout.blob(lab, manifest.as_bytes());
        let name = r#""annotations":{"org.opencontainers.image.ref.name":"latest"}"#;
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{digest}","size":{size},{name}}}]}}"#
        );
        lab.file("image/index.json", index);
        lab.file("image/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
        layout
    }

    fn layer(&self, lab: &Lab, content: &Path, kind: &str) -> (String, u64) {
        let archive = lab.path("layer.tar");
        let how = if kind.is_empty() { "-cf" } else { "-czf" };
        let tar =
            Command::new("tar").arg("-C").arg(content).arg(how).arg(&archive).arg(".").status().unwrap();
        assert!(tar.success());
        self.blob(lab, &fs::read(&archive).unwrap())
    }

    fn blob(&self, lab: &Lab, content: &[u8]) -> (String, u64) {
        let file = lab.file("blob", content);
        let sum = Command::new("sha256sum").arg(&file).output().unwrap().stdout;
        let digest = String::from_utf8(sum[..64].to_vec()).unwrap();
        lab.file(format!("image/blobs/sha256/{digest}"), content);
        (digest, content.len() as u64)
    }

    fn layers(&self) -> Vec<PathBuf> {
        let blobs = fs::read_dir(self.place.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
        blobs.filter(|path| !fs::read(path).unwrap().starts_with(b"{")).collect()
    }

    fn run(&self, lab: &Lab) -> Run {
        let word = format!("oci:{}", self.place.display());
        lab.sandbox().env("XDG_CACHE_HOME", lab.path("cache")).options(["--image", &word]).with_programs()
    }
}

const CONFIG: &str = r#"{"architecture":"amd64","os":"linux","config":{
    "Env":["PATH=/usr/bin:/bin","GREETING=hello"],"Entrypoint":["/entry"],"Cmd":["/bin/echo","by","default"],
    "WorkingDir":"/work","User":"app"}}"#;

fn an_image_is_run_as_it_says(lab: &Lab) {
    let image = Layout::new(lab, CONFIG);
    let run = || image.run(lab).env("API_TOKEN", "of the caller");
    let script = "echo $GREETING ${API_TOKEN-none}; pwd; id -u; id -g; cat /etc/motd /srv/*";
    let out = run().sh(script);
    let said =
        "entry /bin/sh -c ".to_owned() + script + "\nhello none\n/work\n1234\n2345\nof the image\nnew\n";
    assert_eq!(out.expect_code(0).stdout, said, "{out}");
    // Its own command; and what the person says wins.
    let words =
        ["run", "--image", &format!("oci:{}:latest", image.place.display()), "--mount", "/usr:/usr:ro"];
    let out = lab.sandlock().env("XDG_CACHE_HOME", lab.path("cache")).arguments(words).output();
    assert_eq!(out.expect_code(0).stdout, "entry /bin/echo by default\nby default\n", "{out}");
    let given = ["--env", "GREETING=bye", "--uid", "0", "--cwd", "/etc", "--env-pass", "API_TOKEN"];
    let out = run().options(given).sh("echo $GREETING $API_TOKEN; pwd; id -u");
    assert!(out.stdout.ends_with("bye of the caller\n/etc\n0\n"), "{out}");
    let other = format!("oci:{}:other", image.place.display());
    lab.sandbox()
        .env("XDG_CACHE_HOME", lab.path("cache"))
        .options(["--image", &other])
        .sh("true")
        .expect_code(125)
        .expect_said("there is no image \"other\"");
}

fn what_is_written_in_an_image_is_gone_afterwards(lab: &Lab) {
    let image = Layout::new(lab, CONFIG);
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
    let image = Layout::new(lab, CONFIG);
    for layer in image.layers() {
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
    assert_eq!(fs::read_dir(lab.path("cache/sandlock/images")).unwrap().count(), 0);
    image.run(lab).sh("true").expect_code(0);
}

fn many_runs_unpack_an_image_once(lab: &Lab) {
    let image = Layout::new(lab, CONFIG);
    lab.directory("cache");
    let mut runs: Vec<_> =
        (0..6).map(|_| image.run(lab).command("/bin/cat", ["/etc/motd"]).start()).collect();
    for run in runs.drain(..) {
        let out = run.finish();
        assert!(out.expect_code(0).stdout.ends_with("of the image\n"), "{out}");
    }
    assert_eq!(fs::read_dir(lab.path("cache/sandlock/images")).unwrap().count(), 1);
    image.layers().iter().for_each(|layer| fs::remove_file(layer).unwrap());
    image.run(lab).sh("true").expect_code(0);
}

/// Also when directories above it are copied up into what the run writes, and moved.
fn what_is_denied_in_an_image_is_denied(lab: &Lab) {
    let image = Layout::new(lab, CONFIG);
    let line = "cat /srv/new; echo secret=$?; cat /etc/motd; echo beside=$?; chmod 700 /srv; mv /srv /moved; echo moved=$?; \
                echo x > /srv/new; echo written=$?; cat /moved/new /srv/new; echo again=$?; echo y > /srv/other; cat /srv/other";
    let run = || image.run(lab).write("/");
    let free = run().sh(line);
    free.expect("secret", 0).expect("beside", 0);
    let out = run().option("--fs-deny").option("/srv/new").sh(line);
    out.expect("secret", 1).expect("beside", 0).expect("again", 1);
    assert!(!out.stdout.lines().any(|line| line == "new"), "{out}");
    assert!(out.value("moved") != "0" && out.value("written") != "0", "{out}");
    let there = free.value("moved") == "0";
    assert_eq!(out.stdout.ends_with("\ny\n"), there, "{out}\n{free}");
}
