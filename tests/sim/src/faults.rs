//! What goes wrong, and how often.

/// Chances are per simulated step of one millisecond, in parts per million; 0 is never.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// A connection (any link) breaks.
    pub cut_ppm: u32,
    /// The gateway loses power.
    pub crash_ppm: u32,
    /// The local broker forgets the gateway's session when it breaks.
    pub forget_session_ppm: u32,
    /// A sync fails.
    pub sync_error_ppm: u32,
    /// A write or create fails for lack of space, for a while.
    pub disk_full_ppm: u32,
    /// The wall clock jumps by up to a day, either way.
    pub clock_jump_ppm: u32,
    /// A cloud acknowledgement gets lost although its message arrived (the connection then breaks).
    pub lost_ack_ppm: u32,
    /// Longest time a link stays down.
    pub outage_max_ms: u64,
    /// Longest time a sync takes.
    pub sync_max_ms: u64,
}

impl Faults {
    /// A quiet day.
    pub const NONE: Self = Self {
        cut_ppm: 0,
        crash_ppm: 0,
        forget_session_ppm: 0,
        sync_error_ppm: 0,
        disk_full_ppm: 0,
        clock_jump_ppm: 0,
        lost_ack_ppm: 0,
        outage_max_ms: 1,
        sync_max_ms: 2,
    };

    /// A mix drawn for one seed: each kind is absent, rare or frequent.
    pub fn draw(rng: &mut fastrand::Rng) -> Self {
        let mut level = |most: u32| match rng.u32(0..3) {
            0 => 0,
            1 => most / 10,
            _ => most,
        };
        Self {
            cut_ppm: level(3000),
            crash_ppm: level(1500),
            forget_session_ppm: level(300_000),
            sync_error_ppm: level(20_000),
            disk_full_ppm: level(300),
            clock_jump_ppm: level(1000),
            lost_ack_ppm: level(3000),
            outage_max_ms: u64::from(level(2000)) + 1,
            sync_max_ms: u64::from(level(40)) + 1,
        }
    }
}

/// Whether something with this chance happens now.
pub fn strikes(rng: &mut fastrand::Rng, ppm: u32) -> bool {
    ppm > 0 && rng.u32(0..1_000_000) < ppm
}
