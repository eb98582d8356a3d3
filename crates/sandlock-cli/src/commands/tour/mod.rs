//! `sandlock tour`: the main job, really done against servers of its own, and checked.
//!
//! It believes the servers and the files, never what a command says of itself.

mod server;
mod shell;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sandlock_core::{Kernel, escape_terminal};
use tempfile::TempDir;

use crate::output;
use server::Server;
use shell::{Printed, Shell};

/// Shows everything; exits with 0 only when all came out as promised.
pub(crate) fn tour() -> ExitCode {
    if Kernel::probe().abilities().iter().any(|ability| ability.carried_by.is_none()) {
        output::say("sandlock: error: a run is impossible here\n  hint: `sandlock check` says why\n");
        return ExitCode::FAILURE;
    }
    match Tour::new().and_then(Tour::show) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            output::say(&format!("sandlock: error: the tour cannot go on: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

struct Tour {
    place: TempDir,
    shell: Shell,
    one: Server,
    two: Server,
    has_curl: bool,
    shown: usize,
    broken: usize,
}

/// What is shown, and what must come of it.
struct Scene<'a> {
    title: &'a str,
    words: Vec<String>,
    succeeds: bool,
    /// Whether server one and server two are reached.
    reaches: [bool; 2],
    prints: Vec<String>,
    /// A file that must hold what was written, or must not be there.
    file: Option<(PathBuf, bool)>,
}

impl Tour {
    fn new() -> io::Result<Self> {
        let place = tempfile::Builder::new().prefix("sandlock-tour-").tempdir()?;
        let project = place.path().join("project");
        std::fs::create_dir_all(project.join("out"))?;
        std::fs::write(project.join("readme"), "this is the project\n")?;
        std::fs::write(place.path().join("diary"), "dear diary\n")?;
        let shell = Shell::new(&project)?;
        let curl = shell.sandlock(&words(&["run", "--", "curl", "--version"]))?;
        Ok(Tour {
            place,
            has_curl: curl.status == Some(0),
            shell,
            one: Server::start("server one")?,
            two: Server::start("server two")?,
            shown: 0,
            broken: 0,
        })
    }

    /// Answers how many scenes did not come out as promised.
    fn show(mut self) -> io::Result<usize> {
        let (one, two) = (self.one.address.to_string(), self.two.address.to_string());
        output::print(&format!("Two servers were started: one at {one}, two at {two}.\n"));
        self.network(&one, &two)?;
        self.files()?;
        self.without_supervisor(&one, &two)?;
        let Tour { shown, broken, .. } = self;
        output::print(&match broken {
            0 => format!("\nAll {shown} came out as promised.\n{NEXT}"),
            _ => format!("\n{broken} of {shown} did not come out as promised.\n"),
        });
        Ok(broken)
    }

    fn network(&mut self, one: &str, two: &str) -> io::Result<()> {
        let hint_one = format!("hint: allow it with --net-allow {one}");
        let hint_two = format!("hint: allow it with --net-allow {two}");
        self.scene(Scene {
            title: "Without a rule there is no network.",
            words: self.run(&[], &self.client(one)),
            prints: vec![format!("tcp {one}"), hint_one.clone()],
            ..Scene::refused()
        })?;
        self.scene(Scene {
            title: "With the rule of that hint, the same command works.",
            words: self.run(&["--net-allow", one], &self.client(one)),
            prints: vec!["hello from server one".to_owned()],
            reaches: [true, false],
            ..Scene::works()
        })?;
        self.scene(Scene {
            title: "The rule opens that port of that host, and no other.",
            words: self.run(&["--net-allow", one], &self.client(two)),
            prints: vec![format!("tcp {two}"), hint_two],
            ..Scene::refused()
        })?;
        self.scene(Scene {
            title: "A rule for UDP opens nothing for TCP.",
            words: self.run(&["--net-allow", &format!("udp://{one}")], &self.client(one)),
            prints: vec![format!("tcp {one}"), hint_one],
            ..Scene::refused()
        })
    }

    fn files(&mut self) -> io::Result<()> {
        let diary = "dear diary";
        self.scene(Scene {
            title: "The working directory can be read.",
            words: self.run(&[], &words(&["cat", "readme"])),
            prints: vec!["this is the project".to_owned()],
            ..Scene::works()
        })?;
        self.scene(Scene {
            title: "What is beside it cannot.",
            words: self.run(&[], &words(&["cat", "../diary"])),
            prints: vec![format!("!{diary}")],
            ..Scene::refused()
        })?;
        self.home()?;
        self.scene(Scene {
            title: "A directory that was given with -w can be written.",
            words: self.run(&["-w", "out"], &words(&["sh", "-c", "echo made >out/file; cat out/file"])),
            prints: vec!["made".to_owned()],
            file: Some((self.project().join("out/file"), true)),
            ..Scene::works()
        })?;
        self.scene(Scene {
            title: "Nothing else can.",
            words: self.run(&["-w", "out"], &words(&["sh", "-c", "echo made >file"])),
            file: Some((self.project().join("file"), false)),
            ..Scene::refused()
        })
    }

    /// Only if there is a home that could be looked into without a sandbox.
    fn home(&mut self) -> io::Result<()> {
        let home = std::env::home_dir().filter(|home| std::fs::read_dir(home).is_ok());
        let Some(home) = home.as_deref().and_then(Path::to_str) else {
            return Ok(());
        };
        self.scene(Scene {
            title: "Neither can your home.",
            words: self.run(&[], &words(&["ls", home])),
            ..Scene::refused()
        })
    }

    fn without_supervisor(&mut self, one: &str, two: &str) -> io::Result<()> {
        if Kernel::probe().landlock < 6 {
            return Ok(());
        }
        let port = one.rsplit(':').next().unwrap_or_default();
        let rule = format!("*:{port}");
        self.scene(Scene {
            title: "A policy of ports alone can be left to the kernel: no process beside the command, and no report.",
            words: self.run(&["--kernel-only", "--net-allow", &rule], &self.client(one)),
            prints: vec!["hello from server one".to_owned()],
            reaches: [true, false],
            ..Scene::works()
        })?;
        self.scene(Scene {
            title: "It refuses as surely.",
            words: self.run(&["--kernel-only", "--net-allow", &rule], &self.client(two)),
            ..Scene::refused()
        })
    }

    fn scene(&mut self, scene: Scene<'_>) -> io::Result<()> {
        self.shown += 1;
        output::print(&format!(
            "\n{}. {}\n   $ sandlock {}\n",
            self.shown,
            scene.title,
            shell::line(&scene.words)
        ));
        let before = [self.one.reached()?, self.two.reached()?];
        let printed = self.shell.sandlock(&scene.words)?;
        let reached = [self.one.reached()? > before[0], self.two.reached()? > before[1]];
        let kept = scene.kept(&printed, reached);
        self.broken += usize::from(kept.is_err());
        output::print(&transcript(&printed));
        output::print(&observed(&scene, &printed, reached));
        if let Err(promise) = kept {
            output::print(&format!("   BROKEN: {promise}\n"));
        }
        Ok(())
    }

    fn run(&self, flags: &[&str], command: &[String]) -> Vec<String> {
        let mut line = words(&["run"]);
        line.extend(words(flags));
        line.push("--".to_owned());
        line.extend_from_slice(command);
        line
    }

    fn client(&self, server: &str) -> Vec<String> {
        if self.has_curl {
            words(&["curl", "-sS", &format!("http://{server}/")])
        } else {
            words(&["sandlock", "__fetch", server])
        }
    }

    fn project(&self) -> PathBuf {
        self.place.path().join("project")
    }
}

impl Scene<'_> {
    fn works() -> Self {
        Scene {
            title: "",
            words: Vec::new(),
            succeeds: true,
            reaches: [false, false],
            prints: Vec::new(),
            file: None,
        }
    }

    fn refused() -> Self {
        Scene { succeeds: false, ..Self::works() }
    }

    /// # Errors
    ///
    /// The first promise that was broken.
    fn kept(&self, printed: &Printed, reached: [bool; 2]) -> Result<(), String> {
        let Some(status) = printed.status else {
            return Err("it was to end by itself".to_owned());
        };
        if (status == 0) != self.succeeds {
            return Err(format!("it was to {}", if self.succeeds { "succeed" } else { "fail" }));
        }
        // sandlock's own failures refuse everything, and prove nothing.
        if (125..=127).contains(&status) {
            return Err("the command was to be executed".to_owned());
        }
        for (name, wanted, reached) in
            [("one", self.reaches[0], reached[0]), ("two", self.reaches[1], reached[1])]
        {
            if wanted != reached {
                return Err(format!("server {name} was {}to be reached", if wanted { "" } else { "not " }));
            }
        }
        for text in &self.prints {
            let (text, wanted) = text.strip_prefix('!').map_or((text.as_str(), true), |text| (text, false));
            if printed.text.contains(text) != wanted {
                return Err(format!("it was {}to print: {text}", if wanted { "" } else { "not " }));
            }
        }
        match &self.file {
            Some((path, wanted)) if path.exists() != *wanted => {
                Err(format!("{} was {}to be made", path.display(), if *wanted { "" } else { "not " }))
            }
            _ => Ok(()),
        }
    }
}

/// What the command printed, told apart from what the tour says.
fn transcript(printed: &Printed) -> String {
    printed.text.lines().map(|line| format!("   | {}\n", escape_terminal(line))).collect()
}

/// What was seen from outside.
fn observed(scene: &Scene<'_>, printed: &Printed, reached: [bool; 2]) -> String {
    let mut seen = vec![match printed.status {
        Some(status) => format!("exit status {status}"),
        None => "no exit status".to_owned(),
    }];
    if scene.words.iter().any(|word| word.contains("127.0.0.1")) {
        seen.push(match reached {
            [true, true] => "both servers were reached".to_owned(),
            [true, false] => "server one was reached".to_owned(),
            [false, true] => "server two was reached".to_owned(),
            [false, false] => "no server saw anything".to_owned(),
        });
    }
    if let Some((path, _)) = &scene.file {
        seen.push(if path.exists() { "the file is there" } else { "there is no such file" }.to_owned());
    }
    format!("   ({})\n", seen.join("; "))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

const NEXT: &str = "\
Next:
  sandlock run --help            all flags, and examples
  sandlock explain -w .          what a policy grants, and what enforces it
";

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: &str, status: i32) -> Printed {
        Printed { text: text.to_owned(), status: Some(status) }
    }

    #[test]
    fn a_promise_is_kept_only_when_the_servers_say_so() {
        let scene = Scene { reaches: [true, false], ..Scene::works() };
        assert_eq!(scene.kept(&printed("", 0), [true, false]), Ok(()));
        assert_eq!(
            scene.kept(&printed("", 0), [false, false]),
            Err("server one was to be reached".to_owned())
        );
        assert_eq!(
            scene.kept(&printed("", 0), [true, true]),
            Err("server two was not to be reached".to_owned())
        );
        assert_eq!(scene.kept(&printed("", 1), [true, false]), Err("it was to succeed".to_owned()));
    }

    #[test]
    fn a_failure_of_sandlock_is_no_refusal() {
        for status in [125, 126, 127] {
            assert!(Scene::refused().kept(&printed("", status), [false, false]).is_err());
        }
        assert_eq!(Scene::refused().kept(&printed("", 7), [false, false]), Ok(()));
    }

    #[test]
    fn what_must_and_must_not_be_printed_is_looked_for() {
        let scene = Scene { prints: words(&["yes", "!secret"]), ..Scene::refused() };
        assert_eq!(scene.kept(&printed("yes", 1), [false, false]), Ok(()));
        assert!(scene.kept(&printed("", 1), [false, false]).is_err());
        assert!(scene.kept(&printed("yes, secret", 1), [false, false]).is_err());
    }
}
