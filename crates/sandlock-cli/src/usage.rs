//! What is wrong with a command line: one line that names the flag, and a hint.

use std::error::Error;
use std::ffi::OsStr;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use sandlock_core::{HttpRule, HttpRuleError, NetRule, RuleError};

use crate::{exit, failure, output};

/// Prints help, or what is wrong; nothing was executed.
pub(crate) fn report(error: &clap::Error, subcommand: Option<&OsStr>) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // To standard output, with colours if that is a terminal.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(exit::OUR_FAILURE)
        }
        _ => {
            let (text, hint) = in_words(error, subcommand);
            output::say(&failure::in_words(&text, hint.as_deref()));
            ExitCode::from(exit::OUR_FAILURE)
        }
    }
}

fn in_words(error: &clap::Error, subcommand: Option<&OsStr>) -> (String, Option<String>) {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        Some(ContextValue::Strings(texts)) => texts.first().map(String::as_str),
        _ => None,
    };
    let argument = context(ContextKind::InvalidArg).unwrap_or_default();
    let value = context(ContextKind::InvalidValue).unwrap_or_default();
    match error.kind() {
        ErrorKind::ValueValidation => match error.source() {
            Some(source) => match source.downcast_ref::<RuleError>() {
                Some(rule) => (rule.to_string(), rule_hint(rule.flag(), rule.spec())),
                None => match source.downcast_ref::<HttpRuleError>() {
                    Some(rule) => (rule.to_string(), http_rule_hint(rule.flag(), rule.spec())),
                    None => (format!("{} {value:?}: {source}", flag(argument)), None),
                },
            },
            None => (format!("{} {value:?}: not a valid value", flag(argument)), None),
        },
        ErrorKind::InvalidValue if value.is_empty() => {
            (format!("{} needs a value", flag(argument)), Some(see_help(subcommand)))
        }
        ErrorKind::MissingRequiredArgument if argument.contains("COMMAND") => {
            let hint = "put -- before the command: sandlock run -w . -- make".to_owned();
            ("no command was given".to_owned(), Some(hint))
        }
        ErrorKind::UnknownArgument => {
            let similar = context(ContextKind::SuggestedArg).map(|flag| format!("did you mean {flag}?"));
            let what = if argument.starts_with('-') { "unknown flag" } else { "unexpected argument" };
            (format!("{what} {argument}"), similar.or_else(|| Some(see_help(subcommand))))
        }
        ErrorKind::InvalidSubcommand => {
            let given = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            let hint = match context(ContextKind::SuggestedSubcommand) {
                Some(similar) => format!("did you mean sandlock {similar}?"),
                None => format!("to run a command: sandlock run -- {given}"),
            };
            (format!("there is no subcommand {given:?}"), Some(hint))
        }
        _ => (first_paragraph(&error.render().to_string()), Some(see_help(subcommand))),
    }
}

/// `--timeout` of `--timeout <TIME>`.
fn flag(argument: &str) -> &str {
    argument.split(' ').next().unwrap_or(argument)
}

/// The rest of what clap says is a usage line and an advice that have their place in the help.
fn first_paragraph(text: &str) -> String {
    let lines = text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim);
    let text = lines.collect::<Vec<_>>().join(" ");
    text.strip_prefix("error: ").unwrap_or(&text).to_owned()
}

fn see_help(subcommand: Option<&OsStr>) -> String {
    match subcommand.and_then(OsStr::to_str) {
        Some(
            name @ ("run" | "check" | "explain" | "ps" | "inspect" | "kill" | "allow" | "deny" | "events"
            | "pause" | "resume" | "tour"),
        ) => {
            format!("see sandlock {name} --help")
        }
        _ => "see sandlock --help".to_owned(),
    }
}

/// What was probably meant: a URL's host and port, a service's number. Parsed before it is shown.
fn rule_hint(flag: &str, spec: &str) -> Option<String> {
    let meant = of_url(spec).or_else(|| of_service(spec))?;
    let rule: NetRule = meant.parse().ok()?;
    Some(format!("did you mean {flag} {rule}?"))
}

/// A URL's host and path, a method in capitals, or both.
fn http_rule_hint(flag: &str, spec: &str) -> Option<String> {
    let words: Vec<_> = spec.split_ascii_whitespace().collect();
    let (method, place) = match words[..] {
        [place] if place.contains(['.', '/', ':']) => ("*".to_owned(), place),
        [method, place] => (method.to_ascii_uppercase(), place),
        _ => return None,
    };
    let place = place.split_once("://").map_or(place, |(_, rest)| rest).split(['?', '#']).next()?;
    let rule: HttpRule = format!("{method} {place}").parse().ok()?;
    Some(format!("did you mean {flag} \"{rule}\"?"))
}

fn of_url(spec: &str) -> Option<String> {
    let (scheme, rest) = spec.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { Some(host.to_owned()) } else { Some(format!("{host}:{}", port_of(scheme)?)) }
}

