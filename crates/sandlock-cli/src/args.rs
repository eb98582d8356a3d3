//! The command line's grammar.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use sandlock_core::{
    BindRule, Credential, Http, HttpAuth, HttpAuthority, HttpHost, HttpRule, Log, NetRule, NetworkRules,
    Options, Policy, ProcessRules, Publish, UpstreamProxy,
};

use crate::ask::Asker;
use crate::failure::Failure;
use crate::limit_args::LimitArgs;
use crate::profile::{self, ProfileError};
use crate::root::{self, RootArgs};

/// Runs a program that reaches only the files, hosts and ports it was given.
///
/// It needs no root, no daemon, no container: Landlock, seccomp and its user notification.
#[derive(Parser, Debug)]
#[command(name = "sandlock", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

// What only other subcommands take is not made at every start.
#[derive(Subcommand, Debug)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Run a command inside the policy.
    #[command(after_help = RUN_EXAMPLES, override_usage = "sandlock run [OPTIONS] [--] COMMAND [ARGUMENT]...")]
    Run(RunArgs),
    /// Say what this kernel offers and what would enforce what, and try it.
    ///
    /// Ends with status 1 if a run is impossible here.
    Check(CheckArgs),
    /// Say what a policy grants, and which mechanism enforces each rule. Executes nothing.
    #[command(after_help = EXPLAIN_EXAMPLES,
        override_usage = "sandlock explain [OPTIONS] [[--] COMMAND [ARGUMENT]...]")]
    Explain(ExplainArgs),
    /// List the runs that are there: name, process, uptime, command.
    Ps {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print what a run may do, what the names in its rules stand for, and its ports.
    Inspect(InspectArgs),
    /// End runs, each with all its processes. Comes back when nothing of them is left.
    Kill {
        /// Their names, as `sandlock ps` lists them.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Grant a run the traffic of one more rule; it must have been started with --adjustable, --ask or --ask-command.
    Allow {
        /// Its name, as `sandlock ps` lists it.
        name: String,
        /// A rule of --net-allow.
        #[arg(value_parser = OsStringValueParser::new().try_map(granted))]
        rule: NetRule,
    },
    /// Refuse a run the traffic of one more rule, whatever allows it.
    Deny {
        /// Its name, as `sandlock ps` lists it.
        name: String,
        /// A rule of --net-deny.
        #[arg(value_parser = OsStringValueParser::new().try_map(refused))]
        rule: NetRule,
        /// End the connections, too, that the rules do not grant any more.
        #[arg(long)]
        cut: bool,
    },
    /// Print what happens in a run from now on, until it is over: refusals and the like.
    Events {
        /// Its name, as `sandlock ps` lists it.
        name: String,
        /// As JSON, an object a line.
        #[arg(long)]
        json: bool,
    },
    /// Stop every process of runs. Their time limits go on.
    Pause {
        /// Their names, as `sandlock ps` lists them.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Let runs go on that were paused.
    Resume {
        /// Their names, as `sandlock ps` lists them.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Show the main job in a few seconds, against servers of its own on loopback.
    Tour,
    /// Print what a server answers: the client of the tour where there is no curl.
    #[command(name = "__fetch", hide = true)]
    Fetch {
        /// Where it is.
        server: SocketAddr,
    },
    /// What `check` runs inside a sandbox.
    #[command(name = "__trial", hide = true)]
    Trial(TrialArgs),
}

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) flags: RunFlags,
    /// The command and its arguments; all that follows it is its own.
    #[arg(required_unless_present = "image", trailing_var_arg = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// Print the whole table of system calls: what happens to each, and why.
    #[arg(long)]
    pub(crate) calls: bool,
    /// Print the policy as a profile (TOML), and nothing else.
    #[arg(long, conflicts_with = "calls")]
    pub(crate) toml: bool,
    #[command(flatten)]
    pub(crate) flags: RunFlags,
    /// The command, whose installation becomes readable.
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// Its name, as `sandlock ps` lists it.
    pub(crate) name: String,
    /// All that is known of it, as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// The policy alone, as a profile for `sandlock run --profile`.
    #[arg(long, conflicts_with = "json")]
    pub(crate) toml: bool,
}

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) pretend: Pretend,
}

#[derive(Args, Debug)]
pub(crate) struct TrialArgs {
    /// A file that must not be readable.
    pub(crate) hidden: PathBuf,
    /// A server that must be reachable, and one that must not be.
    #[arg(num_args = 2)]
    pub(crate) servers: Vec<SocketAddr>,
}

