//! Requests that two programs could read differently, one a file: what comes back, and what comes to the upstream.
//!
//! A file has a reason, what is expected, `---`, and the request: an end of line in the file is nothing, escapes are as in
//! Rust. The rules allow `/ok` and what is below it, of two names. What is expected: `answer STATUS`, in this order and no
//! other answers; `upstream METHOD PATH`, likewise; `absent FIELD` in what came to the upstream; `no-upstream TEXT`, which
//! says nothing of the answers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test may fail loudly")]

mod lab;

use std::path::Path;

use lab::{Lab, Upstream};

fn unescape(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.chars());
    while let Some(character) = rest.next() {
        match character {
            '\n' => {}
            '\\' => match rest.next().unwrap() {
                'r' => bytes.push(b'\r'),
                'n' => bytes.push(b'\n'),
                't' => bytes.push(b'\t'),
                '\\' => bytes.push(b'\\'),
                'x' => {
                    let digits: String = rest.by_ref().take(2).collect();
                    bytes.push(u8::from_str_radix(&digits, 16).unwrap());
                }
                other => panic!("\\{other}"),
            },
            other => bytes.extend(other.to_string().bytes()),
        }
    }
    bytes
}

fn check(path: &Path) {
    let name = path.file_stem().unwrap().to_string_lossy();
    let text = std::fs::read_to_string(path).unwrap();
    let (expected, request) = text.split_once("---\n").unwrap();
    let of = |word: &str| -> Vec<&str> {
        expected.lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' ')).collect()
    };
    let upstream = Upstream::start();
    let port = upstream.address.port();
    let rules = [
        format!("GET a.test:{port}/ok/*"),
        format!("POST a.test:{port}/ok/*"),
        format!("* b.test:{port}/ok"),
    ];
    let lab = Lab::new(&rules.each_ref().map(String::as_str), &[]);
    let answer = lab.talk(upstream.address, &unescape(request));

    let lines = upstream.lines();
    let came = String::from_utf8_lossy(&upstream.came.lock().unwrap().concat()).into_owned();
    for text in of("no-upstream") {
        assert!(!came.contains(text), "{name}: {came}");
    }
    if !of("no-upstream").is_empty() {
        return;
    }
    let statuses: Vec<&str> =
        answer.match_indices("HTTP/1.").filter_map(|(at, _)| answer.get(at + 9..at + 12)).collect();
    let statuses: Vec<&str> = statuses.into_iter().filter(|status| status.parse::<u16>().is_ok()).collect();
    assert_eq!(statuses, of("answer"), "{name}: {answer}");
    let lines: Vec<&str> = lines.iter().map(|line| line.strip_suffix(" HTTP/1.1").unwrap()).collect();
    assert_eq!(lines, of("upstream"), "{name}: {came}");
    for field in of("absent") {
        assert!(!came.to_ascii_lowercase().contains(field), "{name}: {came}");
    }
    // All that is not an answer of the upstream is told.
    assert_eq!(
        lab.told.lock().unwrap().len(),
        statuses.iter().filter(|status| **status != "200").count(),
        "{name}"
    );
}

#[test]
fn every_request_is_refused_or_forwarded_as_it_was_judged() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut paths: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 70);
    std::thread::scope(|scope| {
        for part in paths.chunks(10) {
            scope.spawn(|| part.iter().for_each(|path| check(path)));
        }
    });
}
