//! What goes wrong, and how often.

/// Mean times between events are in simulated milliseconds, 0 is never; chances are in parts per million.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// A connection (any link) breaks.
    pub cut_mean_ms: u64,
    /// A break is noticed only after a while: what is sent meanwhile is lost.
    pub half_open_ppm: u32,
    /// The gateway loses power.
    pub power_cut_mean_ms: u64,
    /// The gateway is killed; what it wrote stays in the page cache.
    pub kill_mean_ms: u64,
    /// The gateway is stopped and started with another version of the function.
    pub deploy_mean_ms: u64,
    /// Someone pushes another version of the function, or signs a command about it.
    pub push_mean_ms: u64,
    /// The clock has no battery: it begins in 1970, until the network tells the time.
    pub no_rtc: bool,
    /// The local broker forgets the gateway's session when the connection breaks.
    pub forget_session_ppm: u32,
    /// A sync fails.
    pub sync_error_ppm: u32,
    /// Some call of the disk fails.
    pub disk_error_mean_ms: u64,
    /// The disk has no room left for a while: something else filled it.
    pub disk_full_mean_ms: u64,
    /// The disk loses what was durable. Nothing does that by itself here: a test calls for it.
    pub loses_durable: bool,
    /// The wall clock jumps by up to a day, either way.
    pub clock_jump_mean_ms: u64,
    /// A cloud's answer gets lost although the message arrived (the connection then breaks).
    pub lost_answer_ppm: u32,
    /// A cloud's answer comes twice.
    pub double_answer_ppm: u32,
    /// A cloud refuses an output for good.
    pub refuse_ppm: u32,
    /// Sensors send all they sent last once more.
    pub duplicates_mean_ms: u64,
    /// Longest time a link stays down.
    pub outage_max_ms: u64,
    /// Longest time a sync takes.
    pub sync_max_ms: u64,
    /// Longest time a publish is on its way to a cloud, and as long again for its answer.
    pub latency_max_ms: u64,
}

impl Faults {
    /// A quiet day.
    pub const NONE: Self = Self {
        cut_mean_ms: 0,
        half_open_ppm: 0,
        power_cut_mean_ms: 0,
        kill_mean_ms: 0,
        deploy_mean_ms: 0,
        push_mean_ms: 0,
        no_rtc: false,
        forget_session_ppm: 0,
        sync_error_ppm: 0,
        disk_error_mean_ms: 0,
        disk_full_mean_ms: 0,
        loses_durable: false,
        clock_jump_mean_ms: 0,
        lost_answer_ppm: 0,
        double_answer_ppm: 0,
        refuse_ppm: 0,
        duplicates_mean_ms: 0,
        outage_max_ms: 1,
        sync_max_ms: 2,
        latency_max_ms: 2,
    };

    /// Everything at once, every few minutes, but nothing that a gateway may answer by dropping something.
    pub const CHAOS: Self = Self {
        cut_mean_ms: 120_000,
        half_open_ppm: 300_000,
        power_cut_mean_ms: 600_000,
        kill_mean_ms: 600_000,
        deploy_mean_ms: 1_800_000,
        push_mean_ms: 0,
        no_rtc: true,
        forget_session_ppm: 20_000,
        sync_error_ppm: 1_000,
        disk_error_mean_ms: 600_000,
        disk_full_mean_ms: 1_800_000,
        loses_durable: false,
        clock_jump_mean_ms: 900_000,
        lost_answer_ppm: 300,
        double_answer_ppm: 10_000,
        refuse_ppm: 0,
        duplicates_mean_ms: 1_800_000,
        outage_max_ms: 300_000,
        sync_max_ms: 20,
        latency_max_ms: 300,
    };

    /// A mix drawn for one seed: each kind is absent, rare or frequent.
    pub fn draw(rng: &mut fastrand::Rng) -> Self {
        fn level(rng: &mut fastrand::Rng, most: u32) -> u32 {
            [0, most / 10, most][rng.usize(0..3)]
        }
        fn mean_ms(rng: &mut fastrand::Rng, least: u64) -> u64 {
            [0, least * 10, least][rng.usize(0..3)]
        }
        Self {
            cut_mean_ms: mean_ms(rng, 10_000),
            half_open_ppm: level(rng, 300_000),
            power_cut_mean_ms: mean_ms(rng, 20_000),
            kill_mean_ms: mean_ms(rng, 30_000),
            deploy_mean_ms: mean_ms(rng, 60_000),
            push_mean_ms: 0,
            no_rtc: rng.bool(),
            forget_session_ppm: level(rng, 300_000),
            sync_error_ppm: level(rng, 20_000),
            disk_error_mean_ms: mean_ms(rng, 30_000),
            disk_full_mean_ms: mean_ms(rng, 60_000),
            loses_durable: false,
            clock_jump_mean_ms: mean_ms(rng, 30_000),
            lost_answer_ppm: level(rng, 3_000),
            double_answer_ppm: level(rng, 50_000),
            refuse_ppm: [0, 0, 1_000][rng.usize(0..3)],
            duplicates_mean_ms: mean_ms(rng, 60_000),
            outage_max_ms: [100, 5_000, 300_000][rng.usize(0..3)],
            sync_max_ms: u64::from(level(rng, 40)) + 1,
            latency_max_ms: [2, 50, 3_000][rng.usize(0..3)],
        }
    }
}

/// True with a chance of `ppm` parts per million.
pub fn strikes(rng: &mut fastrand::Rng, ppm: u32) -> bool {
    ppm > 0 && rng.u32(0..1_000_000) < ppm
}

/// When one kind of event happens next. Each has random numbers of its own: without one kind the others stay as they are.
#[derive(Clone, Debug)]
pub struct Schedule {
    rng: fastrand::Rng,
    mean_ms: u64,
    next_ms: u64,
}

impl Schedule {
    /// From `now_ms` on, every `mean_ms` on average; 0 is never.
    pub fn new(seed: u64, kind: u64, now_ms: u64, mean_ms: u64) -> Self {
        let rng = fastrand::Rng::with_seed(seed ^ (kind << 48));
        let mut schedule = Self { rng, mean_ms, next_ms: u64::MAX };
        schedule.draw(now_ms);
        schedule
    }

    fn draw(&mut self, now_ms: u64) {
        if self.mean_ms > 0 {
            // Memoryless, as faults are.
            let gap = -(1.0 - self.rng.f64()).ln() * self.mean_ms as f64;
            self.next_ms = now_ms + (gap as u64).max(1);
        }
    }

    /// When to look again; `u64::MAX` for never.
    pub fn next_ms(&self) -> u64 {
        self.next_ms
    }

    /// Whether it happens now; the next time is then drawn.
    pub fn is_due(&mut self, now_ms: u64) -> bool {
        let due = now_ms >= self.next_ms;
        if due {
            self.draw(now_ms);
        }
        due
    }
}