/// All that surrounds a command. `explain` takes what `run` does: one word of the command line is to be changed.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct RunFlags {
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    #[command(flatten)]
    pub(crate) http: HttpArgs,
    #[command(flatten)]
    pub(crate) root: RootArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    /// Set a variable in the command's environment. Repeatable [default: the caller's environment].
    #[arg(long, value_name = "NAME=VALUE", help_heading = SURROUNDINGS,
        value_parser = OsStringValueParser::new().try_map(variable))]
    pub(crate) env: Vec<(OsString, OsString)>,
    /// Pass on only harmless variables of the environment (PATH, HOME, TERM, LANG and the like).
    #[arg(long, help_heading = SURROUNDINGS)]
    pub(crate) clean_env: bool,
    /// Pass on this variable besides the harmless ones, and no others: --clean-env goes with it. A * at the end stands for
    /// the rest of names. Repeatable.
    #[arg(long, value_name = "NAME", help_heading = SURROUNDINGS)]
    pub(crate) env_pass: Vec<OsString>,
    /// Write no core dump of the command, whatever it was doing.
    #[arg(long, help_heading = SURROUNDINGS)]
    pub(crate) no_coredump: bool,
    /// Start the command in this directory [default: the current one].
    #[arg(long, value_name = "DIR", help_heading = SURROUNDINGS)]
    pub(crate) cwd: Option<PathBuf>,
    /// Ask this name server for the names in rules [default: what this machine is set up with].
    #[arg(long, value_name = "ADDR:PORT", help_heading = SURROUNDINGS, value_parser = name_server)]
    pub(crate) resolver: Option<SocketAddr>,
    /// End the run after this long: 30 (seconds), 1.5, 30s, 5m, 1h 30m [default: no limit].
    #[arg(short = 't', long, value_name = "TIME", value_parser = duration, help_heading = SURROUNDINGS)]
    pub(crate) timeout: Option<Duration>,
    /// Let the command end by itself for this long when the time is up, before all is killed [default: 1s].
    #[arg(long, value_name = "TIME", value_parser = grace, requires = "timeout", help_heading = SURROUNDINGS)]
    pub(crate) grace: Option<Duration>,
    /// Go on until all that the command left running has ended too [default: it is killed when the command ends].
    #[arg(long, help_heading = SURROUNDINGS)]
    pub(crate) keep_background: bool,
    /// A name for this run, for its report and for `sandlock ps`, `inspect` and `kill`; it must be free [default: the
    /// command's, with a number behind if that is taken].
    #[arg(long, value_name = "NAME", help_heading = SURROUNDINGS)]
    pub(crate) name: Option<String>,
    /// Let the command inherit this descriptor; others above 2 are closed. Repeatable.
    #[arg(long, value_name = "FD", value_parser = descriptor, help_heading = SURROUNDINGS)]
    pub(crate) pass_fd: Vec<RawFd>,
    /// Write down what happens in the run, a JSON object a line: at the end of a file, or to a descriptor (fd:5).
    #[arg(long, value_name = "FILE|fd:N", help_heading = SURROUNDINGS)]
    pub(crate) log: Option<PathBuf>,
    /// Let `sandlock allow` and `deny` change the network rules while it runs.
    #[arg(long, help_heading = SURROUNDINGS)]
    pub(crate) adjustable: bool,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
    /// No supervisor: confine and execute in place. Only for policies that the kernel can carry alone.
    #[arg(long, help_heading = SURROUNDINGS)]
    pub(crate) kernel_only: bool,
    #[command(flatten)]
    pub(crate) pretend: Pretend,
}

/// Who is asked while the command runs.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct AskArgs {
    /// Ask on the terminal about destinations, names and ports that no rule grants, while the call waits: allow it once, for
    /// this run, always (in the last --profile), or not.
    #[arg(long, conflicts_with = "ask_command", help_heading = SURROUNDINGS)]
    pub(crate) ask: bool,
    /// Ask this program instead: a JSON object on its standard input, one on its standard output.
    #[arg(long, value_name = "PROGRAM", help_heading = SURROUNDINGS)]
    pub(crate) ask_command: Option<PathBuf>,
    /// Refuse what is not answered within this time [default: 60s].
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = SURROUNDINGS)]
    pub(crate) ask_timeout: Option<Duration>,
}

