//! Why a run could not be planned or launched.

use std::ffi::{NulError, OsString};
use std::io;
use std::path::PathBuf;

use sandlock_filter::{CompileError, TableError};
use sandlock_names::ResolveError;
use sandlock_policy::{Publish, escape_terminal};
use sandlock_supervisor::message::Step;
use sandlock_sys::process::ForkError;

/// Why a policy and a command could not be made into a plan. Nothing was executed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// There is no command.
    #[error("no command was given")]
    NoCommand,
    /// The command was not found in `PATH`, or the path does not exist.
    #[error("command not found: {}", shown(.0))]
    CommandNotFound(OsString),
    /// The command exists and cannot be executed.
    #[error("the command {} cannot be executed", shown(.command))]
    CommandNotExecutable {
        /// As it was given.
        command: OsString,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program with network rules of its own.
    #[error("--for {}: {why}", escape_terminal(.exec))]
    Process {
        /// As it was given.
        exec: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A path of a file rule does not exist or cannot be opened.
    #[error("{flag} {}: the path cannot be opened", shown(.path.as_os_str()))]
    Path {
        /// The flag that names it.
        flag: &'static str,
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The working directory.
    #[error("the working directory {} cannot be entered", shown(.path.as_os_str()))]
    Directory {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The private temporary directory.
    #[error("no private temporary directory could be made")]
    Temporary(#[source] io::Error),
    /// A name in a rule.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The socket at which the run's own resolver is asked.
    #[error("no socket can be made for the resolver of this run")]
    Listener(#[source] io::Error),
    /// The sockets to which connections are led that HTTP rules speak of.
    #[error("no socket can be made for the proxy of this run")]
    ProxyListener(#[source] io::Error),
    /// A port that is to be the run's, and that somebody else has.
    #[error("--publish {publish}: port {} of this machine cannot be had", publish.host_port)]
    Published {
        /// What is to be published.
        publish: Publish,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A flag about HTTP, and no rule about it.
    #[error("{0}: no --http-allow or --http-deny says what is to be looked at")]
    NoHttpRules(&'static str),
    /// A rule about what is inside of TLS, which nothing looks into.
    #[error(
        "{rule}: over TLS (port 443) a method and a path cannot be seen without --http-ca-inject or --http-ca"
    )]
    NeedsAuthority {
        /// Its flag and what it says.
        rule: String,
    },
    /// A rule about what is inside of TLS of a host that is left end to end.
    #[error("{rule}: --http-passthrough {} leaves its TLS end to end, so that a method and a path cannot be seen", escape_terminal(.host))]
    PassedThrough {
        /// Its flag and what it says.
        rule: String,
        /// The host.
        host: String,
    },
    /// The authority whose certificates the program is shown.
    #[error("no certificate authority can be had for this run")]
    Authority(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A bundle of certificates to which none can be added.
    #[error("--http-ca-bundle {}: no certificate can be added", shown(.path.as_os_str()))]
    Bundle {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A credential that is to be added, and that no flag defines.
    #[error("--http-auth {auth:?}: no --credential defines {name:?}")]
    NoCredential {
        /// The rule.
        auth: String,
        /// The name of the credential.
        name: String,
    },
    /// A credential that cannot be read.
    #[error("--credential {}: it cannot be read", escape_terminal(.name))]
    Credential {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An image that cannot be the root.
    #[error("--image {}", shown(.image.as_os_str()))]
    Image {
        /// As it is written.
        image: PathBuf,
        /// Why.
        #[source]
        source: sandlock_image::ImageError,
    },
    /// A policy asks for two roots.
    #[error("the root is a directory (--chroot) or an image (--image), not both")]
    TwoRoots,
    /// An image is to run as somebody whom it does not know.
    #[error("the image is to run as {0:?}, whom it does not know: --uid and --gid say who that is")]
    ImageUser(String),
    /// There is no place where images are kept.
    #[error("there is no place to keep images in: set XDG_CACHE_HOME or HOME")]
    NoCache,
    /// A host name that is none.
    #[error("--hostname {}: a host name is up to 64 letters, digits, dots and dashes", escape_terminal(.0))]
    HostName(String),
    /// Something of the run's own root is refused on this machine.
    #[error("this machine refuses {what}: {why}")]
    Namespaces {
        /// What is refused.
        what: &'static str,
        /// The setting that is the reason, as far as it is known.
        why: String,
        /// What to do.
        remedy: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A place of the root where something is to be mounted.
    #[error("{}: nothing can be mounted there in the root", shown(.path.as_os_str()))]
    MountPoint {
        /// The path inside.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something that is to be mounted, or to be the root.
    #[error("{}: it cannot be mounted", shown(.path.as_os_str()))]
    Mount {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something else that went wrong inside of the root, in words.
    #[error("{}", escape_terminal(.0))]
    Inside(String),
    /// A flag about files that nothing keeps in a root of the run's own.
    #[error("{0}: it cannot be kept together with --chroot, --image, --mount or --tmpfs yet")]
    NotInRoot(&'static str),
    /// What is denied is granted under another name as well, by a mount.
    #[error("--fs-deny {}: {} shows it under another name", shown(.denied.as_os_str()), shown(.granted.as_os_str()))]
    ShownTwice {
        /// What is denied.
        denied: PathBuf,
        /// What shows it.
        granted: PathBuf,
    },
    /// Somebody asks for a `/proc` of the run's own, and grants the whole of it.
    #[error("--own-proc: {} grants /proc, or a part of it, as it is on the machine", shown(.granted.as_os_str()))]
    OwnProc {
        /// What is granted.
        granted: PathBuf,
    },
    /// What is to be executable can be written.
    #[error(
        "--noexec-writable: what is below {} is to be executable, and {} can be written",
        shown(.executable.as_os_str()),
        shown(.writable.as_os_str())
    )]
    Execution {
        /// A place of the base or of `-x`.
        executable: PathBuf,
        /// A place that may be written, above or below it.
        writable: PathBuf,
    },
    /// A limit that this machine does not let be set.
    #[error("{flag}: {why}")]
    Limit {
        /// The flag and its value.
        flag: String,
        /// Why.
        why: String,
    },
    /// A seccomp filter around this process, such as that of a container, refuses a call.
    #[error("a seccomp filter around sandlock refuses {call}, without which nothing can keep {needed_by}")]
    Around {
        /// The call.
        call: &'static str,
        /// What cannot be kept.
        needed_by: &'static str,
    },
    /// The kernel lacks something.
    #[error("this kernel cannot enforce {what}: {remedy}")]
    Kernel {
        /// What it lacks.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// `--kernel-only`, and something that needs the supervisor.
    #[error("--kernel-only cannot enforce {0}: it needs the supervisor")]
    NeedsSupervisor(String),
    /// The kernel refused a Landlock ruleset.
    #[error("the Landlock ruleset cannot be made")]
    Ruleset(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The kernel has no random numbers.
    #[error("no random numbers can be had")]
    Random(#[source] io::Error),
    /// An argument or variable contains a NUL byte.
    #[error("an argument, variable or path contains a NUL byte")]
    Nul(#[from] NulError),
    /// The table contradicts itself: a mistake in sandlock.
    #[error("the system call table cannot be built")]
    Table(#[from] TableError),
    /// The filter could not be compiled: a mistake in sandlock.
    #[error("the filter cannot be compiled")]
    Filter(#[from] CompileError),
}

/// Why a plan could not be launched. Nothing was executed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The caller has other threads, or no process could be made.
    #[error(transparent)]
    Fork(#[from] ForkError),
    /// The root of the run could not be made, or what the run names is not in it.
    #[error(transparent)]
    Root(Box<PlanError>),
    /// The launcher could not set itself up.
    #[error("the launcher cannot be set up")]
    Launcher(#[source] io::Error),
    /// The command could not be executed.
    #[error("the command {} cannot be executed", shown(.command))]
    Exec {
        /// As it was given.
        command: OsString,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A step of setting up the sandbox failed.
    #[error("{}", failed_step(*.step))]
    Step {
        /// Which.
        step: Step,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The run cannot have the name that it must have.
    #[error(transparent)]
    Control(#[from] crate::ControlError),
    /// The certificate could not be written where it was wanted.
    #[error("--http-ca-out {}: the file cannot be written", shown(.path.as_os_str()))]
    CertificateOut {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The supervisor ended before the command did; what was left of its tree was killed.
    #[error("the supervisor died, and the command was killed with it")]
    SupervisorDied,
}

fn failed_step(step: Step) -> &'static str {
    match step {
        Step::Supervisor => "the supervisor cannot be set up",
        Step::Capabilities => "capabilities cannot be dropped",
        Step::Landlock => "the Landlock domain cannot be entered (sixteen can be nested)",
        Step::Filter => "the seccomp filter cannot be installed",
        Step::Directory => "the working directory cannot be entered",
        Step::Process => "no process can be made for the command",
        Step::Exec => "the command cannot be executed",
        _ => "the sandbox cannot be set up",
    }
}

fn shown(text: &std::ffi::OsStr) -> String {
    escape_terminal(&text.to_string_lossy())
}
