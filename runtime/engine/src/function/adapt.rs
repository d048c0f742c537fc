//! What changes between messages: the configuration, and the state that another major version has left behind.

use eyot_wire::module::EXPORT_MIGRATE;

use super::*;
use crate::instance::call;
use crate::limits::MIGRATION_FUEL_MAX;

impl Function {
    /// The values of its configuration that are not the manifest's.
    pub fn overrides(&self) -> impl Iterator<Item = (&str, &str)> {
        let of_manifest = &self.manifest.config;
        let config = self.store.data().config.iter();
        config
            .filter(|(key, value)| of_manifest.get(*key) != Some(*value))
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Replaces the values given at load by others and starts again, because `eyot_init` may have read the old ones.
    ///
    /// # Errors
    /// A value is over a limit, or the function does not start with it. Then it keeps its old configuration.
    pub fn set_config(&mut self, overrides: &[(&str, &str)]) -> Result<(), LoadError> {
        let config = merged_config(&self.manifest, overrides)?;
        self.paused = None;
        let old = mem::replace(&mut self.store.data_mut().config, config);
        self.store.data_mut().effects.clear();
        let started = start(&mut self.store, &self.compiled, &self.plan);
        self.used = false;
        match started {
            Ok(live) => {
                self.live = Some(live);
                Ok(())
            }
            Err(error) => {
                self.live = None;
                self.store.data_mut().config = old;
                Err(error)
            }
        }
    }

    /// Whether it exports `eyot_migrate`.
    pub fn has_migrate(&self) -> bool {
        self.compiled.module.get_export(EXPORT_MIGRATE).is_some()
    }

    /// Runs `eyot_migrate` on the present state, which major version `from_major` has left behind (numbers beyond an `i32`
    /// are given as the largest). It runs to its end under the limits of one message, with [`MIGRATION_FUEL_MAX`] at most; it may read
    /// and change the state, read the configuration and log. It may not emit; `now_ms` is 0 and `random` refused.
    ///
    /// Then [`state`](Self::state) is what it made of it, and [`effects`](Self::effects) has what it logged. It may touch every
    /// key there can be; of its operations, the effects have only the last.
    ///
    /// # Errors
    /// It failed, or there is no such export: the state is as before. What it logged is in the effects.
    pub fn migrate(&mut self, from_major: u64) -> Result<(), Failure> {
        self.reset();
        let host = self.store.data_mut();
        host.effects.clear();
        host.effects.state.begin(&host.state);
        let before = Arc::clone(&host.state);
        host.growth.refused = false;
        host.message = Some(MessageContext::migration());
        host.meter = Meter::new(host.limits.fuel.min(MIGRATION_FUEL_MAX));
        let result = self.run_migrate(i32::try_from(from_major).unwrap_or(i32::MAX));
        if result.is_ok() {
            self.keep();
            self.used = true;
            self.store.data_mut().message = None;
        } else {
            self.discard();
            self.store.data_mut().state = before;
        }
        self.reset();
        result
    }

    fn run_migrate(&mut self, from_major: i32) -> Result<(), Failure> {
        let live = self.live.as_ref().ok_or(Failure::Memory)?;
        let migrate = live.migrate.ok_or_else(|| Failure::Trap("it exports no eyot_migrate".to_string()))?;
        match call(&mut self.store, &migrate, from_major)? {
            0 => Ok(()),
            code => Err(Failure::Code(code)),
        }
    }
}
