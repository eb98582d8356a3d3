//! The system call table, its compiler to seccomp BPF, and an interpreter of the result.
