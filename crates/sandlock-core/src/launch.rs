//! From a plan to running processes.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use sandlock_supervisor::message::{Link, Report};
use sandlock_supervisor::{Mounted, Supervisor, supervise};
use sandlock_sys::command::{Command, StartError, execute_in_place};
use sandlock_sys::process::{self, Fork, ForkError};
use sandlock_sys::signal::{self, Mask};
use sandlock_sys::{Errno, privileges};

use crate::cgroup::Cgroup;
use crate::control::Server;
use crate::decision::{Listening, Naming};
use crate::grants;
use crate::http::{self, Proxied};
use crate::journal::Journal;
use crate::names::Names;
use crate::root;
use crate::running::Services;
use crate::{Decisions, LaunchError, Plan, RunRules, Running};

impl Plan {
    /// Starts the supervisor, which starts the command.
    ///
    /// The caller must have one thread only. It takes over the caller's signals until the run is over, and makes
    /// the caller adopt orphans, so that nothing of a run outlives its supervisor's death.
    ///
    /// # Errors
    ///
    /// See [`LaunchError`]; what goes wrong in the supervisor is told by [`Running::wait`].
    pub fn launch(mut self) -> Result<Running, LaunchError> {
        if let Some(http) = &self.http {
            http.write_certificate()
                .map_err(|(path, source)| LaunchError::CertificateOut { path, source })?;
        }
        let log = self.log.take();
        let control = Server::prepare(self.control.take(), &self.command, &self.policy)?;
        let mask = signal::block(&signal::ALL_THAT_END_OR_STOP).map_err(launcher)?;
        privileges::become_subreaper().map_err(launcher)?;
        let (link, theirs) = Link::pair().map_err(launcher)?;
        let asking = self.decisions.as_ref().map(|_| Link::pair()).transpose().map_err(launcher)?;
        let (asking, asks) = asking.unzip();
        let launcher = std::process::id() as i32;
        let others = sandlock_supervisor::children();
        let namespaces = self.root.as_ref().map(|root| root.namespaces).unwrap_or_default();
        let forked = match process::fork_alone_into(namespaces) {
            Err(ForkError::Namespaces(errno)) => {
                signal::restore(&mask);
                return Err(LaunchError::Root(Box::new(root::forbidden("namespaces", errno.into()))));
            }
            forked => forked?,
        };
        match forked {
            Fork::Parent(pid) => {
                drop((theirs, asks));
                // The command's business alone from here on.
                self.inherited.clear();
                // Only now may there be other threads.
                match self.start_services(asking) {
                    Ok(services) => {
                        let rules = Arc::new(self.network.rules().clone());
                        let journal = Journal { name: String::new(), rules };
                        let plan = self;
                        Ok(Running {
                            plan,
                            link,
                            supervisor: pid,
                            mask,
                            others,
                            services,
                            control,
                            journal,
                            log,
                            paused: false,
                            begins: None,
                        })
                    }
                    Err(error) => {
                        // The supervisor ends the run, and itself.
                        drop(link);
                        sandlock_supervisor::end_adopted(&others);
                        signal::restore(&mask);
                        Err(LaunchError::Launcher(error))
                    }
                }
            }
            Fork::Child => {
                drop((link, asking));
                // Keys and secrets are the launcher's alone.
                let stores = self.http.as_ref().and_then(http::Planned::stores);
                let proxy: Vec<u16> = self.http.iter().flat_map(http::Planned::ports).collect();
                self.http = None;
                let inherited = std::mem::take(&mut self.inherited);
                let keep: Vec<_> = inherited
                    .iter()
                    .map(AsFd::as_fd)
                    .chain(asks.iter().map(AsFd::as_fd))
                    .chain(self.holes.descriptors())
                    .chain(self.cgroup.as_ref().map(Cgroup::entrance))
                    .chain([
                        theirs.as_fd(),
                        self.rulesets.command().as_fd(),
                        self.rulesets.supervisor().as_fd(),
                    ])
                    .collect();
                // What the launcher was given by its own caller is not the sandbox's.
                if process::close_all_except(&keep).is_err() {
                    process::exit_now(1);
                }
                match self.move_in(stores, &proxy) {
                    Ok(mounted) => self.supervise(Handed {
                        link: theirs,
                        asks,
                        launcher,
                        mask,
                        inherited,
                        mounted,
                        tell_callers: log.is_some(),
                    }),
                    Err(why) => {
                        let _ = theirs.send(&Report::NotPrepared(why));
                        process::exit_now(1)
                    }
                }
            }
        }
    }

