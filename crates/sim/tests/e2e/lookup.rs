//! What a relay knows of an account, asked for as a stranger would: one look-up over a plain WebSocket (RFC 6455).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use wire::{AccountRecord, Address, ClientFrame, Request, Response, ServerFrame, Signed};

/// The first byte of a final binary frame.
const BINARY: u8 = 0x82;

pub fn account_record(relay: SocketAddr, address: &str) -> Signed<AccountRecord> {
    let address: Address = address.parse().unwrap();
    let mut stream = TcpStream::connect(relay).unwrap();
    // The key is the example of the RFC: it only has to be 16 bytes.
    let upgrade = format!(
        "GET /v1/stream HTTP/1.1\r\nHost: {relay}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(upgrade.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(read::<1>(&mut stream));
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    let request = ClientFrame { id: 1, request: Request::LookUp { address } }.encode();
    // Final, binary, a length below 126, masked with zeros: what a client has to do, without the work.
    assert!(request.len() < 126);
    let length = u8::try_from(request.len()).unwrap();
    stream.write_all(&[&[BINARY, 0x80 | length, 0, 0, 0, 0][..], &request].concat()).unwrap();
    loop {
        match ServerFrame::decode(message(&mut stream).into()).unwrap() {
            ServerFrame::Response { result: Ok(Response::Record(record)), .. } => {
                return Signed::<AccountRecord>::parse(record).unwrap();
            }
            ServerFrame::Response { result, .. } => panic!("{result:?}"),
            ServerFrame::Hello(_) | ServerFrame::Push(_) => {}
        }
    }
}

fn message(stream: &mut TcpStream) -> Vec<u8> {
    let [kind, length] = read::<2>(stream);
    assert_eq!(kind, BINARY, "the relay sent something else than a binary frame");
    let length = match length {
        126 => usize::from(u16::from_be_bytes(read(stream))),
        127 => usize::try_from(u64::from_be_bytes(read(stream))).unwrap(),
        short => usize::from(short),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).unwrap();
    payload
}

fn read<const N: usize>(stream: &mut TcpStream) -> [u8; N] {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}