fn of_service(spec: &str) -> Option<String> {
    match spec.rsplit_once(':') {
        Some((before, service)) => Some(format!("{before}:{}", port_of(service)?)),
        None if spec.is_empty() => None,
        None => Some(format!("{spec}:443")),
    }
}

/// The services whose names people write by habit.
fn port_of(service: &str) -> Option<u16> {
    Some(match service.to_ascii_lowercase().as_str() {
        "http" | "ws" => 80,
        "https" | "wss" => 443,
        "ssh" | "sftp" | "git+ssh" => 22,
        "dns" | "domain" => 53,
        "git" => 9418,
        "postgres" | "postgresql" => 5432,
        "mysql" => 3306,
        "redis" => 6379,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::Parser;

    fn said(words: &[&str]) -> String {
        let error = Cli::try_parse_from([&["sandlock"], words].concat()).unwrap_err();
        let (text, hint) = in_words(&error, words.first().map(OsStr::new));
        failure::in_words(&text, hint.as_deref())
    }

    #[test]
    fn a_bad_rule_is_one_line_with_flag_rule_and_part() {
        let said = said(&["run", "--net-allow", "example.com:nope", "--", "true"]);
        assert!(said.starts_with("sandlock: error: --net-allow \"example.com:nope\": invalid port \"nope\""));
        assert_eq!(said.lines().count(), 1, "{said}");
    }

    #[test]
    fn what_was_probably_meant_is_told() {
        for (spec, meant) in [
            ("https://example.com/v1?q=a:b", "example.com:443"),
            ("http://user@Example.com:8080/", "example.com:8080"),
            ("wss://[::1]/", "[::1]:443"),
            ("example.com:https", "example.com:443"),
            ("udp://1.1.1.1:domain", "udp://1.1.1.1:53"),
            ("example.com", "example.com:443"),
        ] {
            assert!(spec.parse::<NetRule>().is_err(), "{spec}");
            let hint = format!("did you mean --net-deny {meant}?");
            assert_eq!(rule_hint("--net-deny", spec), Some(hint), "{spec}");
        }
        for spec in ["gopher://x/", "x:nope", "a b", "", "::1"] {
            assert_eq!(rule_hint("--net-allow", spec), None, "{spec}");
        }
    }

    #[test]
    fn what_was_probably_meant_by_an_http_rule_is_told() {
        for (spec, meant) in [
            ("https://Example.com/v1/*?q=1", "* example.com/v1/*"),
            ("get example.com", "GET example.com"),
            ("post http://example.com:8080/x", "POST example.com:8080/x"),
            ("example.com", "* example.com"),
        ] {
            assert!(spec.parse::<HttpRule>().is_err(), "{spec}");
            let hint = format!("did you mean --http-allow \"{meant}\"?");
            assert_eq!(http_rule_hint("--http-allow", spec), Some(hint), "{spec}");
        }
        for spec in ["", "GET", "a b c", "GET a..b", "G@T x"] {
            assert_eq!(http_rule_hint("--http-allow", spec), None, "{spec}");
        }
    }

    #[test]
    fn other_mistakes_name_their_flag_and_say_what_to_do() {
        for (words, text, hint) in [
            (&["run", "-t", "soon", "true"][..], "--timeout \"soon\": a time is written", None),
            (&["run", "--env", "X", "true"], "--env \"X\": a variable is written NAME=VALUE", None),
            (
                &["run", "--net-alow", ":1", "true"],
                "unknown flag --net-alow",
                Some("did you mean --net-allow?"),
            ),
            (&["run", "-w", "."], "no command was given", Some("put -- before the command")),
            (&["exlain"], "there is no subcommand \"exlain\"", Some("did you mean sandlock explain?")),
            (&["make"], "there is no subcommand \"make\"", Some("sandlock run -- make")),
            (&["run", "-r", "", "true"], "--read needs a value", Some("see sandlock run --help")),
            (&["run", "--pass-fd", "1", "true"], "--pass-fd \"1\": a descriptor is a number from 3 on", None),
            (&["run", "--net-deny", "x", "true"], "--net-deny \"x\": ", Some("--net-deny x:443?")),
            (&["run", "--names-grace", "soon", "true"], "--names-grace \"soon\": a time is written", None),
            (&["run", "--resolver", "dns", "true"], "--resolver \"dns\": a name server is written", None),
            (
                &["run", "--pin-names", "--names-grace", "1s", "true"],
                "the argument '--pin-names' cannot be used with",
                Some("see sandlock run"),
            ),
            (&["tour", "now"], "unexpected argument now", Some("see sandlock tour --help")),
            (&["check", "--bare"], "unknown flag --bare", Some("see sandlock check --help")),
            (
                &["run", "--bare", "--bare", "true"],
                "the argument '--bare' cannot be used",
                Some("see sandlock run"),
            ),
        ] {
            let said = said(words);
            assert!(said.starts_with(&format!("sandlock: error: {text}")), "{said}");
            assert_eq!(said.lines().count(), if hint.is_some() { 2 } else { 1 }, "{said}");
            assert!(hint.is_none_or(|hint| said.contains(hint)), "{said}");
        }
    }
}
