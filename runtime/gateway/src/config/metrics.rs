//! `[metrics]`.

use std::net::SocketAddr;

use super::section::{Reader, Section};

/// Where metrics are served; none if the file does not say.
pub fn read(reader: &mut Reader<'_>, root: &mut Section<'_, '_>) -> Option<SocketAddr> {
    let mut section = root.table(reader, "metrics");
    if section.is_present() && !section.has("listen") {
        let remedy = "is missing; write listen = \"127.0.0.1:9464\", or remove the table";
        reader.problem(section.span(), "metrics.listen", remedy);
    }
    let listen = section.parsed(reader, "listen", None, |text| match text.parse::<SocketAddr>() {
        Ok(addr) if addr.port() == 0 => {
            Err(format!("\"{text}\" is any port, and who scrapes must know which; write for example 9464"))
        }
        Ok(addr) => Ok(Some(addr)),
        Err(_) => Err(format!("\"{text}\" is no address with a port; write for example \"127.0.0.1:9464\"")),
    });
    section.finish(reader);
    listen
}
