//! Network rules for a part of the processes of a run.

use serde::{Deserialize, Serialize};

use crate::NetworkRules;

/// Network rules for whatever descends from the execution of one program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessRules {
    /// The program: a name that is looked for in the command's `PATH`, or an absolute path.
    pub exec: String,
    /// Whether the rules hold for what the program executes as well, until that has rules of its own; else they end at
    /// the next execution.
    #[serde(default = "yes")]
    pub tree: bool,
    /// What is granted and refused besides what is to the whole run.
    #[serde(default)]
    pub network: NetworkRules,
}

impl ProcessRules {
    /// Whether `exec` is written as it can be.
    #[must_use]
    pub fn names_a_program(exec: &str) -> bool {
        exec.starts_with('/') || !(exec.is_empty() || exec.contains('/'))
    }

    /// Each rule, as a flag of the command line.
    pub fn written(&self) -> impl Iterator<Item = String> + '_ {
        let flag = if self.tree { "--for" } else { "--for-only" };
        let allowed = self.network.allow.iter().map(move |rule| format!("{flag} {}={rule}", self.exec));
        allowed.chain(self.network.deny.iter().map(|rule| format!("--for-deny {}={rule}", self.exec)))
    }

    /// Adds rules to those that are there for the same program.
    pub fn add_to(self, all: &mut Vec<ProcessRules>) {
        match all.iter_mut().find(|one| one.exec == self.exec && one.tree == self.tree) {
            Some(one) => {
                one.network.allow.extend(self.network.allow);
                one.network.deny.extend(self.network.deny);
            }
            None => all.push(self),
        }
    }
}

/// Whose rules a process has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tree {
    /// Those of the run alone.
    #[default]
    Run,
    /// And those of this tree, by its place in the policy.
    Of(usize),
    /// It cannot be told: it has what is granted to the run, and what is refused to any tree is refused to it.
    Unknown,
}

fn yes() -> bool {
    true
}
