//! `sandlock explain`: what a policy grants, and what enforces it. Executes nothing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use sandlock_core::{
    Event, Explanation, FileAccess, Grant, Kernel, Mechanism, NetRule, Origin, Plan, PlanError, Policy,
    Protocol, escape_terminal,
};

use crate::args::{ExplainArgs, RunFlags};
use crate::failure::Failure;
use crate::{output, profile};

/// Prints the explanation.
pub(crate) fn explain(args: ExplainArgs) -> ExitCode {
    let command = if args.command.is_empty() { vec![any_command()] } else { args.command.clone() };
    match explanation(&args, &command) {
        Ok(text) => {
            output::print(&text);
            ExitCode::SUCCESS
        }
        Err(failure) => failure.report(&command),
    }
}

fn explanation(args: &ExplainArgs, command: &[OsString]) -> Result<String, Failure> {
    let options = args.flags.clone().into_options(command.to_vec())?;
    if args.toml {
        return Ok(profile::written(&options.policy)?);
    }
    let home = options.home.clone();
    let kernel = Kernel::probe().with_landlock_at_most(options.landlock_at_most);
    let plan = Plan::new(options)?;
    if args.calls {
        return Ok(calls(&plan));
    }
    let mut text = String::new();
    if !args.command.is_empty() {
        text.push_str(&format!("command\n  {}\n\n", shown(plan.program())));
    }
    let rules = [plan.explain_network(), plan.explain_http()].concat();
    text.push_str(&network(&rules, plan.policy(), &args.flags));
    text.push_str(&http(&plan, &args.flags));
    text.push_str(&ports(&plan, &args.flags));
    text.push_str(&root(&plan));
    text.push_str(&files(&plan, home.as_deref()));
    text.push_str(&super::limits::explained(&plan));
    text.push_str(&always(&kernel, plan.policy(), args.flags.kernel_only));
    text.push_str(&notes(args, command, &plan));
    Ok(text)
}

fn network(rules: &[Explanation], policy: &Policy, flags: &RunFlags) -> String {
    let mut text = String::from("network\n");
    for rule in rules {
        text.push_str(&format!("  {}\n", rule.rule));
        if !rule.addresses.is_empty() {
            let until = rule.fresh_until.map_or_else(String::new, asked_again);
            text.push_str(&format!("    is now       {}{until}\n", list(&rule.addresses, ", ")));
        }
        if rule.addresses.is_empty() && rule.served_by.contains(&Mechanism::HostsFile) {
            text.push_str("    is now       nothing: it does not resolve\n");
        }
        if !rule.served_by.is_empty() {
            text.push_str(&format!("    served by    {}\n", list(&rule.served_by, ", ")));
        }
        text.push_str(&format!("    enforced by  {}\n", list(&rule.mechanisms, ", ")));
    }
    if !policy.network.deny.is_empty() {
        text.push_str("  what --net-deny names is refused, whatever allows it\n");
    }
    if !policy.processes.is_empty() {
        text.push_str("  what is allowed or refused to a program holds for what descends from it, and needs the supervisor\n");
    }
    if policy.unix_datagrams {
        text.push_str(
            "  --unix-dgram\n    enforced by  the supervisor: sockets below paths that may be written\n",
        );
    }
    let rest = if rules.is_empty() { "every destination" } else { "every other destination" };
    let answer = match (flags.kernel_only, &flags.ask) {
        (true, _) => "refused by the kernel, without a report",
        (_, ask) if ask.ask => "asked about on the terminal",
        (_, ask) if ask.any() => "what a program is asked about",
        _ => "refused and reported",
    };
    text.push_str(&format!("  {rest} is {answer}\n"));
    text
}

