//! The files of a run are mounted at paths of a root that somebody else may have made: links there lead to files of the
//! machine, if whoever mounts follows them as the machine does.

use std::fs;
use std::os::unix::fs::symlink;

use lab::{Lab, TcpServer};

lab::suite! { tests: [links_of_the_root_lead_to_nothing_outside] }

fn links_of_the_root_lead_to_nothing_outside(lab: &Lab) {
    let server = TcpServer::v4();
    let rule = format!("localhost:{}", server.port());
    let outside = lab.file("outside/hosts", "of the machine\n");
    let plain = lab.system("plain");
    let out = lab.sandbox().in_root(&plain).allow(&rule).sh("cat /etc/hosts");
    assert!(out.expect_code(0).stdout.contains("localhost"), "{out}");

    let target = outside.to_str().unwrap();
    // What the paths of this machine mean in the root: its first directory is one of the test's own.
    let first = std::path::Path::new("/").join(outside.iter().nth(1).unwrap());
    lab.directory("own");
    let within = |root: &std::path::Path| lab.sandbox().in_root(root).mount(&first, lab.path("own"), "");
    let own = format!("own/{}", outside.strip_prefix(&first).unwrap().display());
    for (index, link) in
        [target, &format!("../../..{target}"), "/proc/self/root/etc/hosts"].into_iter().enumerate()
    {
        let root = lab.system(&format!("root{index}"));
        symlink(link, root.join("etc/hosts")).unwrap();
        let out = within(&root).allow(&rule).sh("cat /etc/hosts; echo x >> /etc/hosts");
        // There is nothing where it leads to in the root, and nothing is made there.
        out.expect_code(125).expect_said("/etc/hosts: nothing can be mounted there in the root");
        assert_eq!(fs::read_to_string(&outside).unwrap(), "of the machine\n", "{out}");
        // Where there is something, that is what is mounted over.
        if index < 2 {
            lab.file(&own, "of the root\n");
            let out = within(&root).allow(&rule).sh("cat /etc/hosts");
            assert!(out.expect_code(0).stdout.contains("localhost"), "{out}");
            assert_eq!(fs::read_to_string(lab.path(&own)).unwrap(), "of the root\n", "{out}");
            fs::remove_file(lab.path(&own)).unwrap();
        }
        assert_eq!(fs::read_to_string(&outside).unwrap(), "of the machine\n", "{out}");
    }

    // The same of a directory that something is mounted at.
    let root = lab.system("directory");
    symlink(lab.path("outside"), root.join("data")).unwrap();
    lab.file("given/file", "given");
    fs::remove_dir(lab.path(&own).parent().unwrap()).unwrap();
    let run = || within(&root).mount("/data", lab.path("given"), "");
    run().sh("cat /data/*").expect_code(125).expect_said("/data: nothing can be mounted there in the root");
    lab.directory(std::path::Path::new(&own).parent().unwrap());
    let out = run().sh("cat /data/file; echo new > /data/new");
    assert_eq!(out.expect_code(0).stdout, "given", "{out}");
    assert_eq!(fs::read_dir(lab.path("outside")).unwrap().count(), 1, "{out}");
    assert!(lab.path("given/new").exists(), "{out}");
}
