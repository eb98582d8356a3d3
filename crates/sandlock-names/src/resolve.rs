//! Every name once, at the same time, within one limit: before anything runs.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sandlock_policy::{NameRules, NetRule, NetworkRules, Resolved, names_to_resolve};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::route::has_route;
use crate::runtime::runtime;
use crate::take::{Taken, is_granted};
use crate::{Answer, Failure, Happening, ResolveError, Upstream};

/// How many names are asked for at once.
const AT_ONCE: usize = 32;

/// What names stood for when the run was planned.
#[derive(Clone, Debug, Default)]
pub struct Resolution {
    /// The names, and what they stand for.
    pub names: Resolved,
    /// Until when their answers hold.
    pub until: BTreeMap<String, SystemTime>,
    /// What is worth telling about it.
    pub happened: Vec<Happening>,
}

/// Resolves every name that `rules` mention, in `limit` at most.
///
/// Addresses are unique and canonical. Those that a name may not stand for are left out and told, and those that this
/// host has no route for are left out. Names under a domain (`*.example.com`) are not resolved. With no name, no thread
/// is started and nothing is asked.
///
/// When it succeeds, all its threads were joined. When it fails, some may be left, waiting for the resolver: the caller
/// is expected to exit.
///
/// # Errors
/// [`ResolveError`]: of several names that fail, the one that the rules mention first. With
/// [`NameRules::may_fail`] only that no thread can be started.
pub fn resolve(
    rules: &NetworkRules,
    how: &NameRules,
    upstream: &Upstream,
    limit: Duration,
) -> Result<Resolution, ResolveError> {
    resolve_with(rules, how, upstream, limit, has_route)
}

fn resolve_with(
    rules: &NetworkRules,
    how: &NameRules,
    upstream: &Upstream,
    limit: Duration,
    has_route: impl Fn(IpAddr) -> bool,
) -> Result<Resolution, ResolveError> {
    let names = names_to_resolve(rules.iter());
    if names.is_empty() {
        return Ok(Resolution::default());
    }
    let runtime = runtime().map_err(ResolveError::NoThread)?;
    let asked = names.iter().map(|(name, _)| name.clone()).collect();
    let answers = runtime.block_on(ask_all(asked, upstream, limit));
    let mut resolution = Resolution::default();
    for ((name, rule), answer) in names.into_iter().zip(answers) {
        if let Err(why) = resolution.add(&name, answer, rules, how, &has_route) {
            // Resolvers that block a name say that it is nowhere, or here: then there is nothing to deny.
            let blocked = why == Failure::Refused && !is_granted(&name, rules);
            if !how.may_fail && !blocked {
                runtime.shutdown_background();
                return Err(error(rule, name, why, limit, &resolution));
            }
            resolution.happened.push(Happening::NotRefreshed { name, why: why.to_string() });
        }
    }
    // Waits for the threads, as long as the C library wants: but only names that were given up have left any.
    drop(runtime);
    Ok(resolution)
}

/// The answers in the order of the names; `None` for what did not come in time.
async fn ask_all(
    names: Vec<String>,
    upstream: &Upstream,
    limit: Duration,
) -> Vec<Option<Result<Answer, Failure>>> {
    let end = Instant::now() + limit;
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut answers: Vec<_> = std::iter::repeat_with(|| None).take(names.len()).collect();
    let mut asking = JoinSet::new();
    for (index, name) in names.into_iter().enumerate() {
        let (upstream, permits) = (upstream.clone(), Arc::clone(&permits));
        asking.spawn(async move {
            let _permit = permits.acquire().await;
            (index, upstream.ask(&name).await)
        });
    }
    while let Ok(Some(answered)) = timeout_at(end, asking.join_next()).await {
        if let Ok((index, answer)) = answered {
            answers[index] = Some(answer);
        }
    }
    answers
}

impl Resolution {
    fn add(
        &mut self,
        name: &str,
        answer: Option<Result<Answer, Failure>>,
        rules: &NetworkRules,
        how: &NameRules,
        has_route: impl Fn(IpAddr) -> bool,
    ) -> Result<(), Failure> {
        let answer = answer.unwrap_or(Err(Failure::Silent))?;
        let taken = Taken::of(name, &answer, rules, how, has_route);
        let failure = taken.failure();
        self.happened.extend(taken.refused.into_iter().map(Happening::Refused));
        if let Some(failure) = failure {
            return Err(failure);
        }
        self.names.insert(name, taken.addresses);
        self.until.insert(name.to_owned(), SystemTime::now() + answer.life());
        Ok(())
    }
}