/// What there is to say of HTTP rules together.
fn http(plan: &Plan, flags: &RunFlags) -> String {
    let rules = &plan.policy().http;
    let ports = rules.intercepted_ports();
    let Some(first) = ports.first() else {
        return String::new();
    };
    let ports = if ports.len() == 1 {
        format!("port {first}")
    } else {
        format!("ports {}", list(&ports.into_iter().collect::<Vec<_>>(), ", "))
    };
    let rest = if rules.allow.is_empty() { "may pass" } else { "is refused" };
    let mut text = format!("  every other request on {ports} {rest}, and no UDP goes there\n");
    if plan.looks_into_tls() {
        let stores: Vec<_> = plan.trust_stores().map(shown).collect();
        text.push_str("  TLS is looked into\n");
        text.push_str(&wrapped("    trusted by   ", &stores, "(served, with one certificate more)"));
    } else {
        text.push_str(
            "  TLS is not looked into: rules see of it the name of the server, and no method or path\n",
        );
    }
    for host in &flags.http.http_passthrough {
        text.push_str(&format!("  TLS to {host} is left end to end\n"));
    }
    text
}

/// Which ports may be bound.
fn ports(plan: &Plan, flags: &RunFlags) -> String {
    let mut text = String::from("\nports of its own\n");
    let rules = plan.explain_bind();
    for rule in &rules {
        let by = match rule.mechanisms.is_empty() {
            true => "nothing: every port may be bound".to_owned(),
            false => list(&rule.mechanisms, ", "),
        };
        text.push_str(&format!("  {}\n    enforced by  {by}\n", rule.rule));
    }
    let rest = if rules.is_empty() { "every port" } else { "every other port" };
    let answer =
        if flags.kernel_only { "refused by the kernel, without a report" } else { "refused and reported" };
    let space = &plan.policy().ports;
    if space.is_private() {
        text.push_str("  they are of a port space of its own: where one is taken another port of this machine stands for it\n");
        text.push_str("    enforced by  supervisor (port); its own Landlock domain leaves TCP ports open\n");
    }
    for published in &space.publish {
        let (host, own) = (published.host_port, published.virtual_port);
        text.push_str(&format!(
            "  --publish {published}\n    {} port {own} is port {host} of this machine\n",
            published.protocol
        ));
    }
    text.push_str(&format!("  {rest} is {answer}, but for one that the kernel chooses, without listening\n"));
    text
}

/// How long an answer is good for, as far as its resolver has told.
fn asked_again(fresh_until: SystemTime) -> String {
    let left = fresh_until.duration_since(SystemTime::now()).unwrap_or_default();
    let left = Duration::from_secs(left.as_secs_f64().round() as u64);
    let at = humantime::format_rfc3339_seconds(fresh_until);
    format!(" until {at}, in {}; then it is asked for again", humantime::format_duration(left))
}

fn root(plan: &Plan) -> String {
    let rules = plan.explain_root();
    let heading = if rules.is_empty() { "" } else { "\nroot, made when the run starts\n" };
    rules.iter().fold(heading.to_owned(), |text, one| {
        text + &format!("  {}\n    made by      {}\n", escape_terminal(&one.rule), one.mechanism)
    })
}

/// A grant, or one that will be there.
struct Granted {
    path: PathBuf,
    access: FileAccess,
    origin: Origin,
    note: &'static str,
}

fn granted(plan: &Plan) -> Vec<Granted> {
    if plan.ends_inside() {
        let foreseen = plan.foreseen_grants().into_iter();
        return foreseen
            .map(|one| Granted { path: one.path, access: one.access, origin: one.origin, note: "" })
            .collect();
    }
    let note = |grant: &Grant| if grant.executable { "" } else { "; not to execute" };
    let each = plan.grants().iter();
    each.map(|grant| Granted {
        path: grant.path.clone(),
        access: grant.access,
        origin: grant.origin,
        note: note(grant),
    })
    .collect()
}

