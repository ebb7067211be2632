//! The devices of the tests: opened once, and several of each sort, because a software driver compiles and runs all that one
//! device is told in a single thread. A test has the devices of one lane for as long as it runs, the one that the fewest have.

use crate::gpu::Gpu;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

const LANES: usize = 2;

/// Tests in each lane.
static TAKEN: Mutex<[usize; LANES]> = Mutex::new([0; LANES]);

fn taken() -> MutexGuard<'static, [usize; LANES]> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A thread's place in a lane, given back when the thread ends; each test has a thread of its own.
struct Place(usize);

impl Place {
    fn take() -> Self {
        let mut taken = taken();
        let lane = (0..LANES).min_by_key(|&lane| taken[lane]).unwrap_or(0);
        taken[lane] += 1;
        Self(lane)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        taken()[self.0] -= 1;
    }
}

/// The lane of the test that asks.
pub(crate) fn lane() -> usize {
    thread_local!(static PLACE: Place = Place::take());
    PLACE.with(|place| place.0)
}

type Lanes = [OnceLock<Gpu>; LANES];

fn opened(lanes: &'static Lanes, open: impl FnOnce() -> crate::Result<Gpu>) -> &'static Gpu {
    lanes[lane()].get_or_init(|| open().unwrap_or_else(|error| panic!("{error}")))
}

/// A device with WebGPU's default limits and no optional feature.
pub(crate) fn default_limits() -> &'static Gpu {
    static LIMITED: Lanes = [const { OnceLock::new() }; LANES];
    opened(&LIMITED, || Gpu::open_with_limits_blocking(None, wgpu::Limits::default()))
}

/// A device with all that the adapter offers.
pub(crate) fn all_limits() -> &'static Gpu {
    static WHOLE: Lanes = [const { OnceLock::new() }; LANES];
    opened(&WHOLE, || Gpu::open_blocking(None))
}
