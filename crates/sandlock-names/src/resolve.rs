//! Every name once, in parallel, within one limit of time.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use sandlock_policy::{NetRule, NetworkRules, Resolved, names_to_resolve};

use crate::ResolveError;
use crate::route::has_route;

const MOST_THREADS: usize = 64;

/// Resolves every name that `rules` mention, with the system's resolver, in `limit` at most.
///
/// Addresses are unique and canonical, and those that this host has no route for are left out. Names under a domain
/// (`*.example.com`) are not resolved. With no name, no thread is started and nothing is asked.
///
/// When it succeeds, all its threads were joined. When it fails, some may be left, waiting for the resolver:
/// the caller is expected to exit.
///
/// # Errors
/// [`ResolveError`]: of several names that fail, the one that the rules mention first.
pub fn resolve(rules: &NetworkRules, limit: Duration) -> Result<Resolved, ResolveError> {
    resolve_with(rules.iter(), limit, system_resolver, has_route)
}

fn system_resolver(name: &str) -> io::Result<Vec<IpAddr>> {
    Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

fn resolve_with<'a, R>(
    rules: impl IntoIterator<Item = &'a NetRule>,
    limit: Duration,
    resolver: R,
    has_route: impl Fn(IpAddr) -> bool,
) -> Result<Resolved, ResolveError>
where
    R: Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
{
    let names = names_to_resolve(rules);
    let mut resolved = Resolved::new();
    if names.is_empty() {
        return Ok(resolved);
    }
    let lookups = Lookups::start(names.iter().map(|(name, _)| name.clone()), resolver)?;
    let answers = lookups.finish(names.len(), limit);
    for ((name, rule), answer) in names.into_iter().zip(answers) {
        let rule = || Box::new(rule.clone());
        let addresses = match answer.map(some_address) {
            None => return Err(ResolveError::TimedOut { rule: rule(), name, limit }),
            Some(Err(source)) => return Err(ResolveError::Unresolved { rule: rule(), name, source }),
            Some(Ok(addresses)) => addresses,
        };
        let canonical = addresses.into_iter().map(|address| address.to_canonical());
        // An unspecified address is how a resolver says "nowhere", but a connection to it reaches loopback.
        let real = canonical.filter(|address| !address.is_unspecified());
        resolved.insert(name.as_str(), real.filter(|address| has_route(*address)));
        if resolved.addresses(&name).is_empty() {
            return Err(ResolveError::NoRoute { rule: rule(), name });
        }
    }
    Ok(resolved)
}

/// An answer without an address is no answer.
fn some_address(answer: Answer) -> Answer {
    match answer {
        Ok(addresses) if addresses.is_empty() => Err(io::Error::from(io::ErrorKind::NotFound)),
        answer => answer,
    }
}

type Answer = io::Result<Vec<IpAddr>>;
type Queue = Mutex<VecDeque<(usize, String)>>;

/// Threads that take names from a queue, and the answers that they send, each with the index of its name.
struct Lookups {
    queue: Arc<Queue>,
    answers: Receiver<(usize, Answer)>,
    threads: Vec<JoinHandle<()>>,
}

impl Lookups {
    fn start<R>(names: impl ExactSizeIterator<Item = String>, resolver: R) -> Result<Lookups, ResolveError>
    where
        R: Fn(&str) -> Answer + Send + Sync + 'static,
    {
        let wanted = names.len().min(MOST_THREADS);
        let queue = Arc::new(Mutex::new(names.enumerate().collect()));
        let resolver = Arc::new(resolver);
        let (sender, answers) = mpsc::channel();
        let mut threads = Vec::with_capacity(wanted);
        while threads.len() < wanted {
            let (queue, resolver, sender) = (Arc::clone(&queue), Arc::clone(&resolver), sender.clone());
            let work = move || answer_all(&queue, &*resolver, &sender);
            match Builder::new().name("resolve".to_owned()).spawn(work) {
                Ok(thread) => threads.push(thread),
                // Those that started answer the whole queue, only later.
                Err(_) if !threads.is_empty() => break,
                Err(error) => return Err(ResolveError::NoThread(error)),
            }
        }
        Ok(Lookups { queue, answers, threads })
    }

