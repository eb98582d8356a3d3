//! What real work on files costs: pairs of the same work bare and inside, one after the other, and the median of the
//! pairs' ratios. The start of a run counts, as it does for whoever waits for it.
//!
//! In the directory for temporary files: a slow disk hides what the sandbox adds, `TMPDIR=/dev/shm` hides nothing.

use std::ffi::OsStr;
use std::fs;
use std::io::{Error, Result, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::measure::median;

/// Work that is done in a directory, by a shell.
struct Work {
    name: &'static str,
    /// Undoes what the work left; not measured.
    before: &'static str,
    script: &'static str,
    /// What it may cost at most, as a ratio, where it may write and no file is looked at by name.
    most: f64,
}

const WORKS: &[Work] = &[
    // Many in a row: one is over before a start has been paid for.
    Work {
        name: "git-status",
        before: "true",
        script: "cd tree && for i in $(seq 30); do git status --porcelain; done",
        most: 1.02,
    },
    Work { name: "make", before: "rm -f c/*.o c/all", script: "make -s -j2 -C c", most: 1.02 },
    Work {
        name: "cargo-build",
        before: "rm -rf crates/target",
        script: "cd crates && cargo build -q --offline",
        most: 1.02,
    },
    Work { name: "untar", before: "rm -rf out", script: "mkdir out && tar -xf tree.tar -C out", most: 1.15 },
    Work {
        name: "untar-python",
        before: "rm -rf out",
        script: "mkdir out && /usr/bin/python3 -W ignore -c \
                 'import tarfile; tarfile.open(\"tree.tar\").extractall(\"out\")'",
        most: 1.15,
    },
];

/// What a run is given besides the directory.
const POLICIES: &[(&str, &[&str])] =
    &[("", &[]), (", names", &["--net-allow", "localhost:9"]), (", a hole", &["--fs-deny", "hole"])];

/// Measures the works whose name contains `filter`.
pub(crate) fn measure(filter: &str) {
    let works: Vec<_> = WORKS.iter().filter(|work| format!("files {}", work.name).contains(filter)).collect();
    if works.is_empty() {
        return;
    }
    let users: &[Option<u32>] =
        if rustix::process::geteuid().is_root() { &[None, Some(NOBODY)] } else { &[None] };
    for user in users {
        if let Err(error) = measure_as(&works, *user) {
            say(&format!("files as {user:?}: {error}"));
        }
    }
}

fn measure_as(works: &[&Work], user: Option<u32>) -> Result<()> {
    let place = Place::new(user)?;
    for work in works {
        if work.name == "cargo-build" && place.tools.is_none() {
            say("files cargo-build: no cargo that this user can execute");
            continue;
        }
        for (policy, flags) in POLICIES {
            place.compare(work, policy, flags)?;
        }
    }
    Ok(())
}

/// A directory to work in, and the user who does.
struct Place {
    directory: PathBuf,
    user: Option<u32>,
    /// Where cargo and the compiler are.
    tools: Option<PathBuf>,
}

impl Place {
    fn new(user: Option<u32>) -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("sandlock-benches-{}", std::process::id()));
        fs::create_dir(&directory)?;
        let place = Place { directory, user, tools: rust_tools().filter(|_| user.is_none()) };
        let at = &place.directory;
        // Others need not be able to reach the one of the build.
        fs::copy(crate::start::sandlock(), at.join("sandlock"))?;
        fs::create_dir(at.join("hole"))?;
        write_tree(&at.join("tree"))?;
        write_c(&at.join("c"))?;
        write_crates(&at.join("crates"))?;
        if let Some(user) = user {
            done(Command::new("chown").arg("-R").arg(format!("{user}:{user}")).arg(at))?;
        }
        done(
            place
                .bare("tar -cf tree.tar tree && cd tree && git init -q && git add . && git status")
                .stdout(Stdio::null()),
        )?;
        Ok(place)
    }

    fn compare(&self, work: &Work, policy: &str, flags: &[&str]) -> Result<()> {
        let (mut bare, mut inside, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        // The first is there to fill the caches.
        for pair in 0..=PAIRS {
            // Who goes first changes, so that neither always finds what the other left.
            let (without, within) = match pair % 2 {
                0 => (self.time(work, None)?, self.time(work, Some(flags))?),
                _ => {
                    let within = self.time(work, Some(flags))?;
                    (self.time(work, None)?, within)
                }
            };
            if pair > 0 {
                bare.push(without);
                inside.push(within);
                ratios.push(within / without);
            }
        }
        let ratio = median(&mut ratios);
        let spread = format!("{:.2} to {:.2}", ratios[PAIRS / 4], ratios[PAIRS - 1 - PAIRS / 4]);
        let verdict = match flags.is_empty() {
            true if ratio > work.most => format!("(at most {})  OVER", work.most),
            true => format!("(at most {})", work.most),
            false => String::new(),
        };
        let who = if self.user.is_some() { " as nobody" } else { "" };
        say(&format!(
            "{:<32} bare {:>7.1} ms  inside {:>7.1} ms  ratio {ratio:>5.3} (half of them {spread})  {verdict}",
            format!("{}{policy}{who}", work.name),
            median(&mut bare),
            median(&mut inside),
        ));
        Ok(())
    }

    /// How long the work takes, in milliseconds.
    fn time(&self, work: &Work, flags: Option<&[&str]>) -> Result<f64> {
        done(&mut self.bare(work.before))?;
        let mut command = match flags {
            None => self.bare(work.script),
            Some(flags) => self.inside(flags, work.script),
        };
        let started = Instant::now();
        done(&mut command)?;
        Ok(started.elapsed().as_secs_f64() * 1000.0)
    }

    fn bare(&self, script: &str) -> Command {
        self.command(&["sh".as_ref(), "-c".as_ref(), script.as_ref()])
    }

    fn inside(&self, flags: &[&str], script: &str) -> Command {
        let sandlock = self.directory.join("sandlock");
        let mut words: Vec<&OsStr> =
            vec![sandlock.as_ref(), "run".as_ref(), "-w".as_ref(), self.directory.as_ref()];
        if let Some(tools) = &self.tools {
            words.extend(["-r".as_ref(), tools.as_os_str()]);
        }
        words.extend(flags.iter().map(OsStr::new));
        words.extend(["--", "sh", "-c", script].map(OsStr::new));
        self.command(&words)
    }

    /// A command of the user, in the directory.
    fn command(&self, words: &[&OsStr]) -> Command {
        let mut command = match self.user {
            None => Command::new(words[0]),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args([format!("--reuid={user}"), format!("--regid={user}")]).arg("--clear-groups");
                command.arg(words[0]);
                command
            }
        };
        command.args(&words[1..]).current_dir(&self.directory).stdin(Stdio::null());
        command.env("HOME", &self.directory).env("CARGO_HOME", self.directory.join("cargo"));
        if let Some(tools) = &self.tools {
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{path}", tools.join("bin").display()));
        }
        command
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// 10,000 files in 100 directories.
fn write_tree(at: &Path) -> Result<()> {
    for directory in 0..100 {
        let within = at.join(format!("directory-{directory}"));
        fs::create_dir_all(&within)?;
        for file in 0..100 {
            let line = format!("{directory} {file} of a file with a few lines of text\n");
            fs::write(within.join(format!("file-{file}.txt")), line.repeat(10 + file))?;
        }
    }
    Ok(())
}

/// 40 files of C that use each other.
fn write_c(at: &Path) -> Result<()> {
    fs::create_dir(at)?;
    let mut main = String::from("#include <stdio.h>\nint main(void) {\n    int sum = 0;\n");
    for file in 0..40 {
        let functions: String = (0..20)
            .map(|n| format!("int f{file}_{n}(int of) {{ char text[64]; snprintf(text, sizeof text, \"%d\", of + {n}); return atoi(text) + (int)strlen(text); }}\n"))
            .collect();
        let includes = "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n";
        fs::write(at.join(format!("f{file}.c")), format!("{includes}{functions}"))?;
        main += &format!("    extern int f{file}_0(int); sum += f{file}_0({file});\n");
    }
    fs::write(at.join("main.c"), main + "    return sum == 0;\n}\n")?;
    let rules = "OBJECTS := $(patsubst %.c,%.o,$(wildcard *.c))\nall: $(OBJECTS)\n\tcc -o $@ $^\n%.o: %.c\n\tcc -O1 -c -o $@ $<\n";
    fs::write(at.join("Makefile"), rules)
}

/// A program of four crates.
fn write_crates(at: &Path) -> Result<()> {
    let mut names = String::new();
    for name in ["one", "two", "three"] {
        fs::create_dir_all(at.join(name).join("src"))?;
        let manifest = format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n");
        fs::write(at.join(name).join("Cargo.toml"), manifest)?;
        let functions: String = (0..50)
            .map(|n| format!("pub fn f{n}(of: &str) -> String {{ format!(\"{{of}} {n}\") }}\n"))
            .collect();
        fs::write(at.join(name).join("src/lib.rs"), functions)?;
        names += &format!("{name} = {{ path = \"{name}\" }}\n");
    }
    fs::create_dir_all(at.join("src"))?;
    let manifest = "[package]\nname = \"four\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\n";
    fs::write(at.join("Cargo.toml"), format!("{manifest}{names}"))?;
    fs::write(
        at.join("src/main.rs"),
        "fn main() { println!(\"{}\", one::f1(&two::f2(&three::f3(\"\")))); }\n",
    )
}

/// Where the tools of Rust are, without what chooses between versions of them.
fn rust_tools() -> Option<PathBuf> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    let tools = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    tools.join("bin/cargo").exists().then_some(tools)
}

fn done(command: &mut Command) -> Result<()> {
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Error::other(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))),
    }
}

fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

const PAIRS: usize = 11;
const NOBODY: u32 = 65534;
