//! Rules for what descends from a program: they hold through forks, orphans, executions and threads, and for nobody else.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use lab::{Args, Errno, Lab, Output, Run, TcpServer, UdpServer, raw, report, tool};

lab::suite! {
    tests: [
        a_tree_has_its_rules_whatever_becomes_of_its_first_process,
        the_parent_and_siblings_have_none_of_them,
        the_nearest_rules_win,
        rules_of_a_program_alone_end_at_the_next_execution,
        what_is_refused_to_a_tree_is_granted_to_others,
        datagrams_go_by_the_tree,
        a_program_is_found_by_its_name,
        a_script_is_a_program,
        the_command_may_be_the_program,
        names_in_rules_of_a_tree_are_served_and_followed,
        a_profile_has_rules_for_processes,
        what_cannot_be_is_said,
    ],
    programs: [walk],
}

/// Copies of the lab's program: each is another program.
struct Programs {
    plain: String,
    tool: String,
    other: String,
}

impl Programs {
    fn make(lab: &Lab) -> Programs {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let copy = |name: &str| {
            let path: PathBuf = lab.file(format!("bin/{name}"), &bytes);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path.to_str().unwrap().to_owned()
        };
        Programs { plain: copy("plain"), tool: copy("tool"), other: copy("other") }
    }
}

fn with(lab: &Lab, rules: &[(&str, String)]) -> Run {
    let run = lab.sandbox().read(lab.path("bin"));
    rules.iter().fold(run, |run, (flag, rule)| run.option(flag).option(rule))
}

fn walked(run: Run, steps: &str) -> Output {
    run.run("walk", steps.split_ascii_whitespace())
}

fn a_tree_has_its_rules_whatever_becomes_of_its_first_process(lab: &Lab) {
    let (server, programs) = (TcpServer::v4(), Programs::make(lab));
    let (Programs { plain, tool, .. }, to) = (programs, server.rule());
    let rules = [("--for", format!("{tool}={to}"))];
    let ways = [
        format!("exec:{tool}"),
        format!("exec:{tool} fork"),
        format!("exec:{tool} thread"),
        format!("exec:{tool} thread fork thread"),
        format!("exec:{tool} exec:{plain}"),
        format!("exec:{tool} thread exec:{plain}"),
        format!("spawn:{tool} spawn:{plain}"),
        format!("fork exec:{tool} leave"),
        format!("fork exec:{tool} leave leave exec:{plain} thread"),
        format!("fork exec:{tool} fork leave exec:{plain} exec:{plain} leave leave spawn:{plain}"),
    ];
    for (index, way) in ways.iter().enumerate() {
        let steps = format!("{way} connect=x={to}");
        // Forks are looked at for the sake of a limit too, by the same call.
        let run = if index % 2 == 0 { with(lab, &rules) } else { with(lab, &rules).options(["-P", "50"]) };
        walked(run, &steps).expect("x", "ok");
        assert_eq!(server.saw().len(), index + 1, "{way}");
        let other = [("--for", format!("{tool}=127.0.0.1:9"))];
        walked(with(lab, &other), &steps).expect("x", "ECONNREFUSED");
        assert_eq!(server.saw().len(), index + 1, "{way}");
    }
}

fn the_parent_and_siblings_have_none_of_them(lab: &Lab) {
    let (server, programs) = (TcpServer::v4(), Programs::make(lab));
    let (Programs { plain, tool, other }, to) = (programs, server.rule());
    let steps = format!(
        "connect=before={to} fork exec:{tool} connect=inside={to} then connect=after={to} \
         fork exec:{plain} connect=sibling={to} then fork exec:{other} connect=cousin={to} then \
         exec:{plain} connect=self={to}"
    );
    let out = walked(with(lab, &[("--for", format!("{tool}={to}"))]), &steps);
    out.expect("inside", "ok");
    for outside in ["before", "after", "sibling", "cousin", "self"] {
        out.expect(outside, "ECONNREFUSED");
    }
    assert_eq!(server.saw().len(), 1);
}

