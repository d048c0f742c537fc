//! How far an instance may grow.

use eyot_wire::manifest::Limits;
use wasmi::ResourceLimiter;
use wasmi_core::LimiterError;

use crate::limits::{TABLES_MAX, TABLE_ELEMENTS_MAX};

/// Answers wasmi whenever an instance wants more memory, and remembers whether it was refused.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    memory_max_bytes: usize,
    /// A growth was refused since this was last cleared: what traps now, traps for want of memory.
    pub(crate) refused: bool,
}

impl Growth {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { memory_max_bytes: usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX), refused: false }
    }
}

impl ResourceLimiter for Growth {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool, LimiterError> {
        let allowed = desired <= self.memory_max_bytes;
        self.refused |= !allowed;
        Ok(allowed)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool, LimiterError> {
        Ok(desired as u64 <= TABLE_ELEMENTS_MAX)
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        TABLES_MAX as usize
    }

    fn memories(&self) -> usize {
        1
    }
}