impl AskArgs {
    /// Whether somebody is asked.
    pub(crate) fn any(&self) -> bool {
        self.ask || self.ask_command.is_some()
    }

    /// Whoever asks, for the run of this name.
    ///
    /// # Errors
    ///
    /// When there is no terminal, or no such program.
    pub(crate) fn into_asker(self, name: String, profile: Option<PathBuf>) -> Result<Option<Asker>, Failure> {
        let patience = self.ask_timeout.unwrap_or(ASK_TIMEOUT);
        match self.ask_command {
            Some(program) => Asker::program(program.clone(), name, profile, patience)
                .map(Some)
                .map_err(|error| Failure::AskCommand(program, error)),
            None if self.ask => Asker::terminal(name, profile, patience).map(Some).map_err(Failure::Ask),
            None => Ok(None),
        }
    }
}

/// What is allowed.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct PolicyArgs {
    /// Start from the policy of a file (TOML, as `sandlock explain --toml` prints it); flags add to it. Repeatable.
    #[arg(long, value_name = "FILE", help_heading = POLICY)]
    pub(crate) profile: Vec<PathBuf>,
    /// Allow a destination: [tcp://|udp://|icmp://]HOST:PORTS. Repeatable [default: no network].
    ///
    /// HOST is a name, an address, a range such as 10.0.0.0/8 or [2001:db8::/32] with its length inside the
    /// brackets, or * for any. PORTS is a list such as 80,443, or * for any; icmp:// takes none.
    #[arg(long, value_name = "RULE", value_parser = OsStringValueParser::new().try_map(rule),
        help_heading = POLICY)]
    pub(crate) net_allow: Vec<NetRule>,
    /// Refuse a destination, whatever allows it: the same grammar. Repeatable.
    #[arg(long, value_name = "RULE", value_parser = OsStringValueParser::new().try_map(denial),
        help_heading = POLICY)]
    pub(crate) net_deny: Vec<NetRule>,
    /// Allow a destination to what descends from the execution of a program: EXE=RULE, such as npm=registry.npmjs.org:443.
    /// What it executes has its rules too, unless that has some of its own. Repeatable.
    ///
    /// EXE is a name, looked for in PATH at the start, or an absolute path.
    #[arg(long = "for", value_name = "EXE=RULE", value_parser = OsStringValueParser::new().try_map(process_rule),
        help_heading = POLICY)]
    pub(crate) for_tree: Vec<(String, NetRule)>,
    /// Allow a destination to a program, and not to what it executes. Repeatable.
    #[arg(long, value_name = "EXE=RULE", value_parser = OsStringValueParser::new().try_map(process_only_rule),
        help_heading = POLICY)]
    pub(crate) for_only: Vec<(String, NetRule)>,
    /// Refuse a destination to what descends from the execution of a program; with --for-only, to that alone. Repeatable.
    #[arg(long, value_name = "EXE=RULE", value_parser = OsStringValueParser::new().try_map(process_denial),
        help_heading = POLICY)]
    pub(crate) for_deny: Vec<(String, NetRule)>,
    /// Allow binding ports of the command's own, and listening there: [tcp://|udp://]PORTS. Repeatable [default: none,
    /// but for ports that the kernel chooses, without listening].
    ///
    /// PORTS is a list such as 80,8000-8099, or * for any; 0 is a port that the kernel chooses.
    #[arg(long, value_name = "PORTS", value_parser = OsStringValueParser::new().try_map(bind_rule),
        help_heading = POLICY)]
    pub(crate) net_allow_bind: Vec<BindRule>,
    /// Refuse binding ports, whatever allows it: the same grammar. Repeatable.
    #[arg(long, value_name = "PORTS", value_parser = OsStringValueParser::new().try_map(bind_denial),
        help_heading = POLICY)]
    pub(crate) net_deny_bind: Vec<BindRule>,
    /// Give the command a port space of its own: a port that is taken is had all the same, another port of the machine
    /// stands for it, and the command reaches its own servers on loopback.
    #[arg(long, help_heading = POLICY)]
    pub(crate) port_remap: bool,
    /// Make a port of that port space a certain port of the machine, and allow binding it: [tcp://|udp://][HOST_PORT:]PORT.
    /// Repeatable. Implies --port-remap.
    #[arg(long, value_name = "PORTS", help_heading = POLICY)]
    pub(crate) publish: Vec<Publish>,
    /// Allow HTTP requests: METHOD HOST[:PORTS][/PATH], such as "POST api.example.com/v1/*". Repeatable; with any, every
    /// other request on the ports of such rules is refused.
    ///
    /// METHOD is one or * for any. HOST is a name, *.domain, an address, or * for any; a host that is not * is opened in
    /// the network too, by TCP. PORTS are 80,443 unless given. In PATH, * stands within a segment and ** across; at the
    /// end /* is everything below, and the directory itself.
    #[arg(long, value_name = "RULE", value_parser = OsStringValueParser::new().try_map(http_rule),
        help_heading = HTTP)]
    pub(crate) http_allow: Vec<HttpRule>,
    /// Refuse HTTP requests, whatever allows them: the same grammar. Opens nothing. Repeatable.
    #[arg(long, value_name = "RULE", value_parser = OsStringValueParser::new().try_map(http_denial),
        help_heading = HTTP)]
    pub(crate) http_deny: Vec<HttpRule>,
    /// Let names in rules mean for the whole run what they mean at its start [default: they are asked for again and
    /// again, and new addresses are allowed].
    #[arg(long, help_heading = POLICY)]
    pub(crate) pin_names: bool,
    /// Run even if a name in a rule does not resolve [default: nothing is run].
    #[arg(long, help_heading = POLICY)]
    pub(crate) names_may_fail: bool,
    /// Let any name in a rule mean an address of this machine (127.0.0.1 and the like) [default: only localhost and
    /// the names of this machine's /etc/hosts].
    #[arg(long, help_heading = POLICY)]
    pub(crate) names_may_be_local: bool,
    /// Allow an address for this long after its name has stopped to mean it [default: 10m].
    #[arg(long, value_name = "TIME", value_parser = grace, conflicts_with = "pin_names", help_heading = POLICY)]
    pub(crate) names_grace: Option<Duration>,
    /// Allow reading and executing a file, or all below a directory. Repeatable [default: system directories,
    /// the working directory, the installation of the command].
    #[arg(short = 'r', long = "read", value_name = "PATH", help_heading = POLICY)]
    pub(crate) read: Vec<PathBuf>,
    /// Allow reading and writing a file, or all below a directory. Repeatable [default: a private temporary
    /// directory, removed afterwards].
    #[arg(short = 'w', long = "write", value_name = "PATH", help_heading = POLICY)]
    pub(crate) write: Vec<PathBuf>,
    /// Allow reading and executing a file, or all below a directory; what -r and -w name can be executed no longer.
    /// Repeatable [default: all that can be read].
    #[arg(short = 'x', long = "execute", value_name = "PATH", help_heading = POLICY)]
    pub(crate) execute: Vec<PathBuf>,
    /// Refuse a file, or all below a directory, whatever grants it, whether it is there or not. Repeatable.
    #[arg(long, value_name = "PATH", help_heading = POLICY)]
    pub(crate) fs_deny: Vec<PathBuf>,
    /// Let nothing be executed that can be written, nor files in memory.
    #[arg(long, help_heading = POLICY)]
    pub(crate) noexec_writable: bool,
    /// Show the run's own processes and sockets in /proc, and no others [default: in runs with names in rules, or
    /// that listen].
    #[arg(long, help_heading = POLICY)]
    pub(crate) own_proc: bool,
    /// Allow unix datagram sockets: every send is checked then.
    #[arg(long, help_heading = POLICY)]
    pub(crate) unix_dgram: bool,
    /// Start from nothing: no system directories, no working directory, no temporary directory.
    #[arg(long, help_heading = POLICY)]
    pub(crate) bare: bool,
}

