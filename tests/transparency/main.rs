//! Honest programs notice nothing: the same random calls, made bare and inside on destinations that are allowed,
//! answer the same.
//!
//! A program of the lab derives calls from a seed and prints a line for each; the two prints are compared, and so is
//! what the servers counted. What may differ is in `known.rs`.
//!
//! `SANDLOCK_TRANSPARENCY_CALLS=100000` makes that many calls for each user (otherwise 20,000, and 3,000 of files alone in each kind of run), and
//! `SANDLOCK_TRANSPARENCY_SEED=7` begins at another seed (1 otherwise); `SANDLOCK_TRANSPARENCY_ALL=FILE` writes all
//! differences, not only the first ones, to a file:
//!
//! ```sh
//! SANDLOCK_TRANSPARENCY_CALLS=100000 cargo test -p sandlock-tests --release --test transparency
//! ```

mod arena;
mod entries;
mod files;
mod known;
mod peers;
mod program;
mod random;
mod sockets;

use std::collections::{BTreeMap, HashSet};
use std::fmt::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use lab::{Lab, Output, Run};

use known::{BESIDE_A_HOLE, IN_A_ROOT, KNOWN, Known, goes_elsewhere};
use peers::{Counts, Peers};
use program::{calls, file_calls};

lab::suite! {
    tests: [
        random_calls_answer_as_bare,
        two_bare_runs_answer_the_same,
        file_calls_answer_as_bare,
        file_calls_answer_as_bare_where_names_are_followed,
        file_calls_answer_as_bare_beside_a_hole,
        file_calls_answer_as_bare_in_a_root,
        file_calls_answer_as_bare_in_a_mount,
        file_calls_answer_as_bare_beside_a_hole_in_a_root,
        file_calls_answer_as_bare_in_memory,
        file_calls_of_two_bare_runs_answer_the_same,
    ],
    programs: [calls, file_calls],
}

fn main() -> std::process::ExitCode {
    lab::main(env!("CARGO_BIN_EXE_sandlock-under-test"))
}

/// Calls of one run; each has a seed of its own.
const RUN: usize = 1000;
/// How many differences are shown.
const SHOWN: usize = 40;

fn random_calls_answer_as_bare(lab: &Lab) {
    compare(lab, &|directory, port| {
        lab.sandbox().write(directory).options(["127.0.0.1", "[::1]"].iter().flat_map(|ip| {
            ["", "udp://"].iter().flat_map(move |kind| ["--net-allow".into(), format!("{kind}{ip}:{port}")])
        }))
    });
}

/// Else the comparison would tell of chance.
fn two_bare_runs_answer_the_same(lab: &Lab) {
    compare(lab, &|_, _| lab.bare());
}

fn file_calls_answer_as_bare(lab: &Lab) {
    compare_files(lab, &[KNOWN], &|directory| lab.sandbox().write(directory));
}

/// There `open` is looked at.
fn file_calls_answer_as_bare_where_names_are_followed(lab: &Lab) {
    compare_files(lab, &[KNOWN], &|directory| {
        lab.sandbox().write(directory).allow("localhost:9").option("--pin-names")
    });
}

/// There everything is performed on behalf.
fn file_calls_answer_as_bare_beside_a_hole(lab: &Lab) {
    compare_files(lab, &[KNOWN, BESIDE_A_HOLE], &|directory| {
        lab.sandbox().write(directory).option("--fs-deny").option(directory.join("hole"))
    });
}

fn file_calls_answer_as_bare_in_a_root(lab: &Lab) {
    let root = lab.system("root");
    compare_files(lab, &[KNOWN, IN_A_ROOT], &|directory| {
        lab.sandbox().in_root(&root).mount(directory, directory, "").option("--cwd").option(directory)
    });
}

fn file_calls_answer_as_bare_in_a_mount(lab: &Lab) {
    compare_files(lab, &[KNOWN, IN_A_ROOT], &|directory| {
        lab.sandbox().mount(directory, directory, "").option("--cwd").option(directory)
    });
}

fn file_calls_answer_as_bare_beside_a_hole_in_a_root(lab: &Lab) {
    let root = lab.system("root");
    compare_files(lab, &[KNOWN, IN_A_ROOT, BESIDE_A_HOLE], &|directory| {
        let run = lab.sandbox().in_root(&root).mount(directory, directory, "");
        run.option("--cwd").option(directory).option("--fs-deny").option(directory.join("hole"))
    });
}

/// Beside bare runs on a file system of the same kind.
fn file_calls_answer_as_bare_in_memory(lab: &Lab) {
    let place = tempfile::Builder::new().prefix("sandlock-lab-").tempdir_in("/dev/shm").unwrap();
    lab.own(place.path());
    compare_files_in(lab, place.path(), &[KNOWN, IN_A_ROOT], &|directory| {
        lab.sandbox().option("--tmpfs").option(directory).option("--cwd").option(directory)
    });
}

fn file_calls_of_two_bare_runs_answer_the_same(lab: &Lab) {
    compare_files(lab, &[], &|_| lab.bare());
}

fn compare(lab: &Lab, like: &dyn Fn(&Path, u16) -> Run) {
    compare_runs(20, &[KNOWN], &|seed| {
        let bare = run(lab, &format!("bare{seed}"), seed, &|_, _| lab.bare());
        (bare, run(lab, &format!("inside{seed}"), seed, like))
    });
}