fn error(
    rule: &NetRule,
    name: String,
    why: Failure,
    limit: Duration,
    resolution: &Resolution,
) -> ResolveError {
    let rule = Box::new(rule.clone());
    let of_name = |happening: &Happening| match happening {
        Happening::Refused(denied @ sandlock_policy::Denied::Answer { name: own, .. }) if *own == name => {
            Some(denied.clone())
        }
        _ => None,
    };
    match why {
        Failure::Silent => ResolveError::TimedOut { rule, name, limit },
        Failure::NoRoute => ResolveError::NoRoute { rule, name },
        Failure::Refused => match resolution.happened.iter().find_map(of_name) {
            Some(denied) => ResolveError::Refused { rule, name, denied: Box::new(denied) },
            None => ResolveError::NoRoute { rule, name },
        },
        why => ResolveError::Unresolved { rule, name, source: std::io::Error::other(why) },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::system::System;

    fn upstream(look_up: impl Fn(&str) -> std::io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Upstream {
        let nowhere = std::path::PathBuf::from("/nonexistent");
        let (hosts, resolver) = (nowhere.clone(), nowhere);
        Upstream::with_system(System { hosts, resolver, look_up: Arc::new(look_up), ..System::new() })
    }

    fn rules(specs: &[&str]) -> NetworkRules {
        let allow = specs.iter().map(|spec| spec.parse().unwrap()).collect();
        NetworkRules { allow, deny: Vec::new() }
    }

    fn known(_: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(vec!["10.0.0.1".parse().unwrap()])
    }

    const LIMIT: Duration = Duration::from_secs(5);

    #[test]
    fn a_denied_name_that_is_blocked_elsewhere_does_not_stop_the_run() {
        let rules = |deny: bool| {
            let rules = rules(&["ads:1"]).allow;
            match deny {
                true => NetworkRules { allow: Vec::new(), deny: rules },
                false => NetworkRules { allow: rules, deny: Vec::new() },
            }
        };
        let upstream = upstream(|_| Ok(vec!["0.0.0.0".parse().unwrap(), "127.0.0.1".parse().unwrap()]));
        let how = NameRules::default();
        assert!(resolve_with(&rules(false), &how, &upstream, LIMIT, |_| true).is_err());
        let resolution = resolve_with(&rules(true), &how, &upstream, LIMIT, |_| true).unwrap();
        assert!(resolution.names.names().next().is_none());
        assert_eq!(resolution.happened.len(), 3);
    }

    #[test]
    fn success_leaves_no_thread() {
        let alive = Arc::new(());
        let held = Arc::clone(&alive);
        let upstream = upstream(move |name| {
            let _ = &held;
            known(name)
        });
        let how = NameRules::default();
        let resolution = resolve_with(&rules(&["a:1", "b:1"]), &how, &upstream, LIMIT, |_| true).unwrap();
        assert_eq!(resolution.names.names().collect::<Vec<_>>(), ["a", "b"]);
        drop(upstream);
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[test]
    fn the_limit_ends_the_wait() {
        let upstream = upstream(|name| {
            std::thread::sleep(Duration::from_secs(if name == "slow" { 2 } else { 0 }));
            known(name)
        });
        let (rules, limit) = (rules(&["quick:80", "slow:80"]), Duration::from_millis(100));
        let started = Instant::now();
        let error = resolve_with(&rules, &NameRules::default(), &upstream, limit, |_| true).unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        assert_eq!(error.to_string(), r#"--net-allow "slow:80": the name slow did not resolve within 100ms"#);
    }

    #[test]
    fn a_name_without_a_route_is_named_with_its_rule() {
        let how = NameRules::default();
        let error = resolve_with(&rules(&["six:1"]), &how, &upstream(known), LIMIT, |_| false).unwrap_err();
        assert_eq!(error.to_string(), r#"--net-allow "six:1": this host has no route to any address of six"#);
    }

    #[test]
    fn a_name_that_may_fail_is_told_and_the_others_are_known() {
        let upstream =
            upstream(|name| if name == "bad" { Err(std::io::Error::other("no")) } else { known(name) });
        let how = NameRules { may_fail: true, ..NameRules::default() };
        let resolution = resolve_with(&rules(&["bad:1", "b:1"]), &how, &upstream, LIMIT, |_| true).unwrap();
        assert_eq!(resolution.names.names().collect::<Vec<_>>(), ["b"]);
        let told = Happening::NotRefreshed { name: "bad".into(), why: "no".into() };
        assert_eq!(resolution.happened, [told]);
    }
}