    fn start_services(&mut self, asking: Option<Link>) -> io::Result<Services> {
        let rules = self.network.rules();
        let run_rules = self.adjustable.then(|| RunRules::new(rules.clone())).transpose()?;
        let decisions = self.decisions.take().zip(run_rules.clone()).zip(asking);
        let consult = decisions.as_ref().map(|((decisions, run_rules), _)| (decisions, run_rules));
        let consult = consult.filter(|(decisions, _)| decisions.names);
        let consult = consult.map(|(decisions, run_rules)| {
            Box::new(Naming::new(decisions.clone(), run_rules.clone())) as Box<dyn sandlock_names::Consult>
        });
        let names = Names::start(self.network.all_rules(), self.names.take(), consult)?;
        let proxied = Proxied::start(self.http.take(), names.known())?;
        let listening = decisions
            .map(|((decisions, run_rules), asking)| Listening::start(asking, decisions, run_rules))
            .transpose()?;
        Ok(Services { names, proxied, rules: run_rules, listening })
    }

    /// Confines this process and executes the command in its place. Returns only on failure.
    #[must_use]
    pub fn execute_in_place(self) -> LaunchError {
        let prepare = || -> Result<Mask, Errno> {
            privileges::set_no_new_privileges()?;
            privileges::drop_capabilities()?;
            if self.no_core_dump {
                process::forbid_core_dumps()?;
            }
            process::close_on_exec_except(&self.inherited.iter().map(AsFd::as_fd).collect::<Vec<_>>())?;
            signal::block(&[])
        };
        let mask = match prepare() {
            Ok(mask) => mask,
            Err(errno) => return launcher(errno),
        };
        let error = execute_in_place(&self.command(mask));
        let source = io::Error::from(match error {
            StartError::Clone(errno)
            | StartError::Directory(errno)
            | StartError::Attributes(errno)
            | StartError::Landlock(errno)
            | StartError::Filter(errno)
            | StartError::Exec(errno) => errno,
            _ => Errno::IO,
        });
        match error {
            StartError::Exec(_) => {
                LaunchError::Exec { command: self.command.first().cloned().unwrap_or_default(), source }
            }
            _ => LaunchError::Launcher(source),
        }
    }

    fn supervise(mut self, handed: Handed) -> ! {
        let Handed { link, asks, launcher, mask, inherited, mounted, tell_callers } = handed;
        if self.no_core_dump {
            // Its children inherit it, and cannot raise it again. A limit that could not be set would be one promised
            // in vain.
            if process::forbid_core_dumps().is_err() {
                process::exit_now(1);
            }
        }
        let table = std::mem::take(&mut self.table);
        let network = std::mem::take(&mut self.network);
        let bind = std::mem::take(&mut self.bind);
        let served = std::mem::take(&mut self.served);
        let roots = std::mem::take(&mut self.roots);
        let decisions = self.decisions.take().zip(asks);
        let decisions = decisions.map(|(Decisions { asks, patience, .. }, link)| {
            sandlock_supervisor::decision::Decisions { link, asks, patience }
        });
        let holes = std::mem::take(&mut self.holes);
        let limits = std::mem::take(&mut self.left);
        let supervisor = Supervisor {
            launcher,
            own_ruleset: self.rulesets.supervisor(),
            inherited,
            command: self.command(mask),
            table,
            needs: self.needs,
            network,
            bind,
            published: self.policy.ports.publish.clone(),
            writable: grants::writable(&self.grants),
            served,
            decisions,
            mounted,
            tell_callers,
            adjustable: self.adjustable,
            holes,
            limits,
            keep_background: self.keep_background,
            roots,
        };
        supervise(link, supervisor)
    }

    fn command(&self, mask: Mask) -> Command<'_> {
        Command {
            program: self.program.clone(),
            arguments: self.arguments.clone(),
            environment: self.environment.clone(),
            directory: self.directory.clone(),
            ruleset: self.rulesets.command(),
            filter: &self.filter,
            wait_killable: self.kernel.wait_killable,
            mask,
            exec_key: self.needs.exec_key(),
            open_files: self.limits.open_files,
            file_size: self.limits.file_size,
            processors: self.limits.processors,
            cgroup: self.cgroup.as_ref().map(Cgroup::entrance),
        }
    }
}

/// What a supervisor is given besides the plan.
struct Handed {
    link: Link,
    asks: Option<Link>,
    launcher: i32,
    mask: Mask,
    inherited: Vec<std::os::fd::OwnedFd>,
    mounted: Mounted,
    tell_callers: bool,
}

fn launcher(errno: Errno) -> LaunchError {
    LaunchError::Launcher(errno.into())
}
