//! Ports for servers that are yet to start.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// Where the blocks begin and how many there are: below the ports that Linux gives to outgoing connections and to port 0 (32768 and up,
/// unless the operator chose others). One of those may be another's before the server that is to have it is up.
const FIRST: u16 = 11_000;
const BLOCKS: u32 = 650;
const BLOCK: u16 = 32;

/// A block of ports that is this process's own. Its first one is listened at for as long as the process lives, which is how other
/// processes know.
struct Block {
    _held: TcpListener,
    next: u16,
    end: u16,
}

fn listen(port: u16) -> Option<TcpListener> {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).ok()
}

impl Block {
    fn take() -> Block {
        let process = std::process::id();
        for at in 0..BLOCKS {
            let first = FIRST + BLOCK * ((process + at) % BLOCKS) as u16;
            if let Some(held) = listen(first) {
                return Block { _held: held, next: first + 1, end: first + BLOCK };
            }
        }
        panic!("none of the {BLOCKS} blocks of ports from {FIRST} on is free");
    }
}

/// A port at which nobody listens, at any address of this machine, and that is given to nobody else, here or in another process that
/// asks here, as long as this process lives.
///
/// # Panics
/// When every block of ports is in use.
pub fn free_port() -> u16 {
    static OURS: Mutex<Vec<Block>> = Mutex::new(Vec::new());
    let mut ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        match ours.last_mut() {
            Some(block) if block.next < block.end => {
                let port = block.next;
                block.next += 1;
                if listen(port).is_some() {
                    return port;
                }
            }
            _ => ours.push(Block::take()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_port_is_given_once_also_when_a_block_is_used_up() {
        let ports: HashSet<u16> = (0..3 * BLOCK).map(|_| free_port()).collect();
        assert_eq!(ports.len(), 3 * usize::from(BLOCK));
    }

    #[test]
    fn a_block_is_taken_once_and_its_ports_in_use_are_left_out() {
        let ours = Block::take();
        let others = Block::take();
        assert_ne!(ours.end, others.end, "as another process would find it");
        let port = free_port();
        let _in_use = TcpListener::bind(("127.0.0.9", port + 1));
        assert_ne!(free_port(), port + 1);
    }
}
