//! A place with secrets in it, for attacks that are made on several grounds: where a run sees the machine as it is, where it
//! is in a root of its own, and where the place itself is the run's own.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lab::{Image, Lab, Run};

/// Where a place is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ground {
    /// Without the sandbox.
    Bare,
    /// On the machine, which the run sees as it is.
    Machine,
    /// There, and only to be read.
    Readable,
    /// There, in a run that has a mount.
    Mounts,
    /// Mounted in another root, where it is outside as well.
    Root,
    /// In an image, of which the run changes a copy of its own.
    Image,
}

impl Ground {
    /// Those where what is done is done to the place.
    pub(crate) const SHARED: [Ground; 3] = [Ground::Machine, Ground::Mounts, Ground::Root];

    /// Those where something can be written. A machine may have no overlay for images.
    pub(crate) fn writable(lab: &Lab) -> Vec<Ground> {
        let probe = Place::new(lab, Ground::Image, "probe");
        let image = probe.run().sh("echo > /place/new").code() == 0;
        Self::SHARED.into_iter().chain(image.then_some(Ground::Image)).collect()
    }
}

/// A place with two things that are to be denied in it, and `work` beside it.
pub(crate) struct Place<'a> {
    lab: &'a Lab,
    ground: Ground,
    image: Option<Image>,
    /// Where the run finds it.
    pub(crate) root: PathBuf,
    pub(crate) file: PathBuf,
    pub(crate) directory: PathBuf,
}

impl<'a> Place<'a> {
    pub(crate) fn new(lab: &'a Lab, ground: Ground, name: &str) -> Self {
        let name = format!("{name}-{ground:?}");
        let below = if ground == Ground::Image { format!("{name}/layer/place") } else { name.clone() };
        for (path, content) in
            [("sub/deep/secret", SECRET), ("private/inner/secret", SECRET), ("sub/ok", "ok"), ("ok", "ok")]
        {
            lab.file(format!("{below}/{path}"), content);
        }
        let mut root = lab.path(&name);
        let mut image = None;
        match ground {
            Ground::Image => {
                lab.system(&format!("{name}/layer"));
                lab.directory(format!("{name}/layer/work"));
                image = Some(lab.image(format!("{name}/image"), &[&root.join("layer")], "{}"));
                root = PathBuf::from("/place");
            }
            Ground::Root if !lab.path("system").exists() => _ = lab.system("system"),
            _ => {}
        }
        Place {
            lab,
            ground,
            image,
            file: root.join("sub/deep/secret"),
            directory: root.join("private"),
            root,
        }
    }

    /// A run that may write there, and in `work`.
    pub(crate) fn run(&self) -> Run {
        let work = self.lab.path("work");
        let places = [&self.root, &work];
        let sandbox = self.lab.sandbox();
        match self.ground {
            Ground::Bare => self.lab.bare(),
            Ground::Machine => sandbox.write(&self.root).write(work),
            Ground::Readable => sandbox.read(&self.root).write(work),
            Ground::Mounts => {
                let empty = self.lab.directory("empty");
                sandbox.write(&self.root).write(work).option("--tmpfs").option(empty)
            }
            Ground::Root => {
                let apart = sandbox.in_root(self.lab.path("system"));
                places.into_iter().fold(apart, |run, place| run.mount(place, place, ""))
            }
            Ground::Image => self.image.as_ref().unwrap().run(self.lab).write(&self.root).write("/work"),
        }
    }

    /// As well, and the two are denied.
    pub(crate) fn denied(&self) -> Run {
        self.run().option("--fs-deny").option(&self.file).option("--fs-deny").option(&self.directory)
    }

    /// As it was made. What a run keeps for itself is gone with it.
    pub(crate) fn is_whole(&self) -> bool {
        let holds = |path: &Path| std::fs::read_to_string(path).is_ok_and(|content| content == SECRET);
        let alone = |path: &Path| {
            std::fs::metadata(path).is_ok_and(|found| found.nlink() == 1 && found.mode() & 0o777 == 0o644)
        };
        let found = |root: &Path| {
            let files = [root.join("sub/deep/secret"), root.join("private/inner/secret")];
            files.iter().all(|path| holds(path) && alone(path))
        };
        match &self.image {
            None => found(&self.root),
            Some(image) => std::fs::read_dir(image.unpacked(self.lab))
                .unwrap()
                .all(|unpacked| found(&unpacked.unwrap().path().join("root/place"))),
        }
    }
}

pub(crate) const SECRET: &str = "a secret\n";
