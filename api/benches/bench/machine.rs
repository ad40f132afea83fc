//! What the figures were taken on.

use std::io::{Seek, Write};
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use crate::engine::scratch;

/// The machine, and the programs that every engine shares.
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    memory_mib: u64,
    kernel: String,
    /// What one forced write costs: the floor beneath every durable commit.
    fdatasync_us: f64,
    credence: String,
    rustc: String,
}

impl Machine {
    pub(crate) fn look() -> Machine {
        Machine {
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: kib("/proc/meminfo", "MemTotal").unwrap_or(0) / 1024,
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            fdatasync_us: forced_write_us(),
            credence: told_by(Command::new(env!("CARGO_BIN_EXE_credence")).arg("version")),
            rustc: told_by(Command::new("rustc").arg("--version")),
        }
    }

    pub(crate) fn print(&self) {
        let Machine { processor, cores, memory_mib, kernel, fdatasync_us, credence, rustc } = self;
        println!("{processor}, {cores} cores, {memory_mib} MiB, Linux {kernel}; {credence}, {rustc}");
        println!("a forced write of 4 KiB takes {fdatasync_us:.0} µs (median of 200)");
    }

    pub(crate) fn json(&self) -> Value {
        let Machine { processor, cores, memory_mib, kernel, fdatasync_us, credence, rustc } = self;
        json!({
            "processor": processor, "cores": cores, "memory_mib": memory_mib, "kernel": kernel, "fdatasync_us": fdatasync_us,
            "credence": credence, "rustc": rustc,
        })
    }
}

/// A field of one of the kernel's lists, such as `MemTotal: 16 kB`.
fn field(path: &str, name: &str) -> Option<String> {
    let list = std::fs::read_to_string(path).ok()?;
    list.lines().find_map(|line| Some(line.strip_prefix(name)?.trim_start().strip_prefix(':')?.trim().to_owned()))
}

/// A field that is an amount of memory.
pub(crate) fn kib(path: &str, name: &str) -> Option<u64> {
    field(path, name)?.split_whitespace().next()?.parse().ok()
}

fn told_by(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}

fn forced_write_us() -> f64 {
    let mut file = tempfile::tempfile_in(scratch()).unwrap();
    file.write_all(&[0; 4096]).unwrap();
    let times = (0..200).map(|_| {
        let start = Instant::now();
        file.rewind().unwrap();
        file.write_all(&[1; 4096]).unwrap();
        file.sync_data().unwrap();
        start.elapsed().as_secs_f64() * 1e6
    });
    crate::report::median(times.collect::<Vec<_>>()).expect("there are some")
}
