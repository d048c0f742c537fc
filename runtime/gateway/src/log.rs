//! The daemon's log for people: each event is one line, whatever functions, senders and servers put into it.

use std::fmt::{self, Write};

use tracing::field::Field;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{debug_fn, Writer};
use tracing_subscriber::fmt::FormatFields;

/// Writes fields as `name=value`, and the message as it is, with all control characters escaped: a line break in what a
/// function logs would begin a line of its own, which the daemon never wrote. (In JSON they are escaped anyway.)
pub fn fields() -> impl for<'writer> FormatFields<'writer> + 'static {
    debug_fn(|writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug| {
        match field.name() {
            "message" => {}
            name if writer.has_ansi_escapes() => write!(writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m")?,
            name => write!(writer, "{name}=")?,
        }
        write!(Escaped(writer), "{value:?}")
    })
    .delimited(" ")
}

struct Escaped<'a, W>(&'a mut W);

impl<W: Write> Write for Escaped<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(char::is_control) {
            match (part.strip_suffix(char::is_control), part.chars().next_back()) {
                (Some(plain), Some(control)) => write!(self.0, "{plain}{}", control.escape_default())?,
                _ => self.0.write_str(part)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use eyot_engine::Level;
    use tracing_subscriber::fmt::{layer, MakeWriter};
    use tracing_subscriber::prelude::*;

    use super::*;
    use crate::journal;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Sink {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    fn logged(ansi: bool) -> String {
        let sink = Sink::default();
        let layer = layer().with_writer(sink.clone()).with_ansi(ansi).with_target(false).without_time();
        let log = tracing_subscriber::registry().with(layer.fmt_fields(fields()));
        tracing::subscriber::with_default(log, || {
            let function = "bad\n";
            journal::function_log(function, Level::Warn, "x\r\n INFO forged\u{1b}[2J\u{9b}2J ü\0");
            tracing::info!(reason = %"first\nsecond", topic = "a\nb", count = 3, "a push was refused");
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone());
        text.unwrap()
    }

    #[test]
    fn no_line_of_a_function_or_of_a_stranger_looks_like_one_of_the_daemon() {
        assert_eq!(
            logged(false),
            " WARN x\\r\\n INFO forged\\u{1b}[2J\\u{9b}2J ü\\u{0} function=\"bad\\n\"\n \
             INFO a push was refused reason=first\\nsecond topic=\"a\\nb\" count=3\n"
        );
    }

    #[test]
    fn on_a_terminal_only_the_daemon_writes_control_characters() {
        let shown = logged(true);
        assert!(shown.contains("x\\r\\n INFO forged\\u{1b}[2J\\u{9b}2J ü\\u{0}"), "{shown:?}");
        assert_eq!(shown.lines().count(), 2, "{shown:?}");
        assert!(shown.contains("\u{1b}[3mcount\u{1b}[0m\u{1b}[2m=\u{1b}[0m3"), "{shown:?}");
    }
}