/// How HTTP rules are enforced.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct HttpArgs {
    /// Look into TLS, by certificates of an authority made for this run: it is added to the trust stores that the
    /// command reads [default: of TLS only the server's name is seen].
    #[arg(long, conflicts_with = "http_ca", help_heading = HTTP)]
    pub(crate) http_ca_inject: bool,
    /// Look into TLS, by certificates of this authority (PEM).
    #[arg(long, value_name = "FILE", requires = "http_key", help_heading = HTTP)]
    pub(crate) http_ca: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, value_name = "FILE", requires = "http_ca", help_heading = HTTP)]
    pub(crate) http_key: Option<PathBuf>,
    /// Write the certificate of the authority here.
    #[arg(long, value_name = "FILE", help_heading = HTTP)]
    pub(crate) http_ca_out: Option<PathBuf>,
    /// A trust store that the command reads, besides the system's: PEM, or a Java key store. Repeatable.
    #[arg(long, value_name = "FILE", help_heading = HTTP)]
    pub(crate) http_ca_bundle: Vec<PathBuf>,
    /// Trust servers that these certificates (PEM) vouch for, besides the system's. Repeatable.
    #[arg(long, value_name = "FILE", help_heading = HTTP)]
    pub(crate) http_upstream_ca: Vec<PathBuf>,
    /// Reach servers through this proxy: http://HOST:PORT [default: what HTTPS_PROXY says].
    #[arg(long, value_name = "URL", help_heading = HTTP)]
    pub(crate) http_upstream_proxy: Option<UpstreamProxy>,
    /// Leave the TLS of this host end to end: only the server's name is seen. Repeatable.
    #[arg(long, value_name = "HOST", help_heading = HTTP)]
    pub(crate) http_passthrough: Vec<HttpHost>,
    /// A secret that the command does not get: NAME=env:VARIABLE, NAME=file:PATH or NAME=fd:NUMBER. Repeatable.
    #[arg(long, value_name = "SECRET", help_heading = HTTP)]
    pub(crate) credential: Vec<Credential>,
    /// Add a secret to requests: "METHOD HOST[/PATH] HOW NAME", where HOW is bearer, basic:USER, header:FIELD or
    /// query:PARAMETER. Repeatable.
    #[arg(long, value_name = "RULE", help_heading = HTTP)]
    pub(crate) http_auth: Vec<HttpAuth>,
    /// Add secrets to requests without TLS too, which everybody on the way can read [default: only on loopback].
    #[arg(long, help_heading = HTTP)]
    pub(crate) danger_cleartext_credentials: bool,
}