fn the_nearest_rules_win(lab: &Lab) {
    let (of_tool, of_other, of_run) = (TcpServer::v4(), TcpServer::v4(), TcpServer::v4());
    let Programs { plain, tool, other } = Programs::make(lab);
    let rules = [
        ("--for", format!("{tool}={}", of_tool.rule())),
        ("--for", format!("{other}={}", of_other.rule())),
        ("--net-allow", of_run.rule()),
    ];
    let connects = |name: &str| {
        let ends = [("tool", &of_tool), ("other", &of_other), ("run", &of_run)];
        ends.map(|(end, server)| format!("connect={name}-{end}={}", server.rule())).join(" ")
    };
    let steps = format!(
        "exec:{tool} {} fork exec:{other} {} exec:{plain} {} exec:{tool} {} then {}",
        connects("a"),
        connects("b"),
        connects("c"),
        connects("d"),
        connects("e")
    );
    let out = walked(with(lab, &rules), &steps);
    for (name, wins) in [("a", "tool"), ("b", "other"), ("c", "other"), ("d", "tool"), ("e", "tool")] {
        for end in ["tool", "other", "run"] {
            let expected = if end == wins || end == "run" { "ok" } else { "ECONNREFUSED" };
            out.expect(&format!("{name}-{end}"), expected);
        }
    }
    assert_eq!([&of_tool, &of_other, &of_run].map(|server| server.saw().len()), [3, 2, 5]);
}

fn rules_of_a_program_alone_end_at_the_next_execution(lab: &Lab) {
    let (server, outer) = (TcpServer::v4(), TcpServer::v4());
    let Programs { plain, tool, other } = Programs::make(lab);
    let (to, around) = (server.rule(), outer.rule());
    let rules = [("--for-only", format!("{tool}={to}")), ("--for", format!("{other}={around}"))];
    let steps = format!(
        "exec:{other} exec:{tool} connect=itself={to} fork connect=child={to} leave connect=orphan={to} then \
         connect=around={around} fork spawn:{plain} connect=spawned={to} connect=again={around} then \
         exec:{plain} connect=next={to} exec:{tool} connect=once-more={to}"
    );
    let out = walked(with(lab, &rules), &steps);
    for (name, expected) in [
        ("itself", "ok"),
        ("child", "ok"),
        ("orphan", "ok"),
        ("around", "ECONNREFUSED"),
        ("spawned", "ECONNREFUSED"),
        ("again", "ok"),
        ("next", "ECONNREFUSED"),
        ("once-more", "ok"),
    ] {
        out.expect(name, expected);
    }
    assert_eq!([server.saw().len(), outer.saw().len()], [4, 1]);
}

fn what_is_refused_to_a_tree_is_granted_to_others(lab: &Lab) {
    let (server, Programs { plain, tool, .. }) = (TcpServer::v4(), Programs::make(lab));
    let to = server.rule();
    let rules =
        [("--net-allow", to.clone()), ("--for-deny", format!("{tool}=127.0.0.0/8:{}", server.port()))];
    let steps = format!(
        "connect=before={to} fork exec:{tool} connect=tool={to} leave exec:{plain} connect=orphan={to} then \
         connect=after={to}"
    );
    let out = walked(with(lab, &rules), &steps);
    out.expect("before", "ok").expect("tool", "ECONNREFUSED").expect("orphan", "ECONNREFUSED");
    out.expect("after", "ok");
    assert_eq!(server.saw().len(), 2);
}

fn datagrams_go_by_the_tree(lab: &Lab) {
    let (server, Programs { plain, tool, .. }) = (UdpServer::v4(), Programs::make(lab));
    let to = server.address();
    let steps =
        format!("send=before={to} fork exec:{tool} leave exec:{plain} send=inside={to} then send=after={to}");
    let out = walked(with(lab, &[("--for", format!("{tool}=udp://{to}"))]), &steps);
    out.expect("before", "ECONNREFUSED").expect("inside", "ok").expect("after", "ECONNREFUSED");
    assert_eq!(server.saw().len(), 1);
}

