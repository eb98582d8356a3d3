//! How much memory the run's segments of System V shared memory take, whether or not anybody has them mapped.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::lock::lock;

/// The numbers of the segments that were made and may still be there.
#[derive(Default)]
pub(crate) struct MemorySegments(Mutex<Vec<i32>>);

impl MemorySegments {
    /// Keeps one in sight.
    pub(crate) fn keep(&self, id: i32) {
        lock(&self.0).push(id);
    }

    /// The memory that they take, swapped or not; those that are gone are let go. Their numbers are told to `each`, as
    /// `/proc` shows them as inodes. `None` when that could not be told.
    pub(crate) fn bytes(&self, mut each: impl FnMut(u64)) -> Option<u64> {
        let mut ids = lock(&self.0);
        if ids.is_empty() {
            return Some(0);
        }
        let there = made_by(std::process::id() as i32, &std::fs::read_to_string("/proc/sysvipc/shm").ok()?)?;
        ids.retain(|id| there.contains_key(id));
        for id in ids.iter() {
            each(u64::try_from(*id).ok()?);
        }
        Some(ids.iter().filter_map(|id| there.get(id)).sum())
    }
}

/// The segments that a process made, and the bytes of each. `None` for what is no table of them.
fn made_by(maker: i32, table: &str) -> Option<HashMap<i32, u64>> {
    let mut lines = table.lines();
    let names: Vec<_> = lines.next()?.split_ascii_whitespace().collect();
    let column = |name: &str| names.iter().position(|one| *one == name);
    let (id, by, resident, swapped) = (column("shmid")?, column("cpid")?, column("rss")?, column("swap")?);
    let mut made = HashMap::new();
    for line in lines {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        let number = |at: usize| words.get(at)?.parse::<u64>().ok();
        if i32::try_from(number(by)?).ok()? == maker {
            made.insert(i32::try_from(number(id)?).ok()?, number(resident)?.saturating_add(number(swapped)?));
        }
    }
    Some(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str =
        "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      \
                         atime      dtime      ctime                   rss                  swap
         0          7  1600              67108864    42    43      2     0     0     0     0 1 0 1  8192  4096
         0          8  1600                  4096    41    43      1     0     0     0     0 1 0 1  4096     0
";

    #[test]
    fn the_own_ones_are_counted() {
        assert_eq!(made_by(42, TABLE), Some(HashMap::from([(7, 12288)])));
        assert_eq!(made_by(1, TABLE), Some(HashMap::new()));
        assert_eq!(made_by(42, ""), None);
        assert_eq!(made_by(42, "shmid cpid rss swap\n1 42 x 0\n"), None);
    }

    #[test]
    fn a_segment_is_seen_until_it_is_gone() {
        let segments = MemorySegments::default();
        assert_eq!(segments.bytes(|_| panic!("there is none")), Some(0));
        let segment = sandlock_sys::segment::Segment::make(1 << 20, 0).unwrap();
        segments.keep(segment.id());
        let mut ids = Vec::new();
        // It has no pages yet.
        assert_eq!(segments.bytes(|id| ids.push(id)), Some(0));
        assert_eq!(ids, [segment.id() as u64]);
        drop(segment);
        assert_eq!(segments.bytes(|id| ids.push(id)), Some(0));
        assert_eq!(ids.len(), 1);
    }
}