impl HttpArgs {
    fn into_http(self) -> Http {
        let mut http = Http::default();
        http.authority = match (self.http_ca, self.http_key) {
            (Some(certificate), Some(key)) => Some(HttpAuthority::Of { certificate, key }),
            _ => self.http_ca_inject.then_some(HttpAuthority::OfTheRun),
        };
        http.authority_out = self.http_ca_out;
        http.bundles = self.http_ca_bundle;
        http.upstream_roots = self.http_upstream_ca;
        http.upstream_proxy = self.http_upstream_proxy;
        http.passthrough = self.http_passthrough;
        http.credentials = self.credential;
        http.auths = self.http_auth;
        http.cleartext_credentials = self.danger_cleartext_credentials;
        http
    }
}

/// For looking at what an older kernel would do.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct Pretend {
    /// Behave as on a kernel whose Landlock is no newer than this.
    #[arg(long, value_name = "VERSION", hide = true)]
    pub(crate) landlock_at_most: Option<u32>,
}

impl PolicyArgs {
    /// # Errors
    ///
    /// [`ProfileError`].
    fn into_policy(self) -> Result<Policy, ProfileError> {
        let mut whole = Policy::new();
        for path in &self.profile {
            whole.extend(profile::read(path)?);
        }
        whole.extend(self.into_own_policy());
        Ok(whole)
    }

    fn into_own_policy(self) -> Policy {
        let mut policy = Policy::new();
        policy.network.allow = self.net_allow;
        policy.network.deny = self.net_deny;
        policy.processes = processes(self.for_tree, self.for_only, self.for_deny);
        policy.bind.allow = self.net_allow_bind;
        policy.bind.deny = self.net_deny_bind;
        policy.ports.remap = self.port_remap;
        policy.ports.publish = self.publish;
        policy.http.allow = self.http_allow;
        policy.http.deny = self.http_deny;
        policy.names.pinned = self.pin_names;
        policy.names.may_fail = self.names_may_fail;
        policy.names.may_be_local = self.names_may_be_local;
        policy.names.grace = self.names_grace.unwrap_or(policy.names.grace);
        policy.files.read = self.read;
        policy.files.write = self.write;
        policy.files.execute = self.execute;
        policy.files.deny = self.fs_deny;
        policy.files.writable_not_executable = self.noexec_writable;
        policy.files.own_proc = self.own_proc;
        policy.unix_datagrams = self.unix_dgram;
        if self.bare { policy.bare() } else { policy }
    }
}