fn files(plan: &Plan, home: Option<&Path>) -> String {
    let inside = plan.ends_inside();
    let by_paths = if inside { ", by their paths in the root" } else { "" };
    let mut text = format!("\nfiles, enforced by Landlock{by_paths}\n");
    let granted = granted(plan);
    let (base, named): (Vec<&Granted>, Vec<&Granted>) =
        granted.iter().partition(|grant| grant.origin == Origin::Base);
    for grant in &named {
        let path = match grant.origin {
            Origin::Temporary => "$TMPDIR".to_owned(),
            _ => shown(&grant.path),
        };
        let origin = origin(grant.origin, grant.access);
        text.push_str(&format!("  {:6}  {path}  ({origin}{})\n", access(grant.access), grant.note));
    }
    text.push_str(&super::limits::denied(plan));
    for (path, why) in hidden(plan, &granted, home) {
        text.push_str(&format!("  hidden  {}  ({why})\n", shown(&path)));
    }
    for kind in ["read", "write", "device"] {
        let of_kind = base.iter().filter(|grant| access(grant.access) == kind);
        let paths: Vec<_> = of_kind.map(|grant| shown(&grant.path)).collect();
        if !paths.is_empty() {
            text.push_str(&wrapped(&format!("  {kind:6}  "), &paths, "(base)"));
        }
    }
    if inside {
        text.push_str(&decided_inside(plan));
    }
    if plan.has_own_proc() {
        text.push_str("  /proc shows the processes of the sandbox, and /proc/net its sockets: opened by the supervisor\n");
    }
    text
}

/// What nobody knows before the root is there.
fn decided_inside(plan: &Plan) -> String {
    let files = &plan.policy().files;
    let mut text = String::new();
    if files.writable_not_executable {
        text.push_str("  what can be written is not executed  (--noexec-writable)\n");
    }
    if !files.execute.is_empty() {
        text.push_str("  of the rest, what is mounted, granted or can be written is not executed  (-x)\n");
    }
    text.push_str("  found out when the run starts: which of these are there, where links lead, and where the command is\n");
    text
}

/// What a person might expect to be there.
fn hidden(plan: &Plan, granted: &[Granted], home: Option<&Path>) -> Vec<(PathBuf, &'static str)> {
    let mut hidden = Vec::new();
    // Of a root apart it is not known, nor does anybody expect it there.
    let home = home.filter(|_| !plan.is_apart());
    if let Some(home) = home.filter(|home| !granted.iter().any(|grant| covers(&grant.path, home))) {
        hidden.push((home.to_owned(), "the home directory, but for what is granted above"));
    }
    if plan.working_directory_hidden() {
        let why = "the working directory: it holds the home; grant it with -r or -w";
        hidden.push((plan.directory(), why));
    }
    hidden
}

fn covers(granted: &Path, path: &Path) -> bool {
    path.starts_with(granted)
        || matches!((granted.canonicalize(), path.canonicalize()), (Ok(granted), Ok(path)) if path.starts_with(&granted))
}

fn access(access: FileAccess) -> &'static str {
    match access {
        FileAccess::Read => "read",
        FileAccess::Write => "write",
        _ => "device",
    }
}

fn origin(origin: Origin, access: FileAccess) -> &'static str {
    match (origin, access) {
        (Origin::Flag, FileAccess::Read) => "-r",
        (Origin::Flag, _) => "-w",
        (Origin::ExecuteFlag, _) => "-x",
        (Origin::Base, _) => "base",
        (Origin::WorkingDirectory, _) => "working directory",
        (Origin::Installation, _) => "installation of the command",
        (Origin::Root, _) => "the root",
        (Origin::Mount, FileAccess::Read) => "--mount",
        (Origin::Mount, _) => "--mount or --tmpfs",
        (Origin::Temporary, _) => "a new directory for each run, removed afterwards",
    }
}

