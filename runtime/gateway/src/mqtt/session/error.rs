//! Why a session ends.

use super::super::codec::Malformed;
use super::ANSWER_TIMEOUT_US;

/// Why a connection must end.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Not MQTT, or not in the right order.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The broker refuses the connection.
    #[error("refused: {0}")]
    Refused(String),
    /// The broker closes the connection.
    #[error("closed by the broker: {reason}")]
    Closed {
        /// What it says.
        reason: String,
        /// It says that something was sent that it does not take.
        blames: bool,
    },
    /// No answer in time.
    #[error("no answer to {0} within {seconds} s", seconds = ANSWER_TIMEOUT_US / 1_000_000)]
    Timeout(&'static str),
    /// The broker takes no more for now.
    #[error("the broker is over its quota; its data is sent again later")]
    Quota,
    /// More publishes than the window and its waiting room hold.
    #[error("more publishes than the window of {0} allows")]
    Window(u16),
}
