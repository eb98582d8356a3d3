//! Images in the layout of the Open Container Initiative, made from directories.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Lab, Run};

/// An image in a directory of the lab. What is unpacked of it is beside.
pub struct Image {
    name: PathBuf,
}

impl Lab {
    /// An image with this configuration, whose layers hold what is in these directories. Every layer but the first is
    /// compressed.
    pub fn image(&self, name: impl AsRef<Path>, layers: &[&Path], config: &str) -> Image {
        let image = Image { name: name.as_ref().to_owned() };
        let describe = |kind: &str, digest: &str, content: &[u8]| {
            let size = content.len();
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"sha256:{digest}","size":{size}}}"#
            )
        };
        let mut layer = |(index, content): (usize, &&Path)| {
            let (how, kind) = if index == 0 { ("-cf", "") } else { ("-czf", "+gzip") };
            let archive = self.path("layer.tar");
            let tar =
                Command::new("tar").arg("-C").arg(content).arg(how).arg(&archive).arg(".").status().unwrap();
            assert!(tar.success());
            let bytes = fs::read(&archive).unwrap();
            describe(&format!("layer.v1.tar{kind}"), &image.add(self, &bytes), &bytes)
        };
        let layers: Vec<_> = layers.iter().enumerate().map(&mut layer).collect();
        let config = describe("config.v1+json", &image.add(self, config.as_bytes()), config.as_bytes());
        let manifest = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#, layers.join(","));
        let found = describe("manifest.v1+json", &image.add(self, manifest.as_bytes()), manifest.as_bytes());
        let name = r#""annotations":{"org.opencontainers.image.ref.name":"latest"}"#;
        let found = found.trim_end_matches('}');
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{found},{name}}}]}}"#);
        self.file(image.name.join("index.json"), index);
        self.file(image.name.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#);
        image
    }
}

impl Image {
    /// `oci:DIRECTORY`.
    pub fn word(&self, lab: &Lab) -> String {
        format!("oci:{}", lab.path(&self.name).display())
    }

    /// The files with the layers.
    pub fn layers(&self, lab: &Lab) -> Vec<PathBuf> {
        let blobs = fs::read_dir(lab.path(self.name.join(BLOBS))).unwrap();
        let blobs = blobs.map(|entry| entry.unwrap().path());
        blobs.filter(|path| !fs::read(path).unwrap().starts_with(b"{")).collect()
    }

    /// Where `sandlock` unpacks it.
    pub fn unpacked(&self, lab: &Lab) -> PathBuf {
        self.cache(lab).join("sandlock/images")
    }

    /// `XDG_CACHE_HOME` of its runs.
    pub fn cache(&self, lab: &Lab) -> PathBuf {
        lab.path(self.name.join("cache"))
    }

    /// `--image` with the machine's programs and the lab's own mounted in it.
    pub fn run(&self, lab: &Lab) -> Run {
        let run = lab.sandbox().env("XDG_CACHE_HOME", self.cache(lab));
        run.options(["--image", &self.word(lab)]).with_programs()
    }

    fn add(&self, lab: &Lab, content: &[u8]) -> String {
        let file = lab.file("blob", content);
        let sum = Command::new("sha256sum").arg(&file).output().unwrap().stdout;
        let digest = String::from_utf8(sum[..64].to_vec()).unwrap();
        lab.file(self.name.join(BLOBS).join(&digest), content);
        digest
    }
}

const BLOBS: &str = "blobs/sha256";