/// What is enforced whatever the policy says.
fn always(kernel: &Kernel, policy: &Policy, kernel_only: bool) -> String {
    let mut text = String::from("\nin every run\n");
    for ability in kernel.abilities() {
        let of_the_supervisor = OF_THE_SUPERVISOR.contains(&ability.what);
        // A rule for any port takes the ports from Landlock.
        let of_ports = ability.what.starts_with("TCP ports") && opens_any_port(policy);
        if let Some(mechanism) = ability.carried_by
            && !(kernel_only && of_the_supervisor)
            && !of_ports
        {
            text.push_str(&format!("  {:42}  {mechanism}\n", ability.what));
        }
    }
    text
}

fn opens_any_port(policy: &Policy) -> bool {
    let any_port = |rule: &NetRule| rule.protocol() == Protocol::Tcp && rule.ports().to_string() == "*";
    policy.network.allow.iter().any(any_port)
}

fn notes(args: &ExplainArgs, command: &[OsString], plan: &Plan) -> String {
    let mut notes = names(plan);
    if args.flags.kernel_only {
        notes.push("--kernel-only: refusals are not reported".to_owned());
        notes.push("--kernel-only: what the command leaves running stays; nobody ends it".to_owned());
        notes.push(
            "--kernel-only: no unix sockets, no servers, no changes of modes, owners or times".to_owned(),
        );
        notes.push("--kernel-only: no private temporary directory; grant one with -w".to_owned());
    } else if let Some(note) = without_supervisor(&args.flags, command, plan) {
        notes.push(note);
    }
    notes.push("sandlock explain --calls lists what happens to each system call".to_owned());
    notes.iter().fold(String::from("\n"), |text, note| text + "note: " + note + "\n")
}

/// What there is to say of names beyond what they resolved to.
fn names(plan: &Plan) -> Vec<String> {
    let in_words = |event| match event {
        Event::Denied(denied) => {
            let hint =
                denied.hint(plan.names()).map_or_else(String::new, |flag| format!(" (allow it with {flag})"));
            Some(format!("not taken: {denied}{hint}"))
        }
        Event::NotRefreshed { name, why } => {
            Some(format!("{} does not resolve: {}", escape_terminal(&name), escape_terminal(&why)))
        }
        _ => None,
    };
    plan.names_happened().into_iter().filter_map(in_words).collect()
}

/// Whether the kernel could carry this policy alone.
fn without_supervisor(flags: &RunFlags, command: &[OsString], plan: &Plan) -> Option<String> {
    // Descriptors can be taken once, and names need not be asked for twice to know the answer.
    if !flags.pass_fd.is_empty() {
        return None;
    }
    if plan.names().names().next().is_some() {
        return Some("needs the supervisor: rules name hosts, and the kernel knows only ports".to_owned());
    }
    let mut flags = flags.clone();
    flags.kernel_only = true;
    match Plan::new(flags.into_options(command.to_vec()).ok()?) {
        Ok(_) => Some("the kernel can carry this policy alone: see --kernel-only".to_owned()),
        Err(PlanError::NeedsSupervisor(what)) => {
            Some(format!("needs the supervisor for {}", escape_terminal(&what)))
        }
        Err(_) => None,
    }
}

fn calls(plan: &Plan) -> String {
    let mut rows: Vec<_> = plan.explain_calls().collect();
    rows.sort_by_key(|(name, ..)| *name);
    let name_width = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or_default();
    let what_width = rows.iter().map(|(_, what, _)| what.len()).max().unwrap_or_default();
    let lines =
        rows.iter().map(|(name, what, why)| format!("{name:name_width$}  {what:what_width$}  {why}\n"));
    let rest = format!(
        "{:name_width$}  {:what_width$}  not in the table: as on a kernel without it\n",
        "(any other)", "ENOSYS"
    );
    lines.chain([rest]).collect()
}

/// A first line with `start`, the words with commas, and `end`; lines that follow are indented.
fn wrapped(start: &str, words: &[String], end: &str) -> String {
    let mut text = start.to_owned();
    let mut column = start.len();
    for (index, word) in words.iter().enumerate() {
        let last = index + 1 == words.len();
        let word = if last { format!("{word}  {end}") } else { format!("{word}, ") };
        if column + word.trim_end().len() > WIDTH && column > start.len() {
            text.truncate(text.trim_end().len());
            text.push_str(&format!("\n{:1$}", "", start.len()));
            column = start.len();
        }
        column += word.len();
        text.push_str(&word);
    }
    text + "\n"
}