fn a_program_is_found_by_its_name(lab: &Lab) {
    let curl = tool("curl", "curl");
    let server = TcpServer::http([127, 0, 0, 1], lab.directory("www"));
    lab.file("www/a", "found");
    let url = server.url("a");
    let line = format!("curl -s -m 5 {url}; echo; curl -s {url} >/dev/null && echo \"curl=ok\"");
    lab.sandbox().option("--for").option(format!("curl={}", server.rule())).sh(&line).expect("curl", "ok");
    // Another file of that name is another program.
    let copy = lab.path("bin/curl");
    lab.file("bin/curl", std::fs::read(curl).unwrap());
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
    let before = server.saw().len();
    let line = format!("{} -s {url}; echo \"copy=$?\"", copy.display());
    let out = with(lab, &[("--for", format!("curl={}", server.rule()))]).sh(&line);
    out.expect("copy", 7);
    assert_eq!(server.saw().len(), before);
}

/// Connects by itself, and by a program that it executes.
fn script(lab: &Lab, name: &str, start: &str, port: u16) -> String {
    let text = format!(
        "{start}\n(exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null && echo itself=ok || echo itself=refused\n\
         curl -s -m 5 127.0.0.1:{port} >/dev/null; test $? = 7 && echo executed=refused || echo executed=ok\n"
    );
    lab.script(format!("bin/{name}"), &text).to_str().unwrap().to_owned()
}

fn a_script_is_a_program(lab: &Lab) {
    tool("curl", "curl");
    let server = TcpServer::v4();
    let bash = tool("bash", "bash");
    for start in ["#!/usr/bin/env bash".to_owned(), format!("#!{}", bash.display())] {
        let path = script(lab, "agent", &start, server.port());
        let other = script(lab, "stranger", &start, server.port());
        let rule = format!("{path}={}", server.rule());
        for (flag, executed) in [("--for", "ok"), ("--for-only", "refused")] {
            let run = || with(lab, &[(flag, rule.clone())]);
            let relative = format!("cd {}; ./agent", lab.path("bin").display());
            for line in [path.clone(), format!("{path}; true"), relative] {
                let out = run().sh(&line);
                out.expect("itself", "ok").expect("executed", executed);
            }
            run().sh(&other).expect("itself", "refused").expect("executed", "refused");
        }
    }
}

fn the_command_may_be_the_program(lab: &Lab) {
    let (server, Programs { plain, .. }) = (TcpServer::v4(), Programs::make(lab));
    let to = server.rule();
    let bash = tool("bash", "bash");
    let line = format!("(exec 3<>/dev/tcp/127.0.0.1/{}) && echo x=ok; true", server.port());
    let run = |rule: String| with(lab, &[("--for", rule)]).command(&bash, ["-c", &line]).output();
    run(format!("bash={to}")).expect("x", "ok");
    assert_eq!(run(format!("{plain}={to}")).find("x"), None);
    assert_eq!(server.saw().len(), 1);
    let path = script(lab, "agent", "#!/usr/bin/env bash", server.port());
    let none: [&str; 0] = [];
    with(lab, &[("--for-only", format!("{path}={to}"))]).command(&path, none).output().expect("itself", "ok");
}

fn names_in_rules_of_a_tree_are_served_and_followed(lab: &Lab) {
    tool("curl", "curl");
    let server = TcpServer::http([127, 0, 0, 1], lab.directory("www"));
    lab.file("www/a", "found");
    let rule = format!("curl=localhost:{}", server.port());
    let url = format!("http://localhost:{}/a", server.port());
    let out = lab.sandbox().option("--for").option(rule).sh(&format!("curl -4 -s {url} && echo; echo x=$?"));
    out.expect("x", 0);
    let words = ["--for", "curl=nosuch.invalid:80"];
    lab.sandbox().options(words).sh("exit 0").expect_code(125);
}

