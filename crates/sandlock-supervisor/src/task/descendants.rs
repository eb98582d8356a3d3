//! Who is below a process, by the kernel's lists of children: that costs what the tree costs, however many other
//! processes the machine has.
//!
//! proc(5): such a list may leave out children that are there when others are reaped while it is read. And a tree changes
//! while one walks down: whose parent ends becomes the child of one that was looked at before. A look at every process of
//! the machine has the same gap: a parent is gone by the time that its number is come to. So no single look proves that
//! nobody else is there. Two that show the same come close, since whoever is left out of a list is left out because one
//! that was shown is gone, and the next look shows that. Who must *know* asks the kernel in another way.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use super::tree::parent_of;

/// All processes below one, parents before their children. The looks are repeated until two show the same, or until
/// several have been taken of a tree that does not rest: then all that they showed.
pub(super) fn settled(root: i32) -> Vec<i32> {
    repeated(|| look(root, &[]))
}

/// One look: the processes below one, but for those children of it that `spared` names, and what is below these.
pub(super) fn look(root: i32, spared: &[i32]) -> Vec<i32> {
    walk(root, spared).unwrap_or_else(|| scan(root, spared))
}

/// The children of the thread that calls; `None` without CONFIG_PROC_CHILDREN.
pub(super) fn of_this_thread() -> Option<Vec<i32>> {
    list("/proc/thread-self/children")?;
    Some(repeated(|| list("/proc/thread-self/children").unwrap_or_default()))
}

/// As [`look`], by the parent of every process of the machine: no list is relied on.
pub(super) fn scan(root: i32, spared: &[i32]) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for pid in numbers_in("/proc") {
        if let Some(parent) = parent_of(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    down(root, spared, |parent| children.remove(&parent).unwrap_or_default())
}

/// The names in a directory of `/proc` that are numbers.
pub(super) fn numbers_in(directory: &str) -> Vec<i32> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// `None` without CONFIG_PROC_CHILDREN.
fn walk(root: i32, spared: &[i32]) -> Option<Vec<i32>> {
    let mut first = Some(children_of(root)?);
    Some(down(root, spared, |parent| first.take().or_else(|| children_of(parent)).unwrap_or_default()))
}

/// A child is in the list of the thread that made it or adopted it. `None` when no thread has one.
fn children_of(process: i32) -> Option<Vec<i32>> {
    let threads = numbers_in(&format!("/proc/{process}/task")).into_iter();
    threads
        .filter_map(|thread| list(&format!("/proc/{process}/task/{thread}/children")))
        .reduce(|all, more| [all, more].concat())
}

fn list(path: &str) -> Option<Vec<i32>> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}

fn down(root: i32, spared: &[i32], mut children_of: impl FnMut(i32) -> Vec<i32>) -> Vec<i32> {
    // One that was adopted meanwhile is met twice.
    let mut met: HashSet<i32> = spared.iter().copied().collect();
    let mut found = Vec::new();
    let mut next = vec![root];
    while let Some(parent) = next.pop() {
        for child in children_of(parent) {
            if met.insert(child) {
                found.push(child);
                next.push(child);
            }
        }
    }
    found
}

fn repeated(mut look: impl FnMut() -> Vec<i32>) -> Vec<i32> {
    let mut last = look();
    let mut all = last.clone();
    let settled = (1..MOST_LOOKS).try_for_each(|_| {
        let now = look();
        if now == last {
            return ControlFlow::Break(now);
        }
        all.extend_from_slice(&now);
        last = now;
        ControlFlow::Continue(())
    });
    match settled {
        ControlFlow::Break(now) => now,
        ControlFlow::Continue(()) => {
            let mut met = HashSet::new();
            all.retain(|pid| met.insert(*pid));
            all
        }
    }
}

const MOST_LOOKS: usize = 4;

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    struct Waiting(Child);

    impl Waiting {
        /// One that waits and its own child, which does too.
        fn start() -> Waiting {
            let line = "cat <&3 & exec cat";
            let mut command = Command::new("sh");
            command.args(["-c", &format!("exec 3<&0; {line}")]).stdin(Stdio::piped()).stdout(Stdio::null());
            Waiting(command.spawn().unwrap())
        }

        fn pid(&self) -> i32 {
            self.0.id() as i32
        }
    }

    impl Drop for Waiting {
        fn drop(&mut self) {
            // Its input ends, and with it both.
            let _ = self.0.stdin.take();
            let _ = self.0.wait();
        }
    }

    fn this() -> i32 {
        std::process::id() as i32
    }

    fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
        for _ in 0..10_000 {
            if let Some(found) = look() {
                return found;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        panic!("it does not come");
    }

    #[test]
    fn lists_of_children_show_what_a_look_at_every_process_shows() {
        // Made by another thread than the one that looks.
        let waiting = std::thread::spawn(Waiting::start);
        let waiting = waiting.join().unwrap();
        let grandchild = wait_for(|| look(waiting.pid(), &[]).first().copied());
        for found in [look(this(), &[]), scan(this(), &[]), settled(this())] {
            let at = |pid| found.iter().position(|found| *found == pid);
            assert!(at(waiting.pid()).unwrap() < at(grandchild).unwrap(), "{found:?}");
        }
        for found in [look(this(), &[waiting.pid()]), scan(this(), &[waiting.pid()])] {
            assert!(!found.contains(&waiting.pid()) && !found.contains(&grandchild), "{found:?}");
        }
        assert_eq!(walk(waiting.pid(), &[]), Some(vec![grandchild]));
    }

    #[test]
    fn those_who_stay_are_shown_while_others_end() {
        // In one list, each behind one that goes.
        let (going, staying): (Vec<_>, Vec<_>) =
            (0..20).map(|_| (Waiting::start(), Waiting::start())).unzip();
        let all_gone = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !all_gone.load(Ordering::Relaxed) {
                    let found = settled(this());
                    assert!(staying.iter().all(|waiting| found.contains(&waiting.pid())), "{found:?}");
                }
            });
            drop(going);
            all_gone.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn looks_are_repeated_until_two_show_the_same() {
        let shown = |looks: &[&[i32]]| {
            let mut looks = looks.iter();
            repeated(|| looks.next().unwrap().to_vec())
        };
        assert_eq!(shown(&[&[1, 2], &[1, 2]]), [1, 2]);
        assert_eq!(shown(&[&[1, 2], &[1, 2, 3], &[1, 3], &[1, 3]]), [1, 3]);
        assert_eq!(shown(&[&[1, 2], &[1, 3], &[1, 4], &[1, 5]]), [1, 2, 3, 4, 5]);
    }
}