impl RunFlags {
    /// What the library is told.
    ///
    /// # Errors
    ///
    /// When a profile is none, or a descriptor that is to be inherited is not there.
    pub(crate) fn into_options(self, command: Vec<OsString>) -> Result<Options, Failure> {
        let mut options = Options::new(self.policy.into_policy()?, command);
        options.policy.root.extend(self.root.into_root());
        options.policy.limits.extend(self.limits.into_limits());
        let has_rules = !options.policy.http.is_empty();
        options.http = self.http.into_http();
        if has_rules {
            options.http.upstream_proxy = options.http.upstream_proxy.or_else(proxy_of_the_environment);
        }
        if options.http.upstream_proxy.is_some() {
            // The command reaches it without knowing.
            options.environment.unset = PROXY_VARIABLES.map(OsString::from).to_vec();
        }
        options.environment.clean = self.clean_env || !self.env_pass.is_empty();
        options.environment.pass = self.env_pass;
        options.no_core_dump = self.no_coredump;
        options.image_cache = root::cache();
        options.environment.set = self.env;
        options.directory = self.cwd;
        options.resolver = self.resolver;
        options.timeout = self.timeout;
        options.grace = self.grace;
        options.keep_background = self.keep_background;
        options.kernel_only = self.kernel_only;
        if let Some(control) = &mut options.control {
            control.name = self.name;
            control.of_a_command = true;
        }
        options.adjustable = self.adjustable || self.ask.any();
        options.log = self.log.map(open_log).transpose()?;
        options.landlock_at_most = self.pretend.landlock_at_most;
        for fd in self.pass_fd {
            let taken = sandlock_core::take_inherited(fd).map_err(|error| Failure::PassFd(fd, error))?;
            options.inherited.push(taken);
        }
        Ok(options)
    }
}

/// # Errors
///
/// When it cannot be written to.
fn open_log(to: PathBuf) -> Result<Log, Failure> {
    let number = to.to_str().and_then(|text| text.strip_prefix("fd:")).map(str::parse::<RawFd>);
    let opened = match number {
        Some(Ok(number)) => sandlock_core::take_inherited(number).and_then(Log::descriptor),
        Some(Err(_)) => Err(std::io::ErrorKind::InvalidInput.into()),
        None => Log::file(&to),
    };
    opened.map_err(|error| Failure::Log(to, error))
}

/// The proxy that programs go by, if it is one that this program knows.
fn proxy_of_the_environment() -> Option<UpstreamProxy> {
    let said = ["https_proxy", "HTTPS_PROXY"].into_iter().find_map(|name| std::env::var(name).ok());
    said?.parse().ok()
}

type ParseError = Box<dyn std::error::Error + Send + Sync>;

fn rule(spec: OsString) -> Result<NetRule, ParseError> {
    rule_of("--net-allow", spec)
}

fn denial(spec: OsString) -> Result<NetRule, ParseError> {
    rule_of("--net-deny", spec)
}

fn granted(spec: OsString) -> Result<NetRule, ParseError> {
    rule_of("allow", spec)
}

fn refused(spec: OsString) -> Result<NetRule, ParseError> {
    rule_of("deny", spec)
}

fn rule_of(flag: &str, spec: OsString) -> Result<NetRule, ParseError> {
    let spec = spec.into_string().map_err(|_| "a rule is UTF-8 text")?;
    Ok(NetRule::parse_flag(flag, &spec)?)
}

type ProcessRule = (String, NetRule);

fn process_rule(spec: OsString) -> Result<ProcessRule, ParseError> {
    process_rule_of("--for", spec)
}

fn process_only_rule(spec: OsString) -> Result<ProcessRule, ParseError> {
    process_rule_of("--for-only", spec)
}

fn process_denial(spec: OsString) -> Result<ProcessRule, ParseError> {
    process_rule_of("--for-deny", spec)
}

fn process_rule_of(flag: &str, spec: OsString) -> Result<ProcessRule, ParseError> {
    let spec = spec.into_string().map_err(|_| "a rule is UTF-8 text")?;
    // No rule has such a sign in it, and a path may.
    let (exec, rule) =
        spec.rsplit_once('=').ok_or("it is written EXE=RULE, such as npm=registry.npmjs.org:443")?;
    if !ProcessRules::names_a_program(exec) {
        return Err("EXE is a name, looked for in PATH, or an absolute path".into());
    }
    Ok((exec.to_owned(), NetRule::parse_flag(flag, rule)?))
}