fn a_profile_has_rules_for_processes(lab: &Lab) {
    let (server, Programs { tool, .. }) = (TcpServer::v4(), Programs::make(lab));
    let to = server.rule();
    let text = format!("[[process]]\nexec = \"{tool}\"\nnetwork.allow = [\"{to}\"]\ntree = false\n");
    let profile = lab.file("tree.toml", text);
    let steps = format!("connect=before={to} exec:{tool} connect=inside={to}");
    let run = with(lab, &[("--profile", profile.to_str().unwrap().to_owned())]);
    walked(run, &steps).expect("before", "ECONNREFUSED").expect("inside", "ok");
}

fn what_cannot_be_is_said(lab: &Lab) {
    let said = |words: &[&str], text: &str| {
        lab.sandbox().options(words).sh("true").expect_code(125).expect_said(text);
    };
    said(&["--for", "no-such-program=:80"], "--for no-such-program: there is no such program");
    said(&["--for", "sh=:80", "--for-only", "sh=:81"], "cannot both end");
    said(&["--for", "sh=:80", "--for", "/bin/sh=:81"], "the same file");
    said(&["--for-deny", "sh=localhost:80"], "a name cannot be refused");
    said(&["--kernel-only", "--for", "sh=:80"], "--for sh=*:80");
    lab.sandbox().options(["--for", "sh=:80"]).sh("true").expect_code(0);
}

/// `walk STEP...`: takes one step after the other. After `fork` and `spawn:` the child takes those up to `then`, and the
/// parent those behind it, when all that has come of the child is gone.
fn walk(args: &Args) {
    let steps: Vec<String> = (0..args.count()).map(|index| args.text(index).to_owned()).collect();
    go(&steps);
}

fn go(steps: &[String]) {
    for (index, step) in steps.iter().enumerate() {
        let rest = &steps[index + 1..];
        let then = rest.iter().position(|step| step == "then").unwrap_or(rest.len());
        let (childs, after) = (&rest[..then], rest.get(then + 1..).unwrap_or_default());
        if let Some(path) = step.strip_prefix("exec:") {
            panic!("{}", next(path, rest).exec());
        } else if let Some(path) = step.strip_prefix("spawn:") {
            next(path, childs).status().unwrap();
            return go(after);
        } else if let Some((name, to)) = step.strip_prefix("connect=").and_then(|one| one.split_once('=')) {
            let to: SocketAddr = to.parse().unwrap();
            let connected = std::net::TcpStream::connect(to);
            report(name, connected.map_or_else(|error| Errno::from(&error).to_string(), |_| "ok".to_owned()));
        } else if let Some((name, to)) = step.strip_prefix("send=").and_then(|one| one.split_once('=')) {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let sent = socket.send_to(b"x", to);
            report(name, sent.map_or_else(|error| Errno::from(&error).to_string(), |_| "ok".to_owned()));
        } else if step == "thread" {
            return std::thread::scope(|scope| scope.spawn(|| go(rest)).join().unwrap());
        } else if step == "leave" {
            if raw::fork() != 0 {
                raw::exit(0);
            }
        } else if step == "fork" {
            let mut ends = [0i32; 2];
            raw::call(libc::SYS_pipe2, &[raw::out(&mut ends), 0]).unwrap();
            let child = raw::fork();
            if child == 0 {
                raw::close(ends[0]);
                go(childs);
                raw::exit(0);
            }
            raw::close(ends[1]);
            raw::wait(child);
            // Whoever descends from the child has the other end.
            raw::call(libc::SYS_read, &[ends[0] as usize, raw::out(&mut [0u8; 1]), 1]).unwrap();
            raw::close(ends[0]);
            return go(after);
        }
    }
}

fn next(path: &str, steps: &[String]) -> Command {
    let mut words = std::env::args_os().skip(1);
    let mut command = Command::new(path);
    command.args([words.next().unwrap(), words.next().unwrap()]).args(steps);
    command
}
