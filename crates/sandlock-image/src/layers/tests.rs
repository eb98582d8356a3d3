//! What hostile archives try: each beside an honest entry of the same kind, which is unpacked.

mod compressed;

use super::*;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

/// A directory, and a root in it.
struct Lab {
    place: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("root")).unwrap();
        fs::write(place.path().join("outside"), "outside").unwrap();
        Lab { place }
    }

    fn root(&self, name: &str) -> PathBuf {
        self.place.path().join("root").join(name)
    }

    fn apply_within(&self, archive: &[u8], limits: &mut Limits) -> Result<(), ImageError> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let root = rustix::fs::open(self.place.path().join("root"), flags, Mode::empty()).unwrap();
        unpack(root.as_fd(), archive, limits)
    }

    fn apply(&self, archive: &[u8]) -> Result<(), ImageError> {
        self.apply_within(archive, &mut Limits::default())
    }

    /// Nothing outside of the root has changed.
    fn is_whole(&self) {
        assert_eq!(fs::read_to_string(self.place.path().join("outside")).unwrap(), "outside");
        assert_eq!(fs::read_dir(self.place.path()).unwrap().count(), 2);
    }
}

/// A layout without documents: what layers are read from.
struct Blobs {
    place: tempfile::TempDir,
}

impl Blobs {
    fn new() -> Self {
        let blobs = Blobs { place: tempfile::tempdir().unwrap() };
        fs::create_dir_all(blobs.path("")).unwrap();
        blobs
    }

    fn path(&self, hex: &str) -> PathBuf {
        self.place.path().join("blobs/sha256").join(hex)
    }

    fn put(&self, content: &[u8]) -> Descriptor {
        use sha2::Digest;
        let hex: String = sha2::Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(self.path(&hex), content).unwrap();
        Descriptor {
            media_type: "application/vnd.oci.image.layer.v1.tar".to_owned(),
            digest: format!("sha256:{hex}"),
            size: content.len() as u64,
            annotations: Default::default(),
            platform: None,
        }
    }

    fn apply(&self, lab: &Lab, layer: &Descriptor) -> Result<(), ImageError> {
        let root = rustix::fs::open(lab.root(""), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        super::apply(root.as_fd(), self.place.path(), layer, &mut Limits::default())
    }
}

/// One entry, with a name that no honest builder lets through.
fn entry(kind: EntryType, name: &str, link: &str, content: &[u8], mode: u32) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    header.set_mtime(1_000_000_000);
    header.set_cksum();
    let padding = content.len().next_multiple_of(512) - content.len();
    [header.as_bytes(), content, &vec![0; padding]].concat()
}

fn file(name: &str, content: &str) -> Vec<u8> {
    entry(EntryType::Regular, name, "", content.as_bytes(), 0o644)
}

fn directory(name: &str) -> Vec<u8> {
    entry(EntryType::Directory, name, "", b"", 0o755)
}

fn link(name: &str, target: &str) -> Vec<u8> {
    entry(EntryType::Symlink, name, target, b"", 0o777)
}

fn hard_link(name: &str, target: &str) -> Vec<u8> {
    entry(EntryType::Link, name, target, b"", 0o644)
}

#[test]
fn honest_entries_are_unpacked() {
    let lab = Lab::new();
    let layer = [
        directory("./"),
        directory("bin/"),
        entry(EntryType::Regular, "bin/tool", "", b"tool", 0o4755),
        link("bin/again", "tool"),
        hard_link("bin/hard", "bin/tool"),
        file("deep/without/directories", "x"),
        entry(EntryType::Directory, "closed/", "", b"", 0o000),
        file("closed/file", "y"),
    ];
    lab.apply(&layer.concat()).unwrap();
    assert_eq!(fs::read(lab.root("bin/again")).unwrap(), b"tool");
    let tool = fs::metadata(lab.root("bin/tool")).unwrap();
    assert_eq!((tool.permissions().mode() & 0o7777, tool.mtime()), (0o755, 1_000_000_000));
    assert_eq!(tool.ino(), fs::metadata(lab.root("bin/hard")).unwrap().ino());
    assert_eq!(fs::read(lab.root("deep/without/directories")).unwrap(), b"x");
    assert_eq!(fs::read(lab.root("closed/file")).unwrap(), b"y");
}

