//! The budget for everything, as the options or the system have it.

use std::path::Path;
use std::sync::Arc;

use log::{info, warn};

use super::{PAGE_SIZE, Refusal, cgroup, resident};
use crate::config::{Config, EX_USAGE};
use crate::memory::{Pool, Total};
use crate::runtime::RECEIVE_BUFFERS_SIZE;

/// Of a control group's limit, what is left to the kernel: buffers of sockets and tables of pages count there, too.
const KERNEL_PART: u64 = 16;

/// The memory that everything lives in; says in one line where `-m` has to be less than was asked for.
pub(super) fn pool(config: &Config) -> Result<Arc<Pool>, Refusal> {
    // Its file is opened now: what the server holds open does not change later.
    resident::resident();
    resident::be_frugal();
    let total = total(config)?;
    let mut pool = Pool::within(total, config.memory_limit, PAGE_SIZE).with_measure(resident::resident);
    if config.large_pages {
        pool = pool.with_large_pages();
        say_whether_granted();
    }
    if let Some(total) = total {
        let mebibytes = |bytes: u64| bytes >> 20;
        let items = pool.parts().items_limit;
        let limit = mebibytes(total.bytes);
        if items < config.memory_limit / PAGE_SIZE as u64 * PAGE_SIZE as u64 {
            warn!(
                "-m {}: does not fit a total of {limit} MB: items get {} MB, less what tables and connections take",
                mebibytes(config.memory_limit),
                mebibytes(items)
            );
        }
        info!("at most {limit} MB of memory in all");
    }
    Ok(Arc::new(pool))
}

/// Whether the system gives large pages to those who ask.
fn say_whether_granted() {
    let switch = "/sys/kernel/mm/transparent_hugepage/enabled";
    match std::fs::read_to_string(switch) {
        Ok(text) if !text.contains("[never]") => info!("-L: large pages are granted"),
        Ok(_) => warn!("-L has no effect: the system gives no large pages ({switch} says never)"),
        Err(error) => warn!("-L has no effect: {switch}: {error}"),
    }
}

fn total(config: &Config) -> Result<Option<Total>, Refusal> {
    let of = |bytes| Total::new(bytes, config.threads, RECEIVE_BUFFERS_SIZE);
    match config.total_memory {
        Some(0) => Ok(None),
        Some(bytes) => of(bytes).map(Some).map_err(|needed| Refusal {
            message: format!(
                "--max-total-memory {}: {} threads need {} MB at the least: fewer threads (-t) need less",
                bytes >> 20,
                config.threads,
                needed.div_ceil(1 << 20)
            ),
            code: EX_USAGE as u8,
        }),
        None => Ok(cgroup::limit(Path::new("/")).and_then(|limit| {
            let total = of(limit - limit / KERNEL_PART);
            if total.is_err() {
                warn!(
                    "the control group allows {} MB, too little to be kept to: see --max-total-memory",
                    limit >> 20
                );
            }
            total.ok()
        })),
    }
}