fn compare_files(lab: &Lab, known: &[&[Known]], like: &dyn Fn(&Path) -> Run) {
    compare_files_in(lab, &lab.root(), known, like);
}

fn compare_files_in(lab: &Lab, place: &Path, known: &[&[Known]], like: &dyn Fn(&Path) -> Run) {
    let run = |name: String, seed: usize, like: &dyn Fn(&Path) -> Run| {
        let directory = place.join(name);
        std::fs::create_dir(&directory).unwrap();
        lab.own(&directory);
        // As that of a place in memory is.
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o1777)).unwrap();
        let out =
            like(&directory).directory(&directory).run("file_calls", [seed.to_string(), RUN.to_string()]);
        assert!(out.stdout.ends_with("done\n"), "the program did not end\n{out}");
        std::fs::remove_dir_all(&directory).unwrap();
        (out, Counts::new())
    };
    compare_runs(3, known, &|seed| {
        (run(format!("bare{seed}"), seed, &|_| lab.bare()), run(format!("inside{seed}"), seed, like))
    });
}

type Answers = (Output, Counts);

/// Compares, for each of the seeds, a bare run and one inside.
fn compare_runs(runs: usize, known: &[&[Known]], both: &dyn Fn(usize) -> (Answers, Answers)) {
    let number = |name: &str, default: usize| {
        std::env::var(name)
            .map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is no number")))
    };
    let first = number("SANDLOCK_TRANSPARENCY_SEED", 1);
    let runs = number("SANDLOCK_TRANSPARENCY_CALLS", runs * RUN).div_ceil(RUN);
    let mut differences =
        Differences { expected: known.iter().copied().flatten().collect(), ..Differences::default() };
    for seed in first..first + runs {
        let (bare, inside) = both(seed);
        differences.compare(seed, &bare, &inside);
    }
    if let Some(path) = std::env::var_os("SANDLOCK_TRANSPARENCY_ALL") {
        std::fs::write(path, differences.unknown.join("\n")).unwrap();
    }
    assert!(differences.unknown.is_empty(), "{differences}");
}

fn run(lab: &Lab, name: &str, seed: usize, like: &dyn Fn(&Path, u16) -> Run) -> (Output, Counts) {
    let directory = lab.directory(name);
    let peers = Peers::start(lab, &directory);
    let words = [seed.to_string(), RUN.to_string(), peers.port.to_string()];
    let out = like(&directory, peers.port).directory(&directory).run("calls", words);
    assert!(out.stdout.ends_with("done\n"), "the program did not end\n{out}");
    std::fs::remove_dir_all(&directory).unwrap();
    (out, peers.finish())
}

#[derive(Default)]
struct Differences<'a> {
    expected: Vec<&'a Known>,
    known: BTreeMap<&'static str, usize>,
    unknown: Vec<String>,
}

impl Differences<'_> {
    fn compare(
        &mut self,
        seed: usize,
        (bare, bare_counts): &(Output, Counts),
        (inside, counts): &(Output, Counts),
    ) {
        // A socket or file on which a difference was seen says no more until it is made anew.
        let mut tainted = HashSet::new();
        let before = self.unknown.len() + self.known.values().sum::<usize>();
        for (bare, inside) in bare.stdout.lines().zip(inside.stdout.lines()) {
            let subject: Vec<&str> = bare.splitn(4, ' ').skip(1).take(2).collect();
            if bare == inside || tainted.contains(&subject) {
                continue;
            }
            let parts = |line: &str| {
                line.split_once(" = ").map(|(call, answer)| (call.to_owned(), answer.to_owned()))
            };
            let known = parts(bare).zip(parts(inside)).and_then(|((call, bare), (same, inside))| {
                self.expected.iter().find(|known| call == same && (known.is)(&call, &bare, &inside))
            });
            tainted.insert(subject);
            match known {
                Some(known) => *self.known.entry(known.name).or_default() += 1,
                None => self.unknown.push(format!("seed {seed}\n  bare   {bare}\n  inside {inside}")),
            }
        }
        // Once an answer differs, so may what was sent.
        let elsewhere = bare
            .stdout
            .lines()
            .filter_map(|line| line.split_once(" = "))
            .any(|(call, answer)| goes_elsewhere(call, answer));
        if self.unknown.len() + self.known.values().sum::<usize>() == before {
            let differ = bare_counts.iter().zip(counts).filter(|(one, other)| one != other);
            for ((name, bare), (_, inside)) in
                differ.filter(|((name, _), _)| !(elsewhere && name.starts_with("udp")))
            {
                self.unknown.push(format!("seed {seed}, {name} server\n  bare   {bare}\n  inside {inside}"));
            }
        }
    }
}

impl fmt::Display for Differences<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} differences that are not known", self.unknown.len())?;
        for difference in self.unknown.iter().take(SHOWN) {
            writeln!(f, "{difference}")?;
        }
        let mut known = String::new();
        for (name, count) in &self.known {
            let reason =
                self.expected.iter().find(|known| known.name == *name).map_or("", |known| known.reason);
            writeln!(known, "{count} times known: {name} ({reason})")?;
        }
        f.write_str(&known)
    }
}