fn processes(tree: Vec<ProcessRule>, only: Vec<ProcessRule>, deny: Vec<ProcessRule>) -> Vec<ProcessRules> {
    let mut all = Vec::new();
    let granted = tree.into_iter().map(|rule| (rule, true)).chain(only.into_iter().map(|rule| (rule, false)));
    for ((exec, rule), tree) in granted {
        let network = NetworkRules { allow: vec![rule], deny: Vec::new() };
        ProcessRules { exec, tree, network }.add_to(&mut all);
    }
    for (exec, rule) in deny {
        let tree = all.iter().find(|one| one.exec == exec).is_none_or(|one| one.tree);
        let network = NetworkRules { allow: Vec::new(), deny: vec![rule] };
        ProcessRules { exec, tree, network }.add_to(&mut all);
    }
    all
}

fn bind_rule(spec: OsString) -> Result<BindRule, ParseError> {
    bind_rule_of("--net-allow-bind", spec)
}

fn bind_denial(spec: OsString) -> Result<BindRule, ParseError> {
    bind_rule_of("--net-deny-bind", spec)
}

fn bind_rule_of(flag: &str, spec: OsString) -> Result<BindRule, ParseError> {
    let spec = spec.into_string().map_err(|_| "a rule is UTF-8 text")?;
    Ok(BindRule::parse_flag(flag, &spec)?)
}

fn http_rule(spec: OsString) -> Result<HttpRule, ParseError> {
    http_rule_of("--http-allow", spec)
}

fn http_denial(spec: OsString) -> Result<HttpRule, ParseError> {
    http_rule_of("--http-deny", spec)
}

fn http_rule_of(flag: &str, spec: OsString) -> Result<HttpRule, ParseError> {
    let spec = spec.into_string().map_err(|_| "a rule is UTF-8 text")?;
    Ok(HttpRule::parse_flag(flag, &spec)?)
}

fn variable(text: OsString) -> Result<(OsString, OsString), ParseError> {
    let at = text.as_bytes().iter().position(|byte| *byte == b'=').filter(|at| *at > 0);
    let at = at.ok_or("a variable is written NAME=VALUE")?;
    let mut name = text.into_vec();
    let value = name.split_off(at + 1);
    name.pop();
    Ok((OsString::from_vec(name), OsString::from_vec(value)))
}

fn descriptor(text: &str) -> Result<RawFd, ParseError> {
    let number = text.parse().ok().filter(|number| *number > 2);
    number.ok_or_else(|| "a descriptor is a number from 3 on; the command has the others anyway".into())
}

