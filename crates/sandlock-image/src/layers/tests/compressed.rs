//! Layers as tools compress them: with the bytes of `tar`, `gzip` and `zstd`.

use std::process::{Command, Stdio};

use super::*;

/// What a tool makes of its input.
fn through(tool: &str, options: &[&str], input: &[u8]) -> Vec<u8> {
    let mut file = tempfile::tempfile().unwrap();
    io::Write::write_all(&mut file, input).unwrap();
    io::Seek::rewind(&mut file).unwrap();
    let out = Command::new(tool).args(options).stdin(file).stderr(Stdio::inherit()).output().unwrap();
    assert!(out.status.success(), "{tool} {options:?}");
    out.stdout
}

/// Files of every kind of content: text, zeroes, numbers that no tool makes shorter; more than a block and a window of each.
fn contents() -> Vec<(&'static str, Vec<u8>)> {
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_le_bytes()[7]
    };
    let noise: Vec<u8> = (0..200_000).map(|_| random()).collect();
    let text: String =
        (0..20_000_u64).map(|line| format!("line {line} of a text, {}\n", line * line)).collect();
    let mixed = noise.chunks(1000).flat_map(|part| [part, &text.as_bytes()[..2000]].concat()).collect();
    vec![
        ("empty", Vec::new()),
        ("short", b"x".to_vec()),
        ("noise", noise.clone()),
        ("text", text.clone().into_bytes()),
        ("zeroes", vec![0; 1 << 20]),
        ("mixed", mixed),
    ]
}

fn archive(contents: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let place = tempfile::tempdir().unwrap();
    for (name, content) in contents {
        fs::write(place.path().join(name), content).unwrap();
    }
    through("tar", &["-C", place.path().to_str().unwrap(), "-cf", "-", "."], b"")
}

/// Unpacks a layer of this kind, and says what is there.
fn unpacked(kind: &str, layer: &[u8]) -> Result<Vec<(&'static str, Vec<u8>)>, ImageError> {
    let (lab, blobs) = (Lab::new(), Blobs::new());
    let mut layer = blobs.put(layer);
    layer.media_type = format!("application/vnd.oci.image.layer.v1.{kind}");
    blobs.apply(&lab, &layer)?;
    assert_eq!(fs::read_dir(lab.root("")).unwrap().count(), contents().len());
    Ok(contents().into_iter().map(|(name, _)| (name, fs::read(lab.root(name)).unwrap())).collect())
}

#[test]
fn whatever_a_layer_was_compressed_with_its_files_are_whole() {
    let contents = contents();
    let tar = archive(&contents);
    assert!(unpacked("tar", &tar).unwrap() == contents);
    for options in [&["-1"][..], &["-9"]] {
        assert!(unpacked("tar+gzip", &through("gzip", options, &tar)).unwrap() == contents, "{options:?}");
    }
    for options in [
        &["-1"][..],
        &["-3"],
        &["-19"],
        &["--ultra", "-22", "--long=27"],
        &["--fast=5", "--no-check"],
        &["-3", "--no-content-size", "--no-compress-literals"],
    ] {
        let layer = through("zstd", options, &tar);
        assert!(unpacked("tar+zstd", &layer).unwrap() == contents, "{options:?}");
    }
    // As Docker calls it.
    assert!(unpacked("tar.zstd", &through("zstd", &["-1"], &tar)).unwrap() == contents);
}

/// `pigz`, `pzstd` and `zstd:chunked` make such layers, the last with an index in frames to be skipped.
#[test]
fn a_layer_of_many_parts_is_unpacked_whole() {
    let contents = contents();
    let tar = archive(&contents);
    for count in [2, 30] {
        let parts = || tar.chunks(tar.len() / count);
        let gzip: Vec<u8> = parts().flat_map(|part| through("gzip", &["-1"], part)).collect();
        assert!(unpacked("tar+gzip", &gzip).unwrap() == contents);
        let skipped = |content: &[u8]| {
            let length = u32::try_from(content.len()).unwrap().to_le_bytes();
            [&0x184d_2a50_u32.to_le_bytes()[..], &length, content].concat()
        };
        let zstd: Vec<u8> = parts()
            .flat_map(|part| {
                [skipped(b""), through("zstd", &["-1"], part), skipped(&part[..part.len() / 2])].concat()
            })
            .collect();
        assert!(unpacked("tar+zstd", &zstd).unwrap() == contents);
    }
}

#[test]
fn a_layer_that_ends_in_the_middle_or_is_of_another_kind_is_refused() {
    let tar = archive(&contents());
    let gzip = through("gzip", &["-1"], &tar);
    let zstd = through("zstd", &["-1"], &tar);
    for (kind, whole) in [("tar", &tar), ("tar+gzip", &gzip), ("tar+zstd", &zstd)] {
        unpacked(kind, whole).unwrap();
        assert!(unpacked(kind, &whole[..whole.len() / 2]).is_err(), "{kind}");
        for other in ["tar", "tar+gzip", "tar+zstd"].into_iter().filter(|one| *one != kind) {
            assert!(unpacked(other, whole).is_err(), "{kind} as {other}");
        }
    }
    // A frame to be skipped that is shorter than it says.
    let cut = [&0x184d_2a50_u32.to_le_bytes()[..], &100u32.to_le_bytes(), b"short"].concat();
    assert!(unpacked("tar+zstd", &cut).is_err());
}