#[test]
fn names_lead_nowhere_outside() {
    for name in ["../outside", "/../outside", "a/../../outside", "../../../../../../tmp/x/../outside"] {
        let lab = Lab::new();
        let _ = lab.apply(&[directory("a"), file(name, "changed")].concat());
        lab.is_whole();
    }
    let lab = Lab::new();
    lab.apply(&file("/outside", "inside")).unwrap();
    assert_eq!(fs::read(lab.root("outside")).unwrap(), b"inside");
    lab.is_whole();
}

#[test]
fn links_of_the_archive_lead_nowhere_outside() {
    let lab = Lab::new();
    let outside = lab.place.path().to_str().unwrap().to_owned();
    for (name, target) in [("up", ".."), ("absolute", outside.as_str()), ("proc", "/proc/self/root")] {
        let _ = lab.apply(&[link(name, target), file(&format!("{name}/outside"), "changed")].concat());
        lab.is_whole();
        let _ = lab.apply(
            &[link(name, target), entry(EntryType::Directory, &format!("{name}/"), "", b"", 0o711)].concat(),
        );
        lab.is_whole();
    }
    // A file that is a link by now is replaced, and not written through.
    lab.apply(&[link("file", "../outside"), file("file", "new")].concat()).unwrap();
    assert_eq!(fs::read(lab.root("file")).unwrap(), b"new");
    assert!(!fs::symlink_metadata(lab.root("file")).unwrap().is_symlink());
    // A directory likewise.
    lab.apply(&[link("place", ".."), directory("place"), file("place/outside", "in")].concat()).unwrap();
    assert_eq!(fs::read(lab.root("place/outside")).unwrap(), b"in");
    lab.is_whole();
    // Links that stay inside are honest: /lib leads to /usr/lib in most images.
    lab.apply(&[directory("usr/lib"), link("lib", "/usr/lib"), file("lib/x.so", "x")].concat()).unwrap();
    assert_eq!(fs::read(lab.root("usr/lib/x.so")).unwrap(), b"x");
}

#[test]
fn hard_links_are_to_files_of_the_root() {
    for target in ["../outside", "/../../outside", "up/outside", "absolute/outside"] {
        let lab = Lab::new();
        symlink("..", lab.root("up")).unwrap();
        symlink(lab.place.path(), lab.root("absolute")).unwrap();
        assert!(lab.apply(&hard_link("stolen", target)).is_err(), "{target}");
        assert!(!lab.root("stolen").exists());
        assert_eq!(fs::metadata(lab.place.path().join("outside")).unwrap().nlink(), 1);
        lab.is_whole();
    }
    // Of a link the link: what is written to it afterwards replaces it.
    let lab = Lab::new();
    let layer = [link("way", "../outside"), hard_link("other", "way"), file("other", "new")];
    lab.apply(&layer.concat()).unwrap();
    lab.is_whole();
    let lab = Lab::new();
    lab.apply(&file("own", "x")).unwrap();
    lab.apply(&[hard_link("own", "own"), hard_link("./own", "/own")].concat()).unwrap();
    assert_eq!(fs::read(lab.root("own")).unwrap(), b"x");
    assert!(lab.apply(&[directory("d"), hard_link("e", "d")].concat()).is_err());
}

#[test]
fn marks_take_away_what_layers_before_brought_and_nothing_else() {
    let lab = Lab::new();
    let first = [
        file("a/old", "1"),
        file("a/other", "1"),
        file("b/x/deep", "1"),
        file("b/y", "1"),
        file("kept", "1"),
    ];
    lab.apply(&first.concat()).unwrap();
    // The marks come after and before what their own layer brings.
    let second = [
        file("b/x/new", "2"),
        file("a/.wh.old", ""),
        file("a/.wh.none", ""),
        file("b/.wh..wh..opq", ""),
        file("b/z", "2"),
        file("c", "2"),
        file(".wh.c", ""),
    ];
    lab.apply(&second.concat()).unwrap();
    for (name, there) in [
        ("a/old", false),
        ("a/other", true),
        ("b/x/deep", false),
        ("b/x/new", true),
        ("b/y", false),
        ("b/z", true),
        ("c", true),
        ("kept", true),
    ] {
        assert_eq!(lab.root(name).exists(), there, "{name}");
    }
    // By links and odd names they reach nothing outside.
    let outside = lab.place.path().to_str().unwrap().to_owned();
    let _ = lab.apply(&[link("up", "../"), link("away", &outside)].concat());
    for mark in ["up/.wh.outside", "away/.wh.outside", "../.wh.outside", ".wh...", "x/.wh.."] {
        let _ = lab.apply(&file(mark, ""));
        lab.is_whole();
    }
    for (mark, fine) in [(".wh.", false), (".wh..", false), (".wh...", false), (".wh.fine", true)] {
        assert_eq!(lab.apply(&file(mark, "")).is_ok(), fine, "{mark}");
    }
    assert!(lab.root("kept").exists());
}

