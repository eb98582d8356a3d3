//! Process numbers of a namespace of the run's own, as the launcher knows them.

/// The number outside of a process that is `inside` in the namespace of the supervisor's making, if it is its child.
pub(crate) fn outside(supervisor: i32, inside: i32) -> Option<i32> {
    let children = std::fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children")).ok()?;
    let mut numbers = children.split_ascii_whitespace().filter_map(|number| number.parse::<i32>().ok());
    numbers.find(|number| innermost(*number) == Some(inside))
}

fn innermost(number: i32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{number}/status")).ok()?;
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    numbers.split_ascii_whitespace().last()?.parse().ok()
}
