//! [`function!`](crate::function), [`migration!`](crate::migration).

/// Makes a function the migration of this crate, which runs once, on the state that another major version has left
/// behind, before the first message. Once per crate; without it, each major version has a state of its own.
///
/// `migration!(migrate)` takes `fn migrate(from_major: u32) -> Result<(), Error>`. It may read and change the state, read
/// the configuration and log. If it fails, the old state stays and this version is not put in force.
#[macro_export]
macro_rules! migration {
    ($migrate:path) => {
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn(u32) -> ::core::result::Result<(), $crate::error::Error> = $migrate;

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            #[no_mangle]
            extern "C" fn eyot_migrate(from_major: u32) -> i32 {
                $crate::guest::code($migrate(from_major))
            }
        };
    };
}

/// Makes a handler the function of this crate. Once per crate.
///
/// `function!(handle)` takes `fn handle(msg: &Message<'_>) -> Result<(), Error>`.
///
/// `function!(handle, Settings = init)` takes `fn init() -> Result<Settings, Error>`, run once when the function starts,
/// and `fn handle(settings: &Settings, msg: &Message<'_>) -> Result<(), Error>`. `init` may read the configuration and
/// log, nothing else; if it fails the function does not start.
#[macro_export]
macro_rules! function {
    ($handle:path) => {
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn(&$crate::message::Message<'_>) -> ::core::result::Result<(), $crate::error::Error> = $handle;

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            #[no_mangle]
            extern "C" fn eyot_handle(topic: usize, topic_len: usize, payload: usize, payload_len: usize) -> i32 {
                $crate::guest::handle((topic, topic_len), (payload, payload_len), $handle)
            }
        };
    };
    ($handle:path, $settings:ty = $init:path) => {
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            const _: fn() -> ::core::result::Result<$settings, $crate::error::Error> = $init;
            const _: fn(&$settings, &$crate::message::Message<'_>) -> ::core::result::Result<(), $crate::error::Error> =
                $handle;
        };

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            static SETTINGS: $crate::guest::Settings<$settings> = $crate::guest::Settings::unset();

            #[no_mangle]
            extern "C" fn eyot_init() -> i32 {
                SETTINGS.init($init)
            }

            #[no_mangle]
            extern "C" fn eyot_handle(topic: usize, topic_len: usize, payload: usize, payload_len: usize) -> i32 {
                $crate::guest::handle((topic, topic_len), (payload, payload_len), |msg| $handle(SETTINGS.get()?, msg))
            }
        };
    };
}