#[test]
fn a_directory_gives_way_to_a_file_and_the_other_way_round() {
    let lab = Lab::new();
    lab.apply(&[file("a/b/c", "1"), file("f", "1")].concat()).unwrap();
    lab.apply(&[file("a", "2"), file("f/g", "2")].concat()).unwrap_err();
    assert_eq!(fs::read(lab.root("a")).unwrap(), b"2");
    lab.apply(&[directory("f"), file("f/g", "2")].concat()).unwrap();
    assert_eq!(fs::read(lab.root("f/g")).unwrap(), b"2");
}

#[test]
fn devices_are_left_out_and_unknown_kinds_refused() {
    let lab = Lab::new();
    for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo] {
        lab.apply(&entry(kind, "device", "", b"", 0o666)).unwrap();
        assert!(fs::symlink_metadata(lab.root("device")).is_err());
    }
    assert!(lab.apply(&entry(EntryType::new(b'S'), "sparse", "", b"", 0o644)).is_err());
    assert!(lab.apply(&entry(EntryType::new(b'V'), "volume", "", b"", 0o644)).is_err());
}

#[test]
fn what_extends_a_name_is_bounded_and_taken() {
    let lab = Lab::new();
    let long = format!("{}/file", "d".repeat(150));
    let layer = [
        entry(EntryType::GNULongName, "././@LongLink", "", format!("{long}\0").as_bytes(), 0),
        file("x", "1"),
    ];
    lab.apply(&layer.concat()).unwrap();
    assert_eq!(fs::read(lab.root(&long)).unwrap(), b"1");
    let pax = |text: &str| entry(EntryType::XHeader, "pax", "", text.as_bytes(), 0);
    lab.apply(&[pax("14 path=other\n"), file("x", "2")].concat()).unwrap();
    assert_eq!(fs::read(lab.root("other")).unwrap(), b"2");
    assert!(!lab.root("x").exists());
    let _ = lab.apply(&[pax("19 path=../outside\n"), file("x", "changed")].concat());
    lab.is_whole();
    assert!(lab.apply(&[pax("11 size=99\n"), file("x", "2")].concat()).is_err());
    let bomb = vec![b'a'; 2 << 20];
    let extended = entry(EntryType::GNULongName, "l", "", &bomb, 0);
    assert!(matches!(lab.apply(&extended), Err(ImageError::TooLarge("a name"))));
}

#[test]
fn what_is_too_much_is_not_unpacked() {
    let lab = Lab::new();
    let mut limits = Limits { bytes: 10, entries: 3 };
    lab.apply_within(&[file("a", "12345"), file("b", "12345")].concat(), &mut limits).unwrap();
    let more = lab.apply_within(&file("c", "1"), &mut limits);
    assert!(matches!(more, Err(ImageError::TooLarge("bytes"))));
    let mut limits = Limits { bytes: 10, entries: 1 };
    let more = lab.apply_within(&[directory("d"), directory("e")].concat(), &mut limits);
    assert!(matches!(more, Err(ImageError::TooLarge("entries"))));
    // An end in the middle of a file.
    let whole = file("z", &"x".repeat(2000));
    assert!(lab.apply(&whole[..1000]).is_err());
}

#[test]
fn a_layer_that_is_another_than_its_digest_says_is_refused() {
    let (lab, blobs) = (Lab::new(), Blobs::new());
    let whole = blobs.put(&file("a", "1"));
    let descriptor = |digest: &str, size| Descriptor { digest: digest.to_owned(), size, ..whole.clone() };
    blobs.apply(&lab, &whole).unwrap();
    assert!(blobs.apply(&lab, &descriptor(&whole.digest, whole.size - 512)).is_err());
    fs::write(blobs.path(whole.hex().unwrap()), file("a", "2")).unwrap();
    assert!(matches!(blobs.apply(&lab, &whole), Err(ImageError::Mismatch(_))));
    for digest in ["sha256:../../outside", "md5:x", "", "sha256:", &format!("sha256:{}", "Z".repeat(64))] {
        let layer = descriptor(digest, whole.size);
        assert!(matches!(blobs.apply(&lab, &layer), Err(ImageError::Digest)), "{digest}");
    }
    let unknown = Descriptor { media_type: "application/x".to_owned(), ..whole };
    assert!(matches!(blobs.apply(&lab, &unknown), Err(ImageError::Layer(_))));
}
