//! The messages between shim and supervisor: what is understood is understood the same when it is sent again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sonde_interp::handoff::{Answer, Hello, Listener, MAX_MESSAGE};

fuzz_target!(|message: &[u8]| {
    let mut buffer = [0; MAX_MESSAGE];
    if message.len() > MAX_MESSAGE {
        return;
    }
    if let Ok(hello) = Hello::decode(message) {
        let length = hello.encode(&mut buffer).unwrap();
        assert_eq!(Hello::decode(&buffer[..length]), Ok(hello));
    }
    if let Ok(answer) = Answer::decode(message) {
        let length = answer.encode(&mut buffer).unwrap();
        assert_eq!(Answer::decode(&buffer[..length]), Ok(answer));
    }
    if let Ok(listener) = Listener::decode(message) {
        let length = listener.encode(&mut buffer).unwrap();
        assert_eq!(buffer[..length], *message);
    }
});