fn list(items: &[impl ToString], between: &str) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

fn shown(path: &Path) -> String {
    escape_terminal(&path.to_string_lossy())
}

/// Some command that the base covers, for a policy that is looked at without one.
fn any_command() -> OsString {
    let known = ["/bin/true", "/usr/bin/true", "/bin/sh"];
    known.into_iter().find(|path| Path::new(path).exists()).unwrap_or("true").into()
}

/// Abilities that nobody needs without one.
const OF_THE_SUPERVISOR: [&str; 4] = [
    "destinations of connect and send",
    "what a call on behalf is about",
    "descriptors of threads",
    "calls on behalf, whole or not at all",
];
const WIDTH: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;

    fn explained(words: &[&str]) -> String {
        let cli = Cli::try_parse_from([&["sandlock", "explain"], words].concat()).unwrap();
        let Command::Explain(args) = cli.command else { panic!() };
        let command = if args.command.is_empty() { vec![any_command()] } else { args.command.clone() };
        explanation(&args, &command).unwrap()
    }

    #[test]
    fn each_rule_is_told_with_what_enforces_it() {
        let text = explained(&["--net-allow", "127.0.0.1:8080", "--net-allow", "udp://*:*"]);
        let rule = text.split("--net-allow 127.0.0.1:8080\n").nth(1).unwrap();
        assert!(rule.lines().next().unwrap().contains("supervisor"), "{text}");
        assert!(text.contains("  every other destination is refused and reported\n"), "{text}");
        assert!(text.contains("note: needs the supervisor for --net-allow 127.0.0.1:8080"), "{text}");
    }

    #[test]
    fn rules_for_a_program_need_the_supervisor() {
        let text = explained(&[
            "--for",
            "sh=127.0.0.1:80",
            "--for-deny",
            "sh=10.0.0.0/8:*",
            "--for-only",
            "env=:81",
        ]);
        for rule in ["--for sh=127.0.0.1:80", "--for-deny sh=10.0.0.0/8:*", "--for-only env=*:81"] {
            let rule = text.split(&format!("  {rule}\n    enforced by  ")).nth(1).expect(&text);
            assert!(rule.lines().next().unwrap().contains("supervisor"), "{text}");
        }
        assert!(text.contains("holds for what descends from it, and needs the supervisor"), "{text}");
    }

    #[test]
    fn a_name_is_told_with_its_addresses_and_what_serves_it() {
        let text = explained(&["--net-allow", "localhost:80", "--net-deny", "127.0.0.0/8:25"]);
        let rule = text.split("--net-allow localhost:80\n").nth(1).unwrap();
        let lines: Vec<_> = rule.lines().map(str::trim_start).collect();
        assert!(lines[0].starts_with("is now       "), "{text}");
        assert_eq!(lines[1], "served by    /etc/hosts, a resolver of the run's own", "{text}");
        assert!(lines[2].starts_with("enforced by  ") && lines[2].contains("supervisor"), "{text}");
        assert_eq!(lines[3..5], ["--net-deny 127.0.0.0/8:25", "enforced by  supervisor (address)"], "{text}");
        let pinned = explained(&["--net-allow", "localhost:80", "--pin-names"]);
        assert!(!pinned.contains("asked for again"), "{pinned}");
        let other = explained(&["--net-allow", "localhost:80", "--net-allow", "udp://192.0.2.1:53"]);
        assert!(other.contains("    served by    /etc/hosts\n"), "{other}");
        let until = asked_again(SystemTime::UNIX_EPOCH);
        assert_eq!(until, " until 1970-01-01T00:00:00Z, in 0s; then it is asked for again");
    }

    #[test]
    fn http_rules_are_told_with_what_sees_them() {
        let text = explained(&["--http-allow", "GET 127.0.0.1:8080/a", "--http-deny", "* *:8081"]);
        let rule = text.split("  --http-allow \"GET 127.0.0.1:8080/a\"\n").nth(1).unwrap();
        let first = rule.lines().next().unwrap();
        assert!(
            first.contains("supervisor") && first.ends_with("a proxy of the run's own (request)"),
            "{text}"
        );
        let refused = "  every other request on ports 8080, 8081 is refused, and no UDP goes there\n";
        assert!(text.contains(refused) && text.contains("  TLS is not looked into"), "{text}");
        let text = explained(&["--http-deny", "* *:8081", "--http-ca-inject"]);
        assert!(text.contains("  every other request on port 8081 may pass"), "{text}");
        assert!(text.contains("  TLS is looked into\n"), "{text}");
        assert!(!explained(&["--net-allow", "127.0.0.1:8080"]).contains("TLS"));
    }

    #[test]
    fn ports_are_told_with_what_enforces_them() {
        let text = explained(&["--net-allow-bind", "8080", "--net-deny-bind", "udp://53"]);
        let rule = text.split("  --net-allow-bind 8080\n").nth(1).unwrap();
        assert!(rule.lines().next().unwrap().ends_with("supervisor (port)"), "{text}");
        assert!(text.contains("  --net-deny-bind udp://53\n"), "{text}");
        assert!(text.contains("  every other port is refused and reported"), "{text}");
        let text = explained(&["--publish", "18080:8080"]);
        assert!(
            text.contains("  --publish 18080:8080\n    tcp port 8080 is port 18080 of this machine\n"),
            "{text}"
        );
        let text = explained(&["--net-allow-bind", "*"]);
        assert!(text.contains("    enforced by  nothing: every port may be bound\n"), "{text}");
    }

    #[test]
    fn grants_are_told_with_access_and_origin() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().to_str().unwrap();
        let text = explained(&["-w", path, "-r", "/etc"]);
        assert!(text.contains(&format!("  write   {path}  (-w)\n")), "{text}");
        assert!(text.contains("  read    /etc  (-r)\n"), "{text}");
        assert!(text.contains("  write   $TMPDIR  ("), "{text}");
    }

    #[test]
    fn a_proc_of_its_own_is_told() {
        const LINE: &str = "  /proc shows the processes of the sandbox, and /proc/net its sockets: opened by the supervisor\n";
        for own in [["--net-allow", "localhost:80"], ["--net-allow-bind", "8080"]] {
            let text = explained(&own);
            assert!(text.contains(LINE), "{text}");
            let text = explained(&[&own[..], &["-r", "/proc"]].concat());
            assert!(!text.contains(LINE), "{text}");
        }
        assert!(!explained(&["--net-allow", "127.0.0.1:80"]).contains(LINE));
    }

    #[test]
    fn a_working_directory_that_holds_the_home_is_said_to_be_hidden() {
        let text = explained(&["--cwd", "/"]);
        assert!(text.contains("  hidden  /  (the working directory: it holds the home"), "{text}");
        assert!(!text.contains("(working directory)"), "{text}");
    }

    #[test]
    fn the_table_has_a_line_for_each_call() {
        let text = explained(&["--calls"]);
        let line = |name: &str| text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        assert!(line("connect").contains("trap"), "{text}");
        assert!(line("bpf").contains("EPERM"), "{text}");
        assert!(line("read").contains("allow"), "{text}");
    }

    #[test]
    fn long_lists_are_wrapped_under_their_first_word() {
        let words: Vec<_> = (0..30).map(|number| format!("/path/{number}")).collect();
        let text = wrapped("  read    ", &words, "(base)");
        assert!(text.lines().count() > 2 && text.lines().all(|line| line.len() <= WIDTH), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("          /path/")), "{text}");
        assert!(text.ends_with("/path/29  (base)\n"), "{text}");
    }
}