fn duration(text: &str) -> Result<Duration, ParseError> {
    let seconds = text.parse().ok().map(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match seconds.unwrap_or_else(|| humantime::parse_duration(text).ok()) {
        Some(Duration::ZERO) => Err("that is no time at all: leave it out for no limit".into()),
        Some(duration) => Ok(duration),
        None => Err("a time is written 30 (seconds), 1.5, 30s, 5m or 1h 30m".into()),
    }
}

fn grace(text: &str) -> Result<Duration, ParseError> {
    // None at all is one as well.
    if matches!(text, "0" | "0s") { Ok(Duration::ZERO) } else { duration(text) }
}

fn name_server(text: &str) -> Result<SocketAddr, ParseError> {
    let only_address = text.parse().map(|address| SocketAddr::new(address, 53)).ok();
    let server = text.parse().ok().or(only_address);
    match server {
        Some(server) if server.port() == 0 || server.ip().is_unspecified() => None,
        server => server,
    }
    .ok_or_else(|| "a name server is written 192.0.2.1:53 or [2001:db8::1]:53".into())
}

const ASK_TIMEOUT: Duration = Duration::from_secs(60);
const PROXY_VARIABLES: [&str; 6] =
    ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const POLICY: &str = "What is allowed";
const HTTP: &str = "What is allowed over HTTP";
const SURROUNDINGS: &str = "How it runs";

const EXAMPLES: &str = "\
First steps:
  sandlock tour                  see the main job, without any set-up
  sandlock check                 can this machine do it?
  sandlock run -- COMMAND        no network, the home hidden, the working directory read-only
  sandlock run --help            all flags, and examples";

const RUN_EXAMPLES: &str = "\
Examples:
  sandlock run -- ./configure
  sandlock run -w . --net-allow registry.npmjs.org:443 -- npm install
  sandlock run -w . --net-allow api.example.com:443 --net-allow udp://1.1.1.1:53 -- python3 agent.py
  sandlock run --http-ca-inject --http-allow \"POST api.example.com/v1/*\" -- python3 agent.py
  sandlock run --bare -r /usr -r /lib -r /lib64 -- /usr/bin/true

Exit status: the command's own; 128+N if signal N ended it; 124 if it ran too long; 125 if sandlock
failed and nothing was executed; 126 if the command cannot be executed; 127 if it was not found.";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  sandlock explain
  sandlock explain -w . --net-allow api.example.com:443 -- python3 agent.py
  sandlock explain --calls | grep trap";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::ffi::OsStr;

    fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(words)
    }

    fn run(words: &[&str]) -> RunArgs {
        match parse(&[&["sandlock", "run"], words].concat()).unwrap().command {
            Command::Run(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_grammar_does_not_contradict_itself() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_command_begins_after_two_dashes_or_with_the_first_word_that_is_no_flag() {
        for words in [&["-w", ".", "--", "sh", "-c", "x"][..], &["-w", ".", "sh", "-c", "x"]] {
            let args = run(words);
            assert_eq!(args.command, ["sh", "-c", "x"]);
            assert_eq!(args.flags.policy.write, [PathBuf::from(".")]);
        }
    }

    #[test]
    fn flags_and_dashes_after_the_command_are_its_own() {
        for words in [&["--", "git", "log", "-w", "--", "a"][..], &["git", "log", "-w", "--", "a"]] {
            let args = run(words);
            assert_eq!(args.command, ["git", "log", "-w", "--", "a"]);
            assert!(args.flags.policy.write.is_empty());
        }
    }

    #[test]
    fn explain_takes_the_flags_of_run_and_needs_no_command() {
        let words = ["sandlock", "explain", "--kernel-only", "--net-allow", ":443", "--calls"];
        match parse(&words).unwrap().command {
            Command::Explain(args) => {
                assert!(args.calls && args.flags.kernel_only && args.command.is_empty());
                assert_eq!(args.flags.policy.net_allow.len(), 1);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_variable_may_hold_any_bytes_and_equals_signs() {
        let split = |bytes: &[u8]| variable(OsString::from_vec(bytes.to_vec()));
        let (name, value) = split(b"A=\xff=b").unwrap();
        assert_eq!((name.as_os_str(), value.as_bytes()), (OsStr::new("A"), &b"\xff=b"[..]));
        assert_eq!(split(b"A=").unwrap().1, OsStr::new(""));
        assert!(split(b"A").is_err() && split(b"=b").is_err() && split(b"").is_err());
    }

    #[test]
    fn rules_of_a_program_are_gathered() {
        let words = ["--for", "npm=a.test:1", "--for-deny", "npm=10.0.0.0/8:*", "--for", "npm=[::1]:2"];
        let args = run(&[&words[..], &["--for-only", "/x=y/sh=*:3", "--", "true"]].concat());
        let found =
            processes(args.flags.policy.for_tree, args.flags.policy.for_only, args.flags.policy.for_deny);
        let written: Vec<_> = found.iter().flat_map(ProcessRules::written).collect();
        let expected = [
            "--for npm=a.test:1",
            "--for npm=[::1]:2",
            "--for-deny npm=10.0.0.0/8:*",
            "--for-only /x=y/sh=*:3",
        ];
        assert_eq!(written, expected);
        for wrong in ["npm", "=a.test:1", "./npm=a.test:1", "npm=a.test"] {
            assert!(parse(&["sandlock", "run", "--for", wrong, "--", "true"]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_server_is_an_address_and_a_port() {
        for (text, server) in [
            ("127.0.0.1:5353", "127.0.0.1:5353"),
            ("[::1]:53", "[::1]:53"),
            ("192.0.2.1", "192.0.2.1:53"),
            ("2001:db8::1", "[2001:db8::1]:53"),
        ] {
            assert_eq!(name_server(text).unwrap(), server.parse().unwrap(), "{text}");
        }
        for text in ["", "dns.example", "dns.example:53", "192.0.2.1:0", "0.0.0.0:53", "192.0.2.1:dns"] {
            assert!(name_server(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_seconds_or_have_units() {
        for (text, millis) in [("30", 30_000), ("1.5", 1500), ("30s", 30_000), ("1h 30m", 5_400_000)] {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(millis), "{text}");
        }
        for text in ["", "abc", "0", "0s", "-1", "inf", "NaN", "1e400", "5 parsecs"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