    /// The answers in the order of the names. When the time is over, what is missing is `None` and the threads are
    /// left alone; otherwise they have ended.
    fn finish(self, count: usize, limit: Duration) -> Vec<Option<Answer>> {
        let started = Instant::now();
        let mut found: Vec<Option<Answer>> = std::iter::repeat_with(|| None).take(count).collect();
        for _ in 0..count {
            match self.answers.recv_timeout(limit.saturating_sub(started.elapsed())) {
                Ok((index, answer)) => found[index] = Some(answer),
                Err(RecvTimeoutError::Timeout) => {
                    lock(&self.queue).clear();
                    return found;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        for thread in self.threads {
            // The queue is empty, so it ends now. A panic of it shows as a missing answer.
            let _ = thread.join();
        }
        found
    }
}

fn answer_all(queue: &Queue, resolver: &impl Fn(&str) -> Answer, sender: &Sender<(usize, Answer)>) {
    loop {
        let Some((index, name)) = lock(queue).pop_front() else {
            return;
        };
        if sender.send((index, resolver(&name))).is_err() {
            return;
        }
    }
}

fn lock(queue: &Queue) -> std::sync::MutexGuard<'_, VecDeque<(usize, String)>> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_unspecified_answer_is_never_taken_for_loopback() {
        let rules = ["blocked.example:80".parse().unwrap()];
        let nowhere = |_: &str| Ok(vec!["0.0.0.0".parse().unwrap(), "::".parse().unwrap()]);
        let refused = resolve_with(&rules, Duration::from_secs(5), nowhere, |_| true);
        assert!(matches!(refused, Err(ResolveError::NoRoute { .. })));
    }

    use std::error::Error;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread::sleep;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn rules(specs: &[&str]) -> Vec<NetRule> {
        specs.iter().map(|spec| spec.parse().unwrap()).collect()
    }

    fn wanted(specs: &[&str]) -> NetworkRules {
        NetworkRules { allow: rules(specs), deny: Vec::new() }
    }

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn localhost_resolves_to_loopback() {
        let resolved = resolve(&wanted(&["localhost:80", "udp://LOCALHOST:53"]), LIMIT).unwrap();
        assert_eq!(resolved.names().collect::<Vec<_>>(), ["localhost"]);
        let found = resolved.addresses("localhost");
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
    }

    #[test]
    fn a_name_that_does_not_resolve_is_named_with_its_rule() {
        let error = resolve(&wanted(&["localhost:80", "NoSuch.invalid: 443"]), LIMIT).unwrap_err();
        let text = r#"--net-allow "NoSuch.invalid: 443": the name nosuch.invalid does not resolve"#;
        assert_eq!(error.to_string(), text);
        assert!(error.source().is_some());
    }

    #[test]
    fn without_names_nothing_is_asked() {
        let resolver = |_: &str| panic!("asked");
        let rules = rules(&["1.2.3.4:80", ":443", "*.example.com:443", "icmp://[::1]"]);
        let resolved = resolve_with(&rules, Duration::ZERO, resolver, |_| panic!("asked")).unwrap();
        assert_eq!(resolved, Resolved::new());
    }

    #[test]
    fn names_are_resolved_at_the_same_time() {
        let specs: Vec<_> = (0..10).map(|index| format!("n{index}:80")).collect();
        let resolver = |_: &str| {
            sleep(Duration::from_millis(200));
            Ok(addresses(&["10.0.0.1"]))
        };
        let started = Instant::now();
        let rules = rules(&specs.iter().map(String::as_str).collect::<Vec<_>>());
        let resolved = resolve_with(&rules, LIMIT, resolver, |_| true).unwrap();
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        assert_eq!(resolved.names().count(), 10);
    }

    #[test]
    fn many_names_share_the_threads() {
        static NOW: AtomicUsize = AtomicUsize::new(0);
        static MOST: AtomicUsize = AtomicUsize::new(0);
        let resolver = |_: &str| {
            MOST.fetch_max(NOW.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            sleep(Duration::from_millis(5));
            NOW.fetch_sub(1, Ordering::SeqCst);
            Ok(addresses(&["10.0.0.1"]))
        };
        let specs: Vec<_> = (0..200).map(|index| format!("n{index}:80")).collect();
        let rules = rules(&specs.iter().map(String::as_str).collect::<Vec<_>>());
        let resolved = resolve_with(&rules, LIMIT, resolver, |_| true).unwrap();
        assert_eq!(resolved.names().count(), 200);
        assert!(MOST.load(Ordering::SeqCst) <= MOST_THREADS);
    }

    #[test]
    fn success_leaves_no_thread() {
        let alive = Arc::new(());
        let held = Arc::clone(&alive);
        let resolver = move |_: &str| {
            let _ = &held;
            Ok(addresses(&["10.0.0.1"]))
        };
        resolve_with(&rules(&["a:1", "b:1"]), LIMIT, resolver, |_| true).unwrap();
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[test]
    fn the_limit_ends_the_wait() {
        let resolver = |name: &str| {
            sleep(Duration::from_secs(if name == "slow" { 30 } else { 0 }));
            Ok(addresses(&["10.0.0.1"]))
        };
        let started = Instant::now();
        let rules = rules(&["quick:80", "slow:80"]);
        let error = resolve_with(&rules, Duration::from_millis(100), resolver, |_| true).unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
        assert_eq!(error.to_string(), r#"--net-allow "slow:80": the name slow did not resolve within 100ms"#);
    }

    #[test]
    fn of_several_failures_the_first_rule_is_told() {
        let resolver = |name: &str| {
            sleep(Duration::from_millis(if name == "a" { 50 } else { 0 }));
            Err(io::Error::other("no"))
        };
        let error = resolve_with(&rules(&["a:1", "b:1"]), LIMIT, resolver, |_| true).unwrap_err();
        assert!(matches!(error, ResolveError::Unresolved { name, .. } if name == "a"));
    }

    #[test]
    fn an_answer_without_addresses_does_not_resolve() {
        let error = resolve_with(&rules(&["a:1"]), LIMIT, |_: &str| Ok(Vec::new()), |_| true).unwrap_err();
        assert!(matches!(error, ResolveError::Unresolved { .. }), "{error}");
    }

    #[test]
    fn addresses_are_unique_and_ipv4_when_mapped() {
        let resolver = |_: &str| Ok(addresses(&["::ffff:10.0.0.1", "::1", "10.0.0.1", "::1"]));
        let resolved = resolve_with(&rules(&["a:1"]), LIMIT, resolver, |_| true).unwrap();
        assert_eq!(resolved.addresses("a"), addresses(&["10.0.0.1", "::1"]));
    }

    #[test]
    fn addresses_without_a_route_are_left_out() {
        let resolver = |name: &str| match name {
            "both" => Ok(addresses(&["2001:db8::1", "10.0.0.1"])),
            _ => Ok(addresses(&["2001:db8::1"])),
        };
        let resolved =
            resolve_with(&rules(&["both:1"]), LIMIT, resolver, |address| address.is_ipv4()).unwrap();
        assert_eq!(resolved.addresses("both"), addresses(&["10.0.0.1"]));
        let error =
            resolve_with(&rules(&["six:1"]), LIMIT, resolver, |address| address.is_ipv4()).unwrap_err();
        assert_eq!(error.to_string(), r#"--net-allow "six:1": this host has no route to any address of six"#);
    }
}
