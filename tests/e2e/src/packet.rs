//! MQTT 5 packets on a blocking connection, for the ends that tests play themselves.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::mqttbytes::Error as CodecError;

/// Most bytes read at once.
pub const READ_BYTES: usize = 64 << 10;

/// Writes one packet.
///
/// # Errors
/// What the connection or the codec says.
pub fn send(mut stream: &TcpStream, packet: &Packet) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(packet.size() + 8);
    packet.write(&mut buffer, None).map_err(io::Error::other)?;
    stream.write_all(&buffer)
}

/// Reads one packet; what came after it stays in `buffer`.
///
/// # Errors
/// What the connection or the codec says; `UnexpectedEof` at its end.
pub fn receive(mut stream: &TcpStream, buffer: &mut BytesMut) -> io::Result<Packet> {
    let mut chunk = [0; READ_BYTES];
    loop {
        match Packet::read(buffer, None) {
            Ok(packet) => return Ok(packet),
            Err(CodecError::InsufficientBytes(_)) => {}
            Err(error) => return Err(io::Error::other(error)),
        }
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => buffer.extend_from_slice(&chunk[..count]),
        }
    }
}
