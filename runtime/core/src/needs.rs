//! What functions may come to need of log and processor, added up against what there is.

use eyot_engine::Function;
use eyot_wire::manifest::Manifest;

/// Each segment of the log begins with the state of all functions: no more of it than this part of the quota.
const STATE_PARTS: u64 = 8;

/// What one function may need.
#[derive(Clone, Copy, Debug)]
pub struct Need<'a> {
    /// Its manifest.
    pub manifest: &'a Manifest,
    /// Most bytes it can come to remember in the log; none of a reducer, whose state is in memory only.
    pub state_bytes: u64,
    /// Fuel with which it starts anew after a message that failed.
    pub start_fuel: u64,
}

impl<'a> Need<'a> {
    /// Of a function that is no reducer.
    pub fn of(function: &'a Function) -> Self {
        Self {
            manifest: function.manifest(),
            state_bytes: function.state_max_bytes(),
            start_fuel: function.start_fuel(),
        }
    }

    /// Messages in an hour that its triggers expect; or one that does not say how many.
    fn messages_per_h(&self) -> Result<u128, &'a str> {
        let rates = self.manifest.triggers.iter();
        rates.map(|trigger| trigger.rate.map(|rate| u128::from(rate.per_h)).ok_or(trigger.mqtt.as_str())).sum()
    }

    /// Fuel for so many messages, in a second: after a message that fails the function starts anew.
    fn fuel_for(&self, messages_per_h: u128) -> u128 {
        ((u128::from(self.manifest.limits.fuel) + u128::from(self.start_fuel)) * messages_per_h).div_ceil(3600)
    }

    /// Fuel in a second that it may come to; none if a trigger does not say how many messages it expects.
    pub fn fuel_per_s(&self) -> Option<u128> {
        self.messages_per_h().ok().map(|messages_per_h| self.fuel_for(messages_per_h))
    }
}

/// What all functions so far come to.
#[derive(Clone, Debug)]
pub struct Needs {
    spool_max_bytes: u64,
    fuel_budget_per_s: Option<u64>,
    state_bytes: u64,
    fuel_per_s: u128,
}

impl Needs {
    /// Of no function yet, under these limits: the log's quota, and `[run] fuel_budget`, if there is one.
    pub fn new(spool_max_bytes: u64, fuel_budget_per_s: Option<u64>) -> Self {
        Self { spool_max_bytes, fuel_budget_per_s, state_bytes: 0, fuel_per_s: 0 }
    }

    /// Of functions that come to this.
    pub fn with(self, state_bytes: u64, fuel_per_s: u128) -> Self {
        Self { state_bytes, fuel_per_s, ..self }
    }

    /// Bytes of state that all of them may come to keep.
    pub fn state_bytes(&self) -> u64 {
        self.state_bytes
    }

    /// Most of them that the log takes.
    pub fn state_max_bytes(&self) -> u64 {
        self.spool_max_bytes / STATE_PARTS
    }

    /// Fuel in a second that all of them may come to, as far as there is a budget.
    pub fn fuel_per_s(&self) -> u128 {
        self.fuel_per_s
    }

    /// Adds a function.
    ///
    /// # Errors
    /// It is too much with what was added before: reason and remedy, to be read behind the function's name. It is added
    /// nevertheless.
    pub fn add(&mut self, need: &Need<'_>) -> Result<(), String> {
        self.add_state(need.state_bytes)?;
        self.fuel_budget_per_s.map_or(Ok(()), |budget| self.add_fuel(need, budget))
    }

    fn add_state(&mut self, bytes: u64) -> Result<(), String> {
        let of_others = self.state_bytes;
        self.state_bytes = of_others.saturating_add(bytes);
        let (all, allowed) = (self.state_bytes, self.state_max_bytes());
        if bytes == 0 || all <= allowed {
            return Ok(());
        }
        let needed = all.saturating_mul(STATE_PARTS).div_ceil(1 << 20);
        Err(format!(
            "may keep {bytes} bytes of state, which makes {all} with the {of_others} of other functions; the log takes \
             {allowed}, an eighth of [spool] max_bytes: raise that to \"{needed}MiB\", or lower [limits] state in a \
             function.toml"
        ))
    }

    fn add_fuel(&mut self, need: &Need<'_>, budget: u64) -> Result<(), String> {
        let Need { manifest, start_fuel, .. } = *need;
        let messages_per_h = need.messages_per_h().map_err(|trigger| {
            format!(
                "does not say how many messages its trigger \"{trigger}\" expects, and [run] fuel_budget is set; write for \
                 example rate = \"10/s\" there in its function.toml"
            )
        })?;
        let (fuel, fuel_per_s) = (manifest.limits.fuel, need.fuel_for(messages_per_h));
        let of_others = self.fuel_per_s;
        self.fuel_per_s += fuel_per_s;
        let all = self.fuel_per_s;
        if fuel_per_s == 0 || all <= u128::from(budget) {
            return Ok(());
        }
        Err(format!(
            "may use {fuel} fuel, and {start_fuel} to start anew, for each of {messages_per_h} messages in an hour: \
             {fuel_per_s} in a second, which makes {all} with the {of_others} of other functions; [run] fuel_budget is \
             {budget}: raise it, or lower [limits] fuel or the rate of a trigger in a function.toml"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(rate: &str) -> Manifest {
        let text = format!(
            "name = \"a\"\nversion = \"1.0.0\"\n[[trigger]]\nmqtt = \"a/+\"\n{rate}\n[limits]\nfuel = 1_000_000"
        );
        Manifest::parse(&text).unwrap()
    }

    fn need(manifest: &Manifest, state_bytes: u64) -> Need<'_> {
        Need { manifest, state_bytes, start_fuel: 10 }
    }

    #[test]
    fn state_is_bounded_by_an_eighth_of_the_log() {
        let mut needs = Needs::new(8 << 20, None);
        let manifest = manifest("");
        assert_eq!(needs.add(&need(&manifest, 1 << 20)), Ok(()));
        assert_eq!(needs.add(&need(&manifest, 0)), Ok(()), "who keeps nothing is not in the way");
        let reason = needs.add(&need(&manifest, 1 << 20)).unwrap_err();
        assert!(reason.contains("makes 2097152 with the 1048576 of other functions"), "{reason}");
        assert!(reason.contains("raise that to \"16MiB\""), "{reason}");
    }

    #[test]
    fn fuel_is_bounded_by_the_budget() {
        let mut needs = Needs::new(8 << 20, Some(3_000_030));
        let mut add = |rate| needs.add(&need(&manifest(rate), 0));
        assert_eq!(add("rate = \"2/s\""), Ok(()));
        assert_eq!(add("rate = \"60/min\""), Ok(()), "exactly the budget");
        let reason = add("rate = \"1/min\"").unwrap_err();
        assert!(reason.contains("16667 in a second, which makes 3016697 with the 3000030 of other"), "{reason}");
        let reason = add("").unwrap_err();
        assert!(reason.contains("does not say how many messages"), "{reason}");
        let free = Needs::new(8 << 20, None).add(&need(&manifest(""), 0));
        assert_eq!(free, Ok(()), "without a budget nobody adds up");
    }
}
